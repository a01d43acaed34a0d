"""Daemons as processes that lose Redis under load: no limit is passed, nobody waits for ever, and all say so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson

from tests.cluster.wire import Wire, wire_to
from tests.fake_upstream import FakeUpstream, TokenBucket
from tests.process import LlmqdProcess, llmqd
from tests.redis_server import RedisServer
from tests.under_test import call, upstream_toml

BODY = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]})
RATE = 1200
"""Calls a minute."""
_PATIENCE = 30.0


class Crowd:
    """Clients of one daemon that ask again as soon as they are answered, and go on when it is gone."""

    def __init__(self, daemon: LlmqdProcess) -> None:
        self.daemon = daemon
        self.answered: list[float] = []
        self.refused: list[int] = []
        self.broken = 0

    def __repr__(self) -> str:
        counts = f"{len(self.answered)} answered, {self.lately(10)} in 10 s, {self.broken} broken"
        return f"<Crowd of {self.daemon.directory.name}: {counts}, the daemon said:\n{self.daemon.log.read_text()}>"

    async def ask(self) -> None:
        """One client, until it is cancelled."""
        while True:
            try:
                headers = {"Content-Type": "application/json"}
                got = await call(self.daemon.port, "POST", "/openai/v1/chat/completions", BODY, headers)
            except (OSError, EOFError, TimeoutError):
                self.broken += 1
                await asyncio.sleep(0.2)
                continue
            if got.status == 200:
                self.answered.append(time.monotonic())
            else:
                self.refused.append(got.status)

    def lately(self, seconds: float) -> int:
        """How many calls were answered in the last seconds."""
        return sum(at > time.monotonic() - seconds for at in self.answered)


class Stage:
    """Three daemons with their clients before one strict upstream."""

    def __init__(self, upstream: FakeUpstream, redis: RedisServer, crowds: list[Crowd], wire: Wire) -> None:
        self.upstream = upstream
        self.wire = wire
        """Between the last daemon and Redis."""
        self.redis = redis
        self.crowds = crowds

    async def until(self, come: Callable[[], bool]) -> None:
        """Waits until something has come about."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while not come():  # noqa: ASYNC110 (processes have no events)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError("\n".join(map(str, self.crowds))) from None

    async def until_all_get_on(self) -> None:
        """Until every daemon has let calls through since now."""
        since = {one: len(one.answered) for one in self.crowds}
        await self.until(lambda: all(len(one.answered) >= before + 5 for one, before in since.items()))


@asynccontextmanager
async def stage(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(FakeUpstream(limiter=TokenBucket(RATE, burst=6)))
        config = upstream_toml("openai", upstream.url).replace("minute = 0", f"minute = {RATE}")
        wire = await stack.enter_async_context(wire_to(redis.port))
        crowds = []
        for name in "abc":
            url = redis.url if name != "c" else f"redis://127.0.0.1:{wire.port}/0"
            own = f'[cluster]\nredis = "{url}"\nmembers = 3\n{config}'
            (directory := tmp_path / name).mkdir()
            crowds.append(Crowd(await stack.enter_async_context(llmqd(directory, own))))
        clients = [asyncio.create_task(crowd.ask()) for crowd in crowds for _ in range(10)]
        found = Stage(upstream, redis, crowds, wire)
        try:
            await found.until_all_get_on()
            yield found
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
    assert upstream.refused == 0
    assert [crowd.refused for crowd in crowds] == [[], [], []]


async def _health(daemon: LlmqdProcess) -> list[str]:
    body = (await call(daemon.port, "GET", "/health")).json()
    assert isinstance(body, dict)
    faults: list[str] = body["faults"]
    return faults


async def test_cut_off_from_redis_a_daemon_keeps_to_its_part_and_others_leave_it_that(
    tmp_path: Path, redis: RedisServer
) -> None:
    async with stage(tmp_path, redis) as scene:
        lone = scene.crowds[2]
        scene.wire.cut()
        await scene.until(lambda: lone.daemon.logged("goes on with 1/3"))
        await scene.until_all_get_on()
        await asyncio.sleep(3)
        assert [one.daemon.logged("goes on with") for one in scene.crowds[:2]] == [False, False]
        scene.wire.mend()
        await scene.until(lambda: lone.daemon.logged("Redis is back"))
        await scene.until_all_get_on()
        assert await _health(lone.daemon) == []


async def test_without_redis_each_keeps_to_its_part_and_says_so(tmp_path: Path, redis: RedisServer) -> None:
    async with stage(tmp_path, redis) as scene:
        redis.kill()
        await scene.until_all_get_on()
        await scene.until_all_get_on()
        faults = await asyncio.gather(*(_health(crowd.daemon) for crowd in scene.crowds))
        assert all("1/3 of every limit" in each for one in faults for each in one)
        assert all(crowd.daemon.logged("goes on with 1/3") for crowd in scene.crowds)
        metrics = (await call(scene.crowds[0].daemon.port, "GET", "/metrics")).body
        assert b"llmqd_cluster_alone 1.0" in metrics
        redis.start()
        await scene.until(lambda: all(crowd.daemon.logged("Redis is back") for crowd in scene.crowds))
        await scene.until_all_get_on()
        assert [await _health(crowd.daemon) for crowd in scene.crowds] == [[], [], []]
        shown = (await call(scene.crowds[1].daemon.port, "GET", "/queue")).json()
        assert isinstance(shown, dict)
        assert shown["lanes"][0]["cluster"]["members"] == 3
