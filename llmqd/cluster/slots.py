"""Moments that daemons leave to each other where they cannot ask: each has its own slots in Redis's time."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from llmqd.lane.spacing import LUMP

if TYPE_CHECKING:
    from llmqd.lane.gate import Figure

SLOWER, LATE = 1.25, 0.2
"""How much longer a slot is than the distance that the limit asks for, and how late in its slot a call may leave, as a
share of it: so two calls in slots that follow each other are never too close."""

_SIXTY = {"requests_per_minute": 1.0, "requests_per_second": 60.0}


def interval(figures: Iterable[Figure], groups: Collection[str], part: float) -> float:
    """Seconds of a slot, 0 where calls need not keep a distance. `figures` show a `part` of each limit."""
    rates = [
        each.limit / part * _SIXTY[each.dimension]
        for each in figures
        if each.dimension in _SIXTY and each.group in groups
    ]
    seconds = SLOWER * 60.0 / min(rates) if rates else 0.0
    return seconds if seconds > LUMP else 0.0


class Slots:
    """The slots of some of `count` daemons, those with an index in `own`; each is used once. Times are Redis's."""

    def __init__(self, own: Collection[int], count: int) -> None:
        self._own = frozenset(own)
        self._count = count
        self._last = -math.inf

    @property
    def last(self) -> float:
        """The begin of the last slot that was given."""
        return self._last

    def next(self, at: float, seconds: float) -> float:
        """The begin of the next own slot, not before `at`, where slots have so many seconds."""
        number = max(
            math.ceil(at / seconds - 1e-6), math.floor(self._last / seconds + 0.5) + 1 if self._last > 0 else 0
        )
        while number % self._count not in self._own:
            number += 1
        self._last = number * seconds
        return self._last
