"""What happens to calls in one daemon is told in another that somebody listens to, through a real Redis."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import orjson

from llmqd.events import Alert, Wanted
from llmqd.events.bus import Published
from tests.cluster.test_together import _waits, ask, daemons, toml
from tests.fake_upstream import FakeUpstream
from tests.redis_server import RedisServer
from tests.under_test import DaemonUnderTest, call

JSON = {"Content-Type": "application/json"}


class Listener:
    """Takes down what a daemon tells."""

    def __init__(self, daemon: DaemonUnderTest, wanted: Wanted | None = None) -> None:
        self.told: list[Published] = []
        self._listening = daemon.events.subscribe(self._take, wanted or Wanted())

    def _take(self) -> None:
        self.told += [each for each in self._listening.take() if isinstance(each, Published)]

    def has(self, *kinds: str) -> bool:
        return [each.event.type for each in self.told if each.event.type in kinds] == [*kinds]


async def test_calls_of_others_are_told_with_their_member(tmp_path: Path, redis: RedisServer) -> None:
    async with (
        FakeUpstream() as upstream,
        daemons(tmp_path, 2, toml(upstream.url, redis, requests_per_minute=6000)) as (one, other),
    ):
        heard = Listener(other)
        kinds = "queued", "started", "finished"
        async with asyncio.timeout(10):
            while not any(each.event.type == "started" and not each.own for each in heard.told):
                assert await ask(one) == 200  # until it has come round that somebody listens
                await asyncio.sleep(0.05)
        await call(other.port, "POST", "/queue/openai/pause", b"{}", JSON)
        await one.until(lambda: all(lane.paused is not None for lane in one.lanes))
        heard.told.clear()
        waits = asyncio.ensure_future(ask(one, session="s1"))
        await one.until(partial(_waits, one, 1))
        await call(other.port, "POST", "/queue/openai/resume", b"{}", JSON)
        assert await waits == 200
        await other.until(lambda: heard.has(*kinds))
        calls = [each for each in heard.told if each.event.type in kinds]
        assert {each.event.session for each in calls} == {"s1"}
        assert not any(each.own for each in calls)
        shown = orjson.loads(calls[0].data)
        assert shown["member"] == one.events.member != other.events.member
        queue = (await call(other.port, "GET", "/queue")).json()
        assert isinstance(queue, dict)
        assert shown["member"] in queue["members"]


async def test_what_nobody_listens_to_stays_where_it_is_but_alerts(tmp_path: Path, redis: RedisServer) -> None:
    async with (
        FakeUpstream() as upstream,
        daemons(tmp_path, 2, toml(upstream.url, redis, requests_per_minute=6000)) as (one, other),
    ):
        own = Listener(other, Wanted(own=True))
        assert await ask(one) == 200
        one.events.publish(Alert(name="test", message="look at this"))
        began = other.events.subscribe(lambda: None, after=0)
        told: list[Published] = []
        async with asyncio.timeout(10):
            while not any(isinstance(each.event, Alert) for each in told):
                told += [each for each in began.take() if isinstance(each, Published) and not each.own]
                await asyncio.sleep(0.02)
        assert {each.event.type for each in told} <= {"alert", "limit_learned"}
        assert own.told == []
