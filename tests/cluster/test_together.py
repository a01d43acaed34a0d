"""Daemons that share a lane through a real Redis: one order of waiting, one limit, seen from anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import orjson

from tests.fake_upstream import Concurrency, FakeUpstream, TokenBucket, json_answer
from tests.redis_server import RedisServer
from tests.under_test import DaemonUnderTest, call, running, upstream_toml

BODY = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]})
PATH = "/openai/v1/chat/completions"


def toml(url: str, redis: RedisServer, **limits: object) -> str:
    lines = "\n".join(f"{name} = {orjson.dumps(value).decode()}" for name, value in limits.items())
    upstream = upstream_toml("openai", url, lines)
    if "requests_per_minute" in limits:
        upstream = upstream.replace("requests_per_minute = 0\n", "")
    return f'[cluster]\nredis = "{redis.url}"\n{upstream}'


@asynccontextmanager
async def daemons(tmp_path: Path, count: int, config: str, others: int = 0) -> AsyncIterator[list[DaemonUnderTest]]:
    async with AsyncExitStack() as stack:
        found = []
        for number in range(count):
            (directory := tmp_path / str(number)).mkdir()
            found.append(await stack.enter_async_context(running(directory, config)))
        for one in found:
            await one.until(partial(_sees, one, count + others))
        yield found


def _sees(daemon: DaemonUnderTest, count: int) -> bool:
    shapes = [getattr(lane, "together", {}) for lane in daemon.lanes]
    return all(shape.get("members") == count for shape in shapes)


def _waits(daemon: DaemonUnderTest, least: int) -> bool:
    return daemon.waiting >= least


async def ask(daemon: DaemonUnderTest, **headers: str) -> int:
    named = {f"X-LLMQD-{name.title()}": value for name, value in headers.items()}
    return (await call(daemon.port, "POST", PATH, BODY, {"Content-Type": "application/json", **named})).status


async def test_calls_through_any_of_them_keep_one_limit(tmp_path: Path, redis: RedisServer) -> None:
    async with (
        FakeUpstream(limiter=TokenBucket(1200, burst=3)) as upstream,
        daemons(tmp_path, 2, toml(upstream.url, redis, requests_per_minute=1200)) as (one, other),
    ):
        began = asyncio.get_running_loop().time()
        statuses = await asyncio.gather(*(ask(daemon) for _ in range(40) for daemon in (one, other)))
        took = asyncio.get_running_loop().time() - began
        assert statuses == [200] * 80
        assert upstream.refused == 0
        assert 79 * 0.05 <= took < 8


async def test_an_urgent_call_passes_those_that_wait_elsewhere(tmp_path: Path, redis: RedisServer) -> None:
    async with (
        FakeUpstream() as upstream,
        daemons(tmp_path, 2, toml(upstream.url, redis, requests_per_minute=600)) as (one, other),
    ):
        for first, second in ((one, other), (other, one)):
            low = [asyncio.ensure_future(ask(first, priority="low")) for _ in range(30)]
            await first.until(partial(_waits, first, 28))
            assert await ask(second, priority="high") == 200
            assert sum(each.done() for each in low) <= 6
            assert await asyncio.gather(*low) == [200] * 30


async def test_places_at_the_same_time_are_shared(tmp_path: Path, redis: RedisServer) -> None:
    async with (
        FakeUpstream(limiter=Concurrency(3)) as upstream,
        daemons(tmp_path, 2, toml(upstream.url, redis, max_concurrent=3)) as (one, other),
    ):
        statuses = await asyncio.gather(*(ask(daemon) for _ in range(15) for daemon in (one, other)))
        assert statuses == [200] * 30
        assert upstream.refused == 0


async def test_where_nothing_limits_them_a_refusal_holds_the_calls_of_all(tmp_path: Path, redis: RedisServer) -> None:
    async with (
        FakeUpstream() as upstream,
        daemons(tmp_path, 2, toml(upstream.url, redis) + "learn = false\n") as (one, other),
    ):
        assert await asyncio.gather(*(ask(daemon) for _ in range(10) for daemon in (one, other))) == [200] * 20
        await one.until(lambda: all(lane.together["granted"] == 20 for lane in one.lanes))  # type: ignore[attr-defined]
        upstream.play(json_answer({"error": {"message": "slow down"}}, 429, ("Retry-After", "2")))
        refused = asyncio.ensure_future(ask(other))
        await upstream.until(lambda: len(upstream.requests) == 21)
        for daemon in (one, other):
            await daemon.until(lambda: all(lane.paused is not None for lane in daemon.lanes))  # noqa: B023
        assert await asyncio.gather(refused, *(ask(daemon) for _ in range(5) for daemon in (one, other))) == [200] * 11
        assert len(upstream.requests) == 32
        assert min(later.at for later in upstream.requests[21:]) - upstream.requests[20].at >= 2
