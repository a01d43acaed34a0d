"""The promised wait beside the real one in steady load, in virtual time: a lane whose tokens are what is short."""

from __future__ import annotations

import asyncio
import math
import random

import pytest

from llmqd.config.model import Key, Limits, Queue
from llmqd.events.kinds import Event, Queued, Started
from llmqd.lane.estimate import BodySize
from llmqd.lane.lane import Lane
from llmqd.lane.throttle import Demand, Throttle
from llmqd.lane.turn import Turn
from llmqd.usage import Usage
from tests.calls import a_call
from tests.clock import run_virtual

_CLIENTS, _STEADY_AFTER, _SECONDS = 150, 75.0, 180.0


class Watch:
    """`errors` are the differences of promised and real waits by the real ones."""

    def __init__(self) -> None:
        self.errors: list[float] = []
        self._promised: dict[str, float] = {}

    def see(self, event: Event) -> None:
        if isinstance(event, Queued) and event.eta_ms is not None:
            if asyncio.get_running_loop().time() >= 1000.0 + _STEADY_AFTER:
                self._promised[event.request_id] = event.eta_ms
        elif isinstance(event, Started) and event.request_id in self._promised:
            self.errors.append(abs(self._promised.pop(event.request_id) - event.queued_ms) / event.queued_ms)


def drawn(rng: random.Random, least: int, most: int) -> int:
    return round(math.exp(rng.uniform(math.log(least), math.log(most))))


async def calls(lane: Lane, rng: random.Random) -> None:
    while True:
        size, output = drawn(rng, 200, 4000), drawn(rng, 100, 2000)
        call = a_call(arrived=asyncio.get_running_loop().time())
        async with Turn(lane, call, Demand(BodySize(size), 2000)) as turn:
            turn.sent()
            turn.answered(())
            await asyncio.sleep(0.1 + 0.002 * output)
            turn.used(Usage(input=size // 4, output=output, source="exact"))


@pytest.mark.parametrize(
    ("reserve", "limit"), [("typical", 600_000), ("refunded", 1_200_000), ("max_tokens", 1_200_000)]
)
def test_the_promised_wait_is_near_the_real_one_where_tokens_are_short(reserve: str, limit: int) -> None:
    async def scenario() -> list[float]:
        watch, rng = Watch(), random.Random(1)
        limits = Limits(requests_per_minute=0, tokens_per_minute=limit, reserve_output=reserve)  # type: ignore[arg-type]
        clock = asyncio.get_running_loop().time
        throttle = Throttle(limits, learns=True, noise=rng.random, wall_offset=0.0)
        key, queue = Key(name="default", limits=limits), Queue(max_waiting=0, fair_by="none")
        lane = Lane("lane", "upstream", key, queue, throttle=throttle, clock=clock, announce=watch.see)
        tasks = [asyncio.create_task(lane.work()), *(asyncio.create_task(calls(lane, rng)) for _ in range(_CLIENTS))]
        await asyncio.sleep(_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sorted(watch.errors)

    errors = run_virtual(scenario())
    assert len(errors) >= 200
    assert errors[len(errors) // 2] <= 0.10
    assert errors[len(errors) * 9 // 10] <= 0.25
