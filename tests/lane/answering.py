"""A lane with token limits that always has calls waiting, played against a strict provider in virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass

from llmqd.config.limits import Limits
from llmqd.lane.amounts import Ask
from llmqd.lane.estimate import BodySize, Estimator
from llmqd.lane.gate import Gate, Reservation
from llmqd.usage import Usage
from tests.fake_upstream.limiters import TokenLimit, Tokens


@dataclass(slots=True)
class Answers:
    """What came of it. `utilisation` is, for each of the provider's limits, the share used in the steady part."""

    calls: int
    refused: int
    utilisation: list[float]
    input_error: float
    output_short: float


def play_answers(
    limits: Limits,
    provider: list[TokenLimit],
    allowed: list[float],
    *,
    seconds: float = 600.0,
    steady_from: float = 120.0,
    speed: float = 400.0,
    says_max: bool = True,
    seed: int = 1,
) -> Answers:
    """Bodies of 2,000 to 40,000 bytes with about a token in 3.6 bytes, answers of 100 to 2,000 tokens at `speed` tokens
    a second, and `max_tokens` between what comes out and twice as much, which the request names if `says_max`."""
    chance = random.Random(seed)
    gate, estimator = Gate(limits), Estimator()
    number = itertools.count()
    running: list[tuple[float, int, Reservation, Ask, BodySize, Usage]] = []
    start = now = 1000.0
    calls = refused = 0
    used = [0.0] * len(provider)
    while now < start + seconds:
        size = BodySize(chance.randint(2000, 40000))
        spent = Usage(input=int(size.text / chance.uniform(3.3, 3.9)), output=chance.randint(100, 2000), source="exact")
        most = int(spent.output * chance.uniform(1, 2))
        ask = estimator.ask("m", size, max_tokens=most if says_max else None, in_flight=len(running))
        asked = now
        while (block := gate.block(ask, now)) is not None:
            now = max(now, min(block.until, running[0][0] if running else block.until))
            while running and running[0][0] <= now:
                ended, _, reservation, made, body, usage = heapq.heappop(running)
                gate.settle(reservation, usage, ended)
                estimator.learn(made, body, usage)
        now += chance.uniform(0, 0.001) if now > asked else 0.0
        reservation = gate.take(ask, now, waited=now > asked)
        gate.sent(reservation, now)
        tokens = Tokens(spent.input, spent.output, most)
        ends = now + 0.3 + spent.output / speed
        calls += 1
        if any(limit.wait(now, tokens) > 0 for limit in provider):
            refused += 1
            gate.settle(reservation, None, now, counted=False)
            now += 1.0
            continue
        for index, limit in enumerate(provider):
            limit.start(now, tokens, ends)
            used[index] += limit.counted(tokens) if now >= start + steady_from else 0.0
        heapq.heappush(running, (ends, next(number), reservation, ask, size, spent))
    share = [one / (limit * (seconds - steady_from) / 60) for one, limit in zip(used, allowed, strict=True)]
    error = estimator.error()
    return Answers(calls, refused, share, error.input_error, error.output_short)
