"""What the best possible client gets: one that knows the upstream's limits, its clock, and what will come out."""

from __future__ import annotations

import heapq
import math
import random

import orjson

from bench.queue.rows import Row
from bench.queue.upstream import meter
from bench.queue.yardstick import Accepted, steady, used
from tests.fake_upstream.limiters import TokenLimit, Tokens
from tests.fake_upstream.sized_answers import Lengths, tokens_of

BEGAN = 60_007.3
"""Somewhere in the middle of a minute and of a second, as a run begins; early, as late times are coarse numbers."""


class Oracle:
    """Plays a row in no time: its clients send each call at the first moment at which it is admitted, and never before.

    Where calls are counted only as they end, it counts them when they begin, so that it never overdraws.
    """

    def __init__(self, row: Row) -> None:
        self._row = row
        self._spec = row.spec
        self._lengths = Lengths(*row.spec.lengths, seed=row.spec.seed)
        self._random = random.Random(0)
        self._meters = [meter(row.spec.kind, row.spec.per_minute)] if row.spec.kind is not None else []
        self._tokens = [TokenLimit(meter(kind, size), charging) for charging, kind, size in row.spec.tokens.values()]
        self._ahead = [TokenLimit(meter(kind, size), "reserved") for _, kind, size in row.spec.tokens.values()]
        self._change = row.spec.change

    def play(self) -> tuple[list[Accepted], list[tuple[float, float]]]:
        """The calls accepted until the row's end, and the span of each in flight."""
        now, until = BEGAN, BEGAN + self._row.seconds
        accepted: list[Accepted] = []
        places: list[tuple[float, float]] = []
        at_once = min(self._row.clients, self._spec.concurrency or self._row.clients)
        running: list[float] = []
        while True:
            if len(running) == at_once:
                now = max(now, heapq.heappop(running))
            tokens = self._drawn()
            now = self._admitted(now, tokens, running)
            if now >= until:
                return accepted, places
            ends = now + self._spec.seconds + self._spec.seconds_per_token * tokens.output
            for each in self._meters:
                each.take(now)
            for limit, ahead in zip(self._tokens, self._ahead, strict=True):
                limit.start(now, tokens, ends)
                ahead.start(now, _known(limit, tokens), ends)
            heapq.heappush(running, ends)
            accepted.append((now, tokens.input, tokens.output, tokens.max_output))
            places.append((now, ends))

    def _admitted(self, now: float, tokens: Tokens, running: list[float]) -> float:
        """The first moment from now on at which every limit admits this call; those that end may bring refunds."""
        while True:
            self._changed(now)
            waits = [each.wait(now) for each in self._meters]
            for limit, ahead in zip(self._tokens, self._ahead, strict=True):
                waits += limit.wait(now, tokens), ahead.wait(now, _known(limit, tokens))
            wait = max(waits, default=0.0)
            if wait <= 0:
                return now
            refund = min((end for end in running if end > now), default=math.inf)
            now = max(min(now + wait, refund), math.nextafter(now, math.inf))

    def _changed(self, now: float) -> None:
        if self._change is not None and now >= BEGAN + self._change[0]:
            for each in self._meters:
                each.scale(self._change[1], now)
            self._change = None

    def _drawn(self) -> Tokens:
        body = self._row.calls.draw(self._random).partition(b"\r\n\r\n")[2]
        return tokens_of(orjson.loads(body), len(body), self._lengths.draw())


def _known(limit: TokenLimit, tokens: Tokens) -> Tokens:
    """The call as a limit that reserves counts it, so that exactly that is reserved which the real one will charge."""
    if limit.charging == "refunded":
        return Tokens(0, 0, 0)
    return Tokens(round(limit.counted(tokens)), 0, 0)


def best(row: Row) -> float | None:
    """What the oracle uses of what a row's upstream allows, by the same yardstick as the daemon."""
    accepted, places = Oracle(row).play()
    span = steady(BEGAN, row.steady_after, BEGAN + row.seconds)
    return used(row.spec, accepted, places, span)
