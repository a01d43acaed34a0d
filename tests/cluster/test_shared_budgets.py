"""Budgets of which several daemons spend, through a real Redis: together they never spend more than there is."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path

from tests.cluster.test_together import ask, daemons, toml
from tests.fake_upstream import FakeUpstream
from tests.fake_upstream.script import Answer
from tests.redis_server import RedisServer
from tests.under_test import DaemonUnderTest, call

BUDGET = '[[budget]]\nname = "ten"\nlimit = "10 calls/life"\n'


def config(upstream: FakeUpstream, redis: RedisServer, more: str = BUDGET) -> str:
    return toml(upstream.url, redis) + more


async def spent(daemon: DaemonUnderTest) -> float:
    shown = (await call(daemon.port, "GET", "/api/v1/budgets")).json()
    assert isinstance(shown, dict)
    return float(shown["budgets"][0]["spent"])


async def test_a_budget_is_one_for_all_daemons(tmp_path: Path, redis: RedisServer) -> None:
    async with FakeUpstream() as upstream, daemons(tmp_path, 2, config(upstream, redis)) as (one, other):
        statuses = await asyncio.gather(*(ask(daemon) for _ in range(12) for daemon in (one, other)))
        assert Counter(statuses) == {200: 10, 429: 14}
        assert len(upstream.requests) == 10
        assert (await ask(one), await ask(other)) == (429, 429)
        assert [await spent(daemon) for daemon in (one, other)] == [10.0, 10.0]


async def test_what_runs_elsewhere_is_waited_for(tmp_path: Path, redis: RedisServer) -> None:
    gate = asyncio.Event()

    async def late(_: object) -> Answer:
        await gate.wait()
        return Answer(status=200, body=b"{}")

    budget = '[[budget]]\nlimit = "1 calls/life"\n'
    upstream = FakeUpstream(late)
    async with upstream, daemons(tmp_path, 2, config(upstream, redis, budget)) as (one, other):
        first = asyncio.ensure_future(ask(one))
        await upstream.until(lambda: upstream.active == 1)
        second = asyncio.ensure_future(ask(other))
        await other.until(lambda: other.budgets.waiting == 1)
        assert upstream.active == 1
        gate.set()
        assert (await first, await second) == (200, 429)
        await other.until(lambda: other.budgets.waiting == 0)


async def test_a_daemon_that_left_has_nothing_set_aside_but_what_it_spent(tmp_path: Path, redis: RedisServer) -> None:
    async with FakeUpstream() as upstream:
        async with daemons(tmp_path, 2, config(upstream, redis)) as (one, _):
            assert [await ask(one) for _ in range(4)] == [200] * 4
            await one.until(partial(_written, redis))
        (tmp_path / "new").mkdir()
        async with daemons(tmp_path / "new", 2, config(upstream, redis)) as (one, other):
            statuses = [await ask(daemon) for _ in range(5) for daemon in (one, other)]
            assert Counter(statuses) == {200: 6, 429: 4}


def _written(redis: RedisServer) -> bool:
    keys = redis.cli("keys", "{llmqd}:budget:*").split()
    return bool(keys) and "\n4\n" in "\n" + redis.cli("hgetall", keys[0])


async def test_without_redis_each_has_its_part_of_what_is_left(tmp_path: Path, redis: RedisServer) -> None:
    async with FakeUpstream() as upstream, daemons(tmp_path, 2, config(upstream, redis)) as (one, other):
        assert [await ask(daemon) for daemon in (one, other)] == [200, 200]
        await asyncio.gather(*(each.until(partial(_knows, each, 2), 10) for each in (one, other)))
        redis.kill()
        for daemon in (one, other):
            await daemon.until(partial(_alone, daemon), 20)
        statuses = await asyncio.gather(*(ask(daemon) for _ in range(6) for daemon in (one, other)))
        assert Counter(statuses) == {200: 8, 429: 4}
        redis.start()
        for daemon in (one, other):
            await daemon.until(partial(_back, daemon), 20)
            await daemon.until(partial(_knows, daemon, 10), 20)
        assert (await ask(one), await ask(other)) == (429, 429)
        assert len(upstream.requests) == 10


def _alone(daemon: DaemonUnderTest) -> bool:
    return daemon.cluster.cluster is not None and daemon.cluster.cluster.alone


def _back(daemon: DaemonUnderTest) -> bool:
    return not _alone(daemon)


def _knows(daemon: DaemonUnderTest, spent: int) -> bool:
    return [meter.used for meter in daemon.budgets.present()] == [spent]
