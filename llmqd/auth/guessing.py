"""Counts wrong keys by address, so that nobody can try many. Right ones pass whatever others have tried."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class Guesses:
    """Allows `burst` wrong keys at once from an address and `per_minute` after that; the oldest of more than
    `addresses` are forgotten. `clock` is monotonic, in seconds.
    """

    def __init__(
        self, *, clock: Callable[[], float], burst: float = 10.0, per_minute: float = 10.0, addresses: int = 4096
    ) -> None:
        self._clock = clock
        self._burst = burst
        self._rate = per_minute / 60
        self._most = addresses
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wrong(self, address: str) -> float | None:
        """One more wrong key. Seconds to stay away where these were too many, else None."""
        now = self._clock()
        spent, at = self._spent.pop(address, (0.0, now))
        spent = max(spent - (now - at) * self._rate, 0.0)
        too_many = spent + 1 > self._burst
        if not too_many:
            spent += 1
        self._spent[address] = spent, now
        while len(self._spent) > self._most:
            self._spent.popitem(last=False)
        return (spent + 1 - self._burst) / self._rate if too_many else None
