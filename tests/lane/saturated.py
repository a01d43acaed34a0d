"""A lane that always has calls waiting, played against a strict provider in virtual time without an event loop."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from llmqd.lane.meters import Meter
from tests.fake_upstream.limiters import Limiter


@dataclass(slots=True)
class Played:
    """What came of it: calls and amounts that went, how many the provider refused, and the share of what it allows."""

    calls: int = 0
    amount: float = 0.0
    refused: int = 0
    utilisation: float = 0.0


def play(
    meter: Meter,
    provider: Limiter,
    allowed: float,
    *,
    seconds: float = 600.0,
    steady_from: float = 60.0,
    cost: Callable[[random.Random], float] = lambda chance: 1.0,
    timer_late: float = 0.001,
    on_the_way: float = 0.0002,
    start: float = 1000.3,
    seed: int = 1,
) -> Played:
    """`allowed` is what the provider lets through in a minute. Timers fire up to `timer_late` seconds late, and calls
    need up to `on_the_way` seconds from being sent to being counted. Utilisation is that of the time from
    `steady_from` seconds on."""
    chance = random.Random(seed)
    played = Played()
    now, arrived, steady = start, start, 0.0
    while now < start + seconds:
        amount = cost(chance)
        due = meter.ready_at(amount, now)
        waited = due > now
        now = due + chance.uniform(0, timer_late) if waited else now
        meter.take(amount, now, waited=waited)
        meter.sent(now, now)
        arrived = max(arrived, now + chance.uniform(0, on_the_way))
        if provider.wait(arrived, amount) > 0:
            played.refused += 1
        else:
            provider.take(arrived, amount)
            steady += amount if now >= start + steady_from else 0.0
        played.calls += 1
        played.amount += amount
    played.utilisation = steady / (allowed * (seconds - steady_from) / 60)
    return played
