"""llmqd status, asked of a real daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from aiohttp.test_utils import unused_port

from llmqd import __version__
from llmqd.cli import main
from llmqd.cli.codes import DONE, FAILED
from tests.steering import Steered, steering

Capture = pytest.CaptureFixture[str]


async def status(queue: Steered, *words: str) -> int:
    return await asyncio.to_thread(main, ["status", "--url", queue.url, *words])


async def test_status_shows_state_lanes_and_store(tmp_path: Path, capsys: Capture) -> None:
    async with steering(tmp_path) as queue:
        await queue.wait("openai")
        assert await status(queue) == DONE
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"llmqd {__version__} at {queue.url}: ok, up ")
        assert lines[3].split()[:4] == ["openai", "1", "0", "any"]
        assert lines[-1] == "store ok: 0 records on their way to the database"


async def test_faults_are_shown_and_are_no_failure_while_calls_are_served(tmp_path: Path, capsys: Capture) -> None:
    toml = '[[upstream]]\nname = "openai"\napi_key = "env:LLMQD_TEST_UNSET"\n'
    async with steering(tmp_path, toml) as queue:
        assert await status(queue) == DONE
        lines = capsys.readouterr().out.splitlines()
        assert "degraded" in lines[0]
        assert lines[1].startswith("fault: ")
        assert "LLMQD_TEST_UNSET" in lines[1]


async def test_a_stopping_daemon_is_a_failure(tmp_path: Path, capsys: Capture) -> None:
    async with steering(tmp_path) as queue:
        queue.daemon.stop()
        assert await status(queue) == FAILED
        assert "stopping" in capsys.readouterr().out


async def test_json_has_the_daemons_own_answers(tmp_path: Path, capsys: Capture) -> None:
    async with steering(tmp_path) as queue:
        assert await status(queue, "--json") == DONE
        answer = orjson.loads(capsys.readouterr().out)
        assert (answer["url"], answer["health"]["status"]) == (queue.url, "ok")
        assert [lane["lane"] for lane in answer["lanes"]] == ["openai", "anthropic", "gemini"]


def test_no_daemon_is_a_failure_with_advice(capsys: Capture) -> None:
    assert main(["status", "--url", f"http://127.0.0.1:{unused_port()}"]) == FAILED
    assert "Is it running" in capsys.readouterr().err
