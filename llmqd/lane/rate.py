"""When the next call may start: a token bucket kept as one number, with the clock passed in."""

from __future__ import annotations

CATCH_UP = 0.02
"""Seconds of lateness that a timer may have without the rate suffering: a turn that was waited for and granted late
counts as granted when it was due, so that 6,000 calls a minute stay 6,000."""


class Rate:
    """A token bucket of `burst` tokens that refills continuously with `per_minute` tokens.

    Kept as the generic cell rate algorithm (ITU-T I.371): `_full_at` is the moment at which the bucket would be full
    again, every call moves it one interval further, and a call may start once it is at most `burst - 1` intervals
    ahead. So nothing ticks, nothing drifts, and an idle bucket costs nothing. `per_minute` 0 means no limit.
    """

    __slots__ = ("_full_at", "burst", "interval", "per_minute")

    def __init__(self, per_minute: float, burst: int = 1) -> None:
        self._full_at = float("-inf")
        self.retune(per_minute, burst)

    def retune(self, per_minute: float, burst: int) -> None:
        """Applies other limits from now on; what was already used up stays used up."""
        self.per_minute = per_minute
        self.burst = max(burst, 1)
        self.interval = 60.0 / per_minute if per_minute > 0 else 0.0

    def ready_at(self) -> float:
        """The moment from which the next call may start (in the past when it may start now)."""
        return self._full_at - (self.burst - 1) * self.interval

    def take(self, now: float, *, waited: bool) -> None:
        """Uses one token. `waited` says that a call was already waiting when this turn came due."""
        self._full_at = max(self._full_at, now - CATCH_UP if waited else now) + self.interval

    def give_back(self) -> None:
        """Returns the token of a call that was let through but never sent."""
        self._full_at -= self.interval

    def wait_for(self, position: int, now: float) -> float:
        """Seconds until the call at `position` (1 is next) may start, were the rate alone to decide."""
        return max(self.ready_at() - now, 0.0) + (position - 1) * self.interval

    def __repr__(self) -> str:
        return f"<Rate {self.per_minute:g}/min burst {self.burst}>"
