"""What waits in any daemon is seen and steered from any other, through a real Redis."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.cluster.test_together import _waits, ask, daemons, toml
from tests.fake_upstream import FakeUpstream
from tests.redis_server import RedisServer
from tests.under_test import DaemonUnderTest, call

JSON = {"Content-Type": "application/json"}


async def queue(daemon: DaemonUnderTest, more: str = "") -> Any:
    return (await call(daemon.port, "GET", f"/queue{more}")).json()


def _waits_in_all(daemon: DaemonUnderTest, count: int) -> bool:
    return all(getattr(lane, "together", {}).get("waiting") == count for lane in daemon.lanes)


async def test_any_daemon_shows_and_steers_the_calls_of_all(tmp_path: Path, redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(FakeUpstream())
        both = await stack.enter_async_context(daemons(tmp_path, 2, toml(upstream.url, redis, requests_per_minute=600)))
        one, other = both
        await call(one.port, "POST", "/queue/openai/pause", b"{}", JSON)
        await other.until(lambda: all(lane.paused is not None for lane in other.lanes))
        calls = []
        for number in range(4):
            daemon = both[number % 2]
            calls.append(asyncio.ensure_future(ask(daemon, session=f"s{number}")))
            await daemon.until(partial(_waits, daemon, number // 2 + 1))
        await one.until(partial(_waits_in_all, one, 4))
        for daemon in both:
            shown = await queue(daemon)
            assert [each["session"] for each in shown["waiting"]] == ["s0", "s1", "s2", "s3"]
            assert [each["position"] for each in shown["waiting"]] == [1, 2, 3, 4]
            assert len(shown["members"]) == 2
            assert (shown["total"], shown["lanes"][0]["waiting"]) == (4, 4)
        assert [each["session"] for each in (await queue(one, "?session=s1"))["waiting"]] == ["s1"]
        last, second = shown["waiting"][3]["request_id"], shown["waiting"][1]["request_id"]
        raised = await call(one.port, "PATCH", f"/queue/{last}", b'{"priority": "high"}', JSON)
        assert raised.status == 200
        async with asyncio.timeout(10):
            while (await queue(one))["waiting"][0]["request_id"] != last:  # noqa: ASYNC110 (told by messages)
                await asyncio.sleep(0.02)
        assert (await call(one.port, "GET", f"/queue/{second}")).json()["session"] == "s1"  # type: ignore[index]
        assert (await call(one.port, "DELETE", f"/queue/{second}")).status == 200
        assert (await call(one.port, "DELETE", f"/queue/{second}")).status == 404
        await call(other.port, "POST", "/queue/openai/resume", b"{}", JSON)
        assert sorted(await asyncio.gather(*calls)) == [200, 200, 200, 499]
