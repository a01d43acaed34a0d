"""Redis's clock as it is known here: the only one that all daemons have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

_KEPT, _YOUNG = 64, 120.0
"""Readings that are kept, and the seconds for which one counts: clocks of different machines drift apart. Who was
stopped for a while may have no other that is right: one asked before and answered after is wrong by half of it."""
_DRIFT = 20e-6
"""Seconds by which they are thought to do so in a second."""


class _Reading(NamedTuple):
    at: float
    error: float
    offset: float


class RedisTime:
    """Turns moments of the local monotonic clock into Redis's time (Unix seconds) and back.

    Each reading is wrong by half of its round trip at the most; the best one that is not too old counts.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._readings: deque[_Reading] = deque(maxlen=_KEPT)
        self.offset = 0.0
        """Redis's clock minus the local one."""

    def read(self, asked: float, answered: float, told: float) -> None:
        """Redis said `told` between two local moments."""
        self._readings.append(_Reading(answered, (answered - asked) / 2, told - (asked + answered) / 2))
        young = [one for one in self._readings if answered - one.at < _YOUNG]
        self.offset = min(young, key=lambda one: one.error + (answered - one.at) * _DRIFT).offset

    def forget(self) -> None:
        """Another server answers from now on, whose clock may be another; the offset holds until it is read."""
        self._readings.clear()

    @property
    def now(self) -> float:
        """Redis's time."""
        return self._clock() + self.offset

    def there(self, at: float) -> float:
        """A local moment in Redis's time."""
        return at + self.offset

    def here(self, at: float) -> float:
        """A moment of Redis's time by the local clock."""
        return at - self.offset
