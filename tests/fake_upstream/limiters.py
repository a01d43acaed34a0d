"""How providers count calls: one pure class an algorithm, the clock passed in, strict to the microsecond."""

from __future__ import annotations

from collections import deque
from typing import Protocol

EPSILON = 1e-9
"""Slack for the rounding of floating-point times, far below anything a network can show."""


class Limiter(Protocol):
    """Decides about one call. `cost` is 1 for limits on calls, the number of tokens for limits on tokens."""

    def wait(self, now: float, cost: float = 1) -> float:
        """Seconds until a call of this cost could be admitted; 0 when it is admitted now. Changes nothing."""
        ...

    def take(self, now: float, cost: float = 1) -> None:
        """Counts an admitted call."""
        ...

    def give_back(self, now: float, cost: float = 1) -> None:
        """An admitted call ended; matters where calls in flight are counted."""
        ...


class TokenBucket:
    """Refills continuously at `per_minute`, holds at most `burst`, starts full."""

    def __init__(self, per_minute: float, burst: float = 1) -> None:
        self.rate = per_minute / 60
        self.burst = burst
        self._level = burst
        self._at: float | None = None

    def wait(self, now: float, cost: float = 1) -> float:
        if cost > self.burst:
            return float("inf")
        missing = cost - self._filled(now)
        return missing / self.rate if missing > EPSILON else 0.0

    def take(self, now: float, cost: float = 1) -> None:
        self._level = self._filled(now) - cost
        self._at = now

    def give_back(self, now: float, cost: float = 1) -> None:
        """Nothing: a bucket refills by time alone."""

    def _filled(self, now: float) -> float:
        elapsed = 0.0 if self._at is None else now - self._at
        return min(self.burst, self._level + elapsed * self.rate)


class FixedWindow:
    """`limit` per window; windows begin at whole multiples of `window` seconds on the given clock."""

    def __init__(self, limit: float, window: float = 60.0) -> None:
        self.limit = limit
        self.window = window
        self._index = -1
        self._used = 0.0

    def wait(self, now: float, cost: float = 1) -> float:
        if cost > self.limit:
            return float("inf")
        index = int((now + EPSILON) // self.window)
        used = self._used if index == self._index else 0.0
        return (index + 1) * self.window - now if used + cost > self.limit + EPSILON else 0.0

    def take(self, now: float, cost: float = 1) -> None:
        index = int((now + EPSILON) // self.window)
        if index != self._index:
            self._index, self._used = index, 0.0
        self._used += cost

    def give_back(self, now: float, cost: float = 1) -> None:
        """Nothing: a window empties by time alone."""


def quantised(per_minute: float, slice_seconds: float = 1.0) -> FixedWindow:
    """A minute limit enforced in slices: 60 a minute as 1 a second, 600 as 10; below 60 the slice grows."""
    limit = per_minute * slice_seconds / 60
    return FixedWindow(int(limit), slice_seconds) if limit >= 1 else FixedWindow(1, 60 / per_minute)


class SlidingWindow:
    """At most `limit` in any `window` seconds."""

    def __init__(self, limit: float, window: float = 60.0) -> None:
        self.limit = limit
        self.window = window
        self._calls: deque[tuple[float, float]] = deque()

    def wait(self, now: float, cost: float = 1) -> float:
        if cost > self.limit:
            return float("inf")
        live = [(at, used) for at, used in self._calls if at + self.window > now + EPSILON]
        excess = sum(used for _, used in live) + cost - self.limit
        for at, used in live:
            if excess <= EPSILON:
                break
            excess -= used
            if excess <= EPSILON:
                return at + self.window - now
        return 0.0

    def take(self, now: float, cost: float = 1) -> None:
        while self._calls and self._calls[0][0] + self.window <= now + EPSILON:
            self._calls.popleft()
        self._calls.append((now, cost))

    def give_back(self, now: float, cost: float = 1) -> None:
        """Nothing: calls leave the window by time alone."""


class Concurrency:
    """At most `limit` calls in flight; `retry_after` is what a refused caller is told, as nobody can know better."""

    def __init__(self, limit: int, retry_after: float = 1.0) -> None:
        self.limit = limit
        self.retry_after = retry_after
        self.running = 0

    def wait(self, now: float, cost: float = 1) -> float:
        return self.retry_after if self.running >= self.limit else 0.0

    def take(self, now: float, cost: float = 1) -> None:
        self.running += 1

    def give_back(self, now: float, cost: float = 1) -> None:
        self.running -= 1


class Limits:
    """Several limits at once: a call is counted in all of them or in none."""

    def __init__(self, *limiters: Limiter) -> None:
        self.limiters = limiters

    def wait(self, now: float, cost: float = 1) -> float:
        return max((limiter.wait(now, cost) for limiter in self.limiters), default=0.0)

    def take(self, now: float, cost: float = 1) -> None:
        for limiter in self.limiters:
            limiter.take(now, cost)

    def give_back(self, now: float, cost: float = 1) -> None:
        for limiter in self.limiters:
            limiter.give_back(now, cost)
