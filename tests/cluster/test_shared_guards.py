"""A session that runs away through several daemons is found and held back in all of them, through a real Redis."""

from __future__ import annotations

from pathlib import Path

from llmqd.events import Alert, Gap, Wanted
from tests.cluster.test_together import daemons, toml
from tests.fake_upstream import FakeUpstream
from tests.guards.test_guards import loop
from tests.redis_server import RedisServer

GUARDS = '[guards]\nrepeats = 4\naction = "refuse"\n'


async def test_repetitions_are_counted_wherever_they_come_in(tmp_path: Path, redis: RedisServer) -> None:
    async with (
        FakeUpstream() as upstream,
        daemons(tmp_path, 2, toml(upstream.url, redis, requests_per_minute=60000) + GUARDS) as (one, other),
    ):
        alerts = [each.events.subscribe(lambda: None, Wanted(frozenset({"alert"}), own=True)) for each in (one, other)]
        for session in ("s1", "s2", "s3"):
            for number in range(4):
                daemon = (one, other)[number % 2]
                assert (await loop(daemon, number, session)).status == 200
            for daemon in (one, other):
                await daemon.until(lambda: session in {held for held, _, _ in daemon.guards.held()})  # noqa: B023
                assert (await loop(daemon, 5, session)).status == 403
        assert (await loop(one, 5, "s4")).status == 200
        told = [each.event for listener in alerts for each in listener.take() if not isinstance(each, Gap)]
        runaways = [each.session for each in told if isinstance(each, Alert) and each.name == "runaway_session"]
        assert sorted(map(str, runaways)) == ["s1", "s2", "s3"]


async def test_who_comes_later_is_told_who_is_held_back(tmp_path: Path, redis: RedisServer) -> None:
    async with (
        FakeUpstream() as upstream,
        daemons(tmp_path, 1, toml(upstream.url, redis, requests_per_minute=60000) + GUARDS) as (one,),
    ):
        for number in range(4):
            assert (await loop(one, number)).status == 200
        (later := tmp_path / "later").mkdir()
        async with daemons(later, 1, toml(upstream.url, redis, requests_per_minute=60000) + GUARDS, 1) as (other,):
            await other.until(lambda: bool(other.guards.held()))
            assert (await loop(other, 5)).status == 403
