"""Daemons as processes that share a lane: whoever looks at one of them sees and steers what waits in the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from llmqd.cli.codes import DONE
from tests.browser.chromium import MISSING, chromium
from tests.cli.terminal import terminal
from tests.process import LlmqdProcess, llmqd
from tests.redis_server import RedisServer

Both = tuple[LlmqdProcess, LlmqdProcess]


@pytest.fixture
async def both(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Both]:
    """Two of one cluster, before an upstream that answers by itself."""
    toml = f'[cluster]\nredis = "{redis.url}"\nmembers = 2\n[[upstream]]\nname = "sim"\nrequests_per_minute = 600\n'
    async with AsyncExitStack() as stack:
        daemons = []
        for name in ("one", "other"):
            (directory := tmp_path / name).mkdir()
            daemons.append(await stack.enter_async_context(llmqd(directory, toml)))
        one, other = daemons
        for daemon in daemons:
            await shown(daemon, lambda queue: queue["lanes"][0]["cluster"]["members"] == 2)
        yield one, other


async def shown(daemon: LlmqdProcess, wanted: Any) -> dict[str, Any]:
    """`GET /queue`, once it is as wanted."""
    async with asyncio.timeout(20), aiohttp.ClientSession(daemon.url) as http:
        while True:
            async with http.get("/queue") as answer:
                queue: dict[str, Any] = await answer.json()
            if wanted(queue):
                return queue
            await asyncio.sleep(0.02)


async def call(daemon: LlmqdProcess, model: str, session: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    headers = {"X-LLMQD-Session": session}
    async with (
        aiohttp.ClientSession(daemon.url) as http,
        http.post("/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        await answer.read()
        return answer.status


async def test_top_at_one_shows_and_steers_the_calls_of_the_other(both: Both) -> None:
    one, other = both
    async with terminal("top", "--url", one.url) as at, asyncio.TaskGroup() as calls:
        await at.shows("nobody waits")
        at.press("p")
        await at.shows("paused by operator until resumed: llmqd top")
        first = calls.create_task(call(one, "model-a", "s1"))
        await shown(one, lambda queue: queue["total"] == 1)
        second = calls.create_task(call(other, "model-b", "s2"))
        queue = await shown(other, lambda queue: queue["total"] == 2)
        ids = [each["request_id"] for each in queue["waiting"]]
        await at.shows(lambda text: ids[0] in text and ids[1] in text and text.index(ids[0]) < text.index(ids[1]))
        at.press("\x1b[B")  # down, to the second
        at.press("2")
        await at.shows(lambda text: "priority 2" in text and text.index(ids[1]) < text.index(ids[0]))
        at.press("cy")
        await at.shows("1 waiting")
        assert await second == 499
        at.press("p")
        await at.shows("nobody waits")
        assert await first == 200
        assert await call(other, "model-c", "s3") == 200
        await at.shows("model-c")
        at.press("q")
        assert await at.end() == DONE


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
async def test_the_dashboard_of_one_shows_and_steers_the_calls_of_the_other(both: Both, tmp_path: Path) -> None:
    one, other = both
    names = (await shown(one, lambda queue: len(queue["members"]) == 2))["members"]
    lent = chromium(one.url, tmp_path)
    page = await asyncio.to_thread(lent.__enter__)
    try:
        await asyncio.to_thread(page.open, "now")
        await asyncio.to_thread(page.shows, "shared by 2 daemons")
        await asyncio.to_thread(page.click, "[aria-label='Pause sim']")
        await shown(other, lambda queue: queue["lanes"][0]["paused"] is not None)
        async with asyncio.TaskGroup() as calls:
            first = calls.create_task(call(one, "model-a", "s1"))
            await asyncio.to_thread(page.shows, f"sim at {names[0]}")
            second = calls.create_task(call(other, "model-b", "s2"))
            third = calls.create_task(call(other, "model-c", "s3"))
            await asyncio.to_thread(page.shows, f"sim at {names[1]}")
            queue = await shown(one, lambda queue: queue["total"] == 3)
            ids = {each["model"]: each["request_id"] for each in queue["waiting"]}
            await asyncio.to_thread(page.choose, f"[aria-label='Priority of {ids['model-b']}']", "0")
            await shown(other, lambda queue: queue["waiting"][0]["request_id"] == ids["model-b"])
            await asyncio.to_thread(
                page.until, lambda: page.text.index(ids["model-b"]) < page.text.index(ids["model-a"]), "the move"
            )
            await asyncio.to_thread(page.click, f"[aria-label='Cancel {ids['model-c']}']")
            await asyncio.to_thread(page.accept)
            assert await third == 499
            await asyncio.to_thread(page.click, "[aria-label='Resume sim']")
            assert (await first, await second) == (200, 200)
        await asyncio.to_thread(page.shows, "Nobody waits")
        await asyncio.to_thread(page.shows, f"model-b in sim at {names[1]}")
        assert await asyncio.to_thread(page.complaints) == []
    finally:
        await asyncio.to_thread(lent.__exit__, None, None, None)


async def test_events_of_the_other_are_told_with_its_name_as_the_queue_has_it(both: Both) -> None:
    one, other = both
    told: list[dict[str, Any]] = []

    async def listen() -> None:
        async with aiohttp.ClientSession(one.url) as http, http.get("/events") as stream:
            async for line in stream.content:
                if line.startswith(b"data:"):
                    told.append(orjson.loads(line[5:]))

    listening = asyncio.create_task(listen())
    try:
        async with asyncio.timeout(20):
            while not any(each["type"] == "finished" for each in told):
                assert await call(other, "model-a", "s1") == 200  # until it has come round that somebody listens
                await asyncio.sleep(0.1)
    finally:
        listening.cancel()
    finished = next(each for each in told if each["type"] == "finished")
    queue = await shown(one, lambda queue: len(queue["members"]) == 2)
    assert finished["member"] == queue["members"][1]
    assert (finished["session"], finished["model"], finished["http_status"]) == ("s1", "model-a", 200)
