"""llmqd top and llmqd tail at a real terminal, before a daemon of its own that also restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from tests.cli.terminal import terminal
from tests.process import LlmqdProcess, llmqd

SIM = '[[upstream]]\nname = "sim"\nrequests_per_minute = 0\n'


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[LlmqdProcess]:
    async with llmqd(tmp_path, SIM) as process:
        yield process


@pytest.fixture
async def client(daemon: LlmqdProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(daemon.url) as session:
        yield session


async def call(client: aiohttp.ClientSession, model: str = "gpt-4o-mini", **headers: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    named = {f"X-LLMQD-{name.title()}": value for name, value in headers.items()}
    async with client.post("/v1/chat/completions", json=body, headers=named) as answer:
        await answer.read()
        return answer.status


async def waiting(client: aiohttp.ClientSession, count: int) -> list[dict[str, object]]:
    """The waiting calls, once there are as many."""
    async with asyncio.timeout(20):
        while True:
            async with client.get("/queue") as answer:
                queue = await answer.json()
            if queue["total"] == count:
                return list(queue["waiting"])
            await asyncio.sleep(0.02)


async def test_top_shows_and_steers(daemon: LlmqdProcess, client: aiohttp.ClientSession) -> None:
    async with terminal("top", "--url", daemon.url) as at, asyncio.TaskGroup() as calls:
        await at.shows("nobody waits")
        at.press("p")
        await at.shows("paused by operator until resumed: llmqd top")
        first = calls.create_task(call(client, "model-a"))
        await waiting(client, 1)
        second = calls.create_task(call(client, "model-b", session="s2"))
        ids = [str(one["request_id"]) for one in await waiting(client, 2)]
        text = await at.shows(ids[1])
        assert text.index(ids[0]) < text.index(ids[1])
        assert "2 waiting" in text
        at.press("\x1b[B")  # down, to the second
        at.press("2")
        await at.shows(lambda text: "priority 2" in text and text.index(ids[1]) < text.index(ids[0]))
        at.press("c")
        await at.shows(f"cancel {ids[1]}?")
        at.press("n")
        await at.shows("left as it is")
        assert len(await waiting(client, 2)) == 2
        at.press("cy")
        await at.shows("1 waiting")
        assert await second == 499
        at.press("p")
        await at.shows("nobody waits")
        assert await first == 200
        await at.shows("finished")
        at.resize(70, 20)
        await at.shows("LIMIT")
        at.press("q")
        assert await at.end() == DONE
    assert b"\x1b[?1049l" in at.raw, "the terminal was not given back"


async def test_top_outlives_a_restart_of_the_daemon(daemon: LlmqdProcess, client: aiohttp.ClientSession) -> None:
    async with terminal("top", "--url", daemon.url) as at:
        await at.shows("nobody waits")
        await daemon.stop()
        await at.shows("AWAY")
        await daemon.start()
        await at.shows(lambda text: "AWAY" not in text)
        assert await call(client, "after-restart") == 200
        await at.shows("after-restart")
        at.press("\x03")  # Ctrl-C
        assert await at.end() == DONE


async def test_top_outlives_a_daemon_that_stops_before_it_has_told_of_anything() -> None:
    async def queue(_: web.Request) -> web.Response:
        answer = {"lanes": [], "waiting": [], "running": [], "total": 0, "running_total": 0}
        return web.json_response(answer, headers={"Server": "llmqd/1"})

    async def stopping(_: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Server": "llmqd/1"})

    app = web.Application()
    app.router.add_get("/queue", queue)
    app.router.add_get("/events", stopping)
    async with TestServer(app) as here, terminal("top", "--url", str(here.make_url(""))) as at:
        await at.shows("AWAY")
        at.press("q")
        assert await at.end() == DONE


async def test_tail_prints_a_line_a_call_over_a_restart(daemon: LlmqdProcess, client: aiohttp.ClientSession) -> None:
    async with terminal("tail", "--held", "--url", daemon.url, columns=200) as at:
        assert await call(client, "before", session="s1") == 200
        text = await at.shows("session s1")
        line = next(line for line in text.splitlines() if "before" in line)
        assert "finished" in line
        assert "tokens" in line
        assert b"\x1b[32m" in at.raw, "an answered call is green"
        await daemon.kill()
        await at.shows("the daemon is away")
        await daemon.start()
        await at.shows("the daemon is back")
        assert await call(client, "after") == 200
        text = await at.shows("after")
        assert text.count("before") == 1, "told once, though it came back"
        assert "some events are missing here" in text
        at.press("\x03")
        assert await at.end() == DONE


async def test_tail_as_json_with_filters(daemon: LlmqdProcess, client: aiohttp.ClientSession) -> None:
    words = ("tail", "--json", "--held", "--model", "claude-*", "--session", "s,1", "-n", "1", "--url", daemon.url)
    async with terminal(*words, columns=800) as at:
        await call(client, "gpt-4o", session="s,1")
        await call(client, "claude-x", session="other")
        await call(client, "claude-sonnet", session="s,1")
        assert await at.end() == DONE
    said = [orjson.loads(line) for line in at.text.splitlines() if line.startswith("{")]
    assert [(one["type"], one["model"], one["session"]) for one in said] == [("finished", "claude-sonnet", "s,1")]


async def test_tail_of_errors_has_only_those(daemon: LlmqdProcess, client: aiohttp.ClientSession) -> None:
    async with terminal("tail", "--errors", "--held", "-n", "1", "--url", daemon.url, columns=200) as at:
        assert await call(client, "well") == 200
        async with client.post("/queue/sim/pause") as answer:
            assert answer.status == 200
        headers = {"X-LLMQD-No-Queue": "1"}
        body = {"model": "badly", "messages": [{"role": "user", "content": "x"}]}
        async with client.post("/v1/chat/completions", json=body, headers=headers) as answer:
            assert answer.status == 429
        assert await at.end() == DONE
    assert "badly" in at.text
    assert "queue_full" in at.text
    assert "well" not in at.text


@pytest.mark.parametrize("command", ["top", "tail"])
async def test_no_daemon_is_said_at_once(command: str, daemon: LlmqdProcess) -> None:
    await daemon.stop()
    async with terminal(command, "--url", daemon.url) as at:
        assert await at.end() == FAILED
        await at.shows("no llmqd daemon")
        await at.shows("systemctl status llmqd")


async def test_top_without_a_terminal_says_what_to_use(
    daemon: LlmqdProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    from llmqd.cli import main

    assert await asyncio.to_thread(main, ["top", "--url", daemon.url]) == USED_WRONGLY
    assert "llmqd tail" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["top", "--json", "--url", daemon.url]) == DONE
    assert orjson.loads(capsys.readouterr().out)["lanes"][0]["lane"] == "sim"


@pytest.mark.parametrize(
    "words",
    [["tail", "-n", "0"], ["tail", "--steps", "--types", "queued"], ["tail", "--types", "end"], ["top", "extra"]],
)
def test_wrong_use_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from llmqd.cli import main

    assert main(words) == USED_WRONGLY
    assert "usage: llmqd" in capsys.readouterr().err
