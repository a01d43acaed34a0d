"""llmqd queue, asked of a real daemon's lanes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from aiohttp.test_utils import unused_port

from llmqd.call import SessionRef
from llmqd.cli import main
from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from llmqd.cli.queue import pause_text
from tests.steering import Steered, steering

Capture = pytest.CaptureFixture[str]


async def llmqd(queue: Steered, *words: str) -> int:
    return await asyncio.to_thread(main, ["queue", *words, "--url", queue.url])


async def test_list_shows_lanes_waiting_and_running(tmp_path: Path, capsys: Capture) -> None:
    async with steering(tmp_path) as queue:
        low = await queue.wait("openai", priority=7, model="\x1b[31mred")
        high = await queue.wait("openai", priority=1, session=SessionRef("s1", "path"))
        queue.lane("gemini").resume()
        runs = await queue.wait("gemini")
        assert await llmqd(queue, "list") == DONE
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["LANE", "WAITING", "RUNNING", "RATE", "STATE"]
        assert lines[1].split(maxsplit=4) == ["openai", "2", "0", "any", "paused by operator until resumed: test"]
        assert lines[3].split() == ["gemini", "0", "1", "any", "open"]
        assert lines[5].split() == ["PLACE", "REQUEST", "PRIORITY", "WAITED", "ETA", "LANE", "MODEL", "SESSION"]
        first, second = lines[6].split(), lines[7].split()
        assert (first[:3], first[4:]) == (["1", high.id, "1"], ["-", "openai", "gpt-4o-mini", "s1"])
        assert (second[:3], second[4:]) == (["2", low.id, "7"], ["-", "openai", "\\x1b[31mred", "-"])
        assert lines[9].split()[:2] == ["RUNNING", "REQUEST"]
        assert lines[10].split()[1] == runs.id
        assert len(lines) == 11


async def test_list_in_pages_says_how_to_go_on(tmp_path: Path, capsys: Capture) -> None:
    async with steering(tmp_path) as queue:
        calls = [await queue.wait("openai", session=SessionRef("a b&c", "path")) for _ in range(3)]
        await queue.wait("gemini")
        assert await llmqd(queue, "list", "--limit", "2", "--lane", "openai", "--session", "a b&c") == DONE
        out = capsys.readouterr().out
        assert out.endswith("2 of 3 waiting and 0 of 0 running calls shown; go on with --offset 2\n")
        assert await llmqd(queue, "list", "--offset", "2", "--json", "--lane", "openai") == DONE
        assert [one["request_id"] for one in orjson.loads(capsys.readouterr().out)["waiting"]] == [calls[2].id]


async def test_pause_and_resume(tmp_path: Path, capsys: Capture) -> None:
    async with steering(tmp_path) as queue:
        assert await llmqd(queue, "resume", "openai") == DONE
        assert capsys.readouterr().out == "openai: open\n"
        assert queue.lane("openai").paused is None
        assert await llmqd(queue, "pause", "openai", "--for", "1h30m", "--reason", "night") == DONE
        assert capsys.readouterr().out == "openai: paused by operator for 1h30m: night\n"
        assert await llmqd(queue, "pause", "openai", "--json") == DONE
        assert orjson.loads(capsys.readouterr().out)["lanes"][0]["paused"]["seconds_left"] is None


async def test_priority_moves_every_named_call(tmp_path: Path, capsys: Capture) -> None:
    async with steering(tmp_path) as queue:
        calls = [await queue.wait("openai") for _ in range(3)]
        assert await llmqd(queue, "priority", calls[1].id, calls[2].id, "high") == DONE
        assert capsys.readouterr().out == (
            f"{calls[1].id}: priority 1, place 1 in openai\n{calls[2].id}: priority 1, place 2 in openai\n"
        )


async def test_cancel_takes_out_what_it_can_and_fails_for_the_rest(tmp_path: Path, capsys: Capture) -> None:
    async with steering(tmp_path) as queue:
        calls = [await queue.wait("openai") for _ in range(3)]
        assert await llmqd(queue, "cancel", calls[0].id, "no/such id", calls[2].id) == FAILED
        captured = capsys.readouterr()
        assert [line.split(":")[0] for line in captured.out.splitlines()] == [calls[0].id, calls[2].id]
        assert captured.err.startswith("llmqd: no call 'no/such id' waits or runs")
        assert queue.daemon.waiting == 1


async def test_an_unknown_lane_fails_and_names_the_known(tmp_path: Path, capsys: Capture) -> None:
    async with steering(tmp_path) as queue:
        assert await llmqd(queue, "pause", "opnai") == FAILED
        assert "there are: openai, anthropic, gemini" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["list"], ["pause", "openai"], ["cancel", "x"], ["priority", "x", "1"]])
def test_without_a_daemon_every_action_fails_with_advice(words: list[str], capsys: Capture) -> None:
    assert main(["queue", *words, "--url", f"http://127.0.0.1:{unused_port()}"]) == FAILED
    assert "Is it running" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["pause"],
        ["pause", "openai", "--for", "soon"],
        ["pause", "openai", "--for", "0s"],
        ["pause", "openai", "--for", "366d"],
        ["cancel"],
        ["priority", "x"],
        ["priority", "x", "urgent"],
        ["list", "--limit", "1001"],
        ["list", "--offset", "-1"],
        ["list", "--url", "http://x", "--config", "y"],
    ],
)
def test_wrong_use_is_exit_code_2(words: list[str], capsys: Capture) -> None:
    assert main(["queue", *words]) == USED_WRONGLY
    assert "usage: llmqd queue" in capsys.readouterr().err


def test_a_broken_configuration_that_was_named_fails_and_is_shown(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "llmqd.toml"
    path.write_text("[queue]\nburst = 0\n")
    assert main(["queue", "list", "--config", str(path)]) == FAILED
    assert "line 2: [queue] burst = 0" in capsys.readouterr().err


def test_a_reason_cannot_steer_the_terminal() -> None:
    pause = {"by": "upstream", "reason": "\x1b[2J429", "seconds_left": 61.0}
    assert pause_text(pause) == "paused by upstream for 1m01s: \\x1b[2J429"
