"""Whether a lane by itself keeps 60,000 calls a minute: its code on a real event loop, nothing before or behind it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from bench.queue.measures import Measure
from llmqd.config.model import Key, Limits, Queue
from llmqd.lane.estimate import BodySize
from llmqd.lane.lane import Lane
from llmqd.lane.throttle import Demand, Throttle
from llmqd.lane.turn import Turn
from tests.calls import a_call

_PER_SECOND, _SECONDS, _CLIENTS = 1000, 30, 50
_WARM = 1.0
_NEAR = 0.01
_DEMAND = Demand(BodySize(400), 100)


async def steady() -> list[Measure]:
    """Grants a second over half a minute, and in the slowest and the fastest second of it."""
    limits = Limits(requests_per_minute=60.0 * _PER_SECOND)
    throttle = Throttle(limits, learns=True, noise=lambda: 0.0, wall_offset=time.time() - time.monotonic())
    lane = Lane(
        "bench",
        "bench",
        Key(name="default", limits=limits),
        Queue(max_waiting=0, fair_by="none"),
        throttle=throttle,
        clock=time.monotonic,
        announce=lambda _: None,
    )
    granted = Counter[int]()
    begin = time.monotonic() + _WARM
    tasks = [asyncio.create_task(lane.work())]
    tasks += [asyncio.create_task(_calls(lane, granted, begin)) for _ in range(_CLIENTS)]
    used = time.process_time()
    await asyncio.sleep(_WARM + _SECONDS)
    used = (time.process_time() - used) / (_WARM + _SECONDS)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    seconds = [granted[second] for second in range(_SECONDS)]
    rate = sum(seconds) / _SECONDS
    value = f"{rate:,.1f}/s, {min(seconds):,} to {max(seconds):,} in each, {used:.0%} of a core"
    target = f"{_PER_SECOND:,}/s ± {_NEAR:.0%}"
    return [Measure("60,000 rpm, a lane by itself", value, target, abs(rate / _PER_SECOND - 1) <= _NEAR)]


async def _calls(lane: Lane, granted: Counter[int], begin: float) -> None:
    """One call after the other, each ended as soon as it is sent."""
    while True:
        async with Turn(lane, a_call(), _DEMAND) as turn:
            await turn.poised()
            turn.sent()
            granted[int((time.monotonic() - begin) // 1)] += 1
            turn.answered(())
        await asyncio.sleep(0)
