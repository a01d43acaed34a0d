"""What waiting costs inside the daemon: microseconds to come in and go out, bytes of memory while it lasts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator

from bench.queue.measures import Measure, quantile
from llmqd.call import Call
from llmqd.config.model import Key, Limits, Queue
from llmqd.events.kinds import Event, Started
from llmqd.lane.estimate import BodySize
from llmqd.lane.lane import Lane
from llmqd.lane.throttle import Demand, Throttle
from llmqd.lane.turn import Turn
from tests.calls import a_call
from tests.clock import ManualClock

FEW, MANY = 100, 10_000
_ROUNDS = 3000
_PER_MINUTE = 600.0
_STEP = 1.006
"""Even spacing stays half a per cent below the limit."""
_FLOWS = 50
_MOST_US, _ALIKE = 50.0, 1.5


async def cost() -> list[Measure]:
    """Time of an enqueue and a grant at few and at many waiting calls, and the bytes of a place."""
    few, many = await turnover(FEW), await turnover(MANY)
    alike = many <= few * _ALIKE
    place, inside = await place_bytes(), await inside_bytes()
    return [
        Measure(f"enqueue + grant, {FEW} waiting", f"{few:.1f} µs", f"≤ {_MOST_US:.0f} µs", few <= _MOST_US),
        Measure(
            f"enqueue + grant, {MANY:,} waiting",
            f"{many:.1f} µs, {many / few:.2f} times as long",
            f"≤ {_MOST_US:.0f} µs, the same",
            many <= _MOST_US and alike,
        ),
        Measure(f"{MANY:,} waiting, the queue's part of each", f"{place:,.0f} bytes", "≤ 10,240", place <= 10_240),
        Measure("    and with its call, its task and its turn", f"{inside:,.0f} bytes", "≤ 10,240", inside <= 10_240),
    ]


async def turnover(waiting: int) -> float:
    """Median microseconds of a step in which one call comes in and another gets its turn, while so many wait."""
    clock, started = ManualClock(), list[str]()
    lane = _lane(clock, lambda event: started.append(event.request_id) if isinstance(event, Started) else None)
    places = {call.id: lane.enter(call, _DEMAND) for call in _calls(waiting + 1)}
    calls, times = _calls(_ROUNDS), []
    gc.collect()
    gc.disable()
    try:
        for call in calls:
            ticket = places.pop(started.pop())
            lane.sent(ticket)
            lane.leave(ticket, None, counted=True)
            clock.advance(60 / _PER_MINUTE * _STEP)
            began = time.perf_counter()
            places[call.id] = lane.enter(call, _DEMAND)
            times.append(time.perf_counter() - began)
            if len(started) != 1:
                raise RuntimeError(f"{len(started)} grants in a step that is long enough for one")
    finally:
        gc.enable()
    return quantile(times, 0.5) * 1e6


async def place_bytes() -> float:
    """What the lane keeps of each of many calls that wait, the call itself not counted."""
    lane = _lane(ManualClock())
    first, *calls = _calls(MANY + 1)
    lane.enter(first, _DEMAND)
    with _traced() as used:
        for call in calls:
            lane.enter(call, _DEMAND)
        used.append(tracemalloc.get_traced_memory()[0])
    return (used[1] - used[0]) / MANY


async def inside_bytes() -> float:
    """What each of many calls takes that wait for their turn in a task of their own: all but its connection."""
    lane = _lane(ManualClock())
    lane.enter(a_call(), _DEMAND)
    async with _gone_at_the_end() as tasks:
        with _traced() as used:
            for _ in range(MANY):
                tasks.append(asyncio.create_task(_waits(lane)))
            await asyncio.sleep(0)
            used.append(tracemalloc.get_traced_memory()[0])
        if lane.waiting != MANY:
            raise RuntimeError(f"{lane.waiting} calls wait instead of {MANY}")
    return (used[1] - used[0]) / MANY


async def _waits(lane: Lane) -> None:
    async with Turn(lane, a_call(), Demand(BodySize(400), 100)):
        raise RuntimeError("nobody was to get a turn")


@contextlib.asynccontextmanager
async def _gone_at_the_end() -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def _traced() -> Iterator[list[int]]:
    """A list that begins with the memory in use now."""
    gc.collect()
    tracemalloc.start()
    try:
        yield [tracemalloc.get_traced_memory()[0]]
    finally:
        tracemalloc.stop()


_DEMAND = Demand(BodySize(400), 100)


def _calls(count: int) -> list[Call]:
    """Calls of some tenants in turn."""
    return [a_call(user=f"tenant {number % _FLOWS}") for number in range(count)]


def _lane(clock: ManualClock, announce: Callable[[Event], object] = lambda _: None) -> Lane:
    limits = Limits(requests_per_minute=_PER_MINUTE)
    key = Key(name="default", limits=limits)
    throttle = Throttle(limits, learns=False, noise=lambda: 0.0, wall_offset=0.0)
    queue = Queue(max_waiting=0, fair_by="user")
    return Lane("bench", "bench", key, queue, throttle=throttle, clock=clock, announce=announce)
