"""How providers count calls: one pure class an algorithm, the clock passed in, strict to the microsecond."""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass
from typing import Literal, Protocol

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


class Meter(Limiter, Protocol):
    """A limiter over time, which can also be read, corrected and changed by its provider."""

    def remaining(self, now: float) -> float:
        """What could be taken now, never below 0."""
        ...

    def full_in(self, now: float) -> float:
        """Seconds until everything that was taken is there again."""
        ...

    def correct(self, change: float, at: float, now: float) -> float:
        """What was taken at `at` turns out to be more (or, below 0, less) by `change`; gives what that changed."""
        ...

    def saved(self, now: float) -> float:
        """What has been left unused so far and can still be had, against somebody who takes all at an even pace; below
        0 what has been taken before its time."""
        ...

    def keeps_until(self, now: float) -> float:
        """The moment at which what has been saved by now is lost; infinite where it is not."""
        ...

    def scale(self, factor: float, now: float) -> None:
        """The provider changes the limit to `factor` times what it was."""
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

    def remaining(self, now: float) -> float:
        return max(self._filled(now), 0.0)

    def full_in(self, now: float) -> float:
        return (self.burst - self._filled(now)) / self.rate

    def correct(self, change: float, at: float, now: float) -> float:
        before = self._filled(now)
        self.take(now, change)
        return before - self._filled(now)

    def saved(self, now: float) -> float:
        return self._filled(now)

    def keeps_until(self, now: float) -> float:
        return math.inf

    def scale(self, factor: float, now: float) -> None:
        level = self._filled(now)
        self.rate *= factor
        self.burst = max(self.burst * factor, 1)
        self._level, self._at = min(level, self.burst), now

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

    def remaining(self, now: float) -> float:
        return max(self.limit - self._in_window(now), 0.0)

    def full_in(self, now: float) -> float:
        used = self._in_window(now)
        return (int((now + EPSILON) // self.window) + 1) * self.window - now if used else 0.0

    def correct(self, change: float, at: float, now: float) -> float:
        if not int((at + EPSILON) // self.window) == int((now + EPSILON) // self.window) == self._index:
            return 0.0
        change = max(change, -self._used)
        self._used += change
        return change

    def saved(self, now: float) -> float:
        return self.limit * ((now + EPSILON) % self.window) / self.window - self._in_window(now)

    def keeps_until(self, now: float) -> float:
        return (int((now + EPSILON) // self.window) + 1) * self.window

    def scale(self, factor: float, now: float) -> None:
        self.limit *= factor

    def _in_window(self, now: float) -> float:
        return self._used if int((now + EPSILON) // self.window) == self._index else 0.0


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
        self._sum = 0.0

    def wait(self, now: float, cost: float = 1) -> float:
        if cost > self.limit:
            return float("inf")
        excess = self._sum + cost - self.limit
        for at, used in self._calls:
            gone = at + self.window <= now + EPSILON
            if excess <= EPSILON and not gone:
                break
            excess -= used
            if excess <= EPSILON and not gone:
                return at + self.window - now
        return 0.0

    def take(self, now: float, cost: float = 1) -> None:
        while self._calls and self._calls[0][0] + self.window <= now + EPSILON:
            self._sum -= self._calls.popleft()[1]
        self._calls.append((now, cost))
        self._sum += cost

    def give_back(self, now: float, cost: float = 1) -> None:
        """Nothing: calls leave the window by time alone."""

    def remaining(self, now: float) -> float:
        return max(self.limit - sum(used for at, used in self._calls if at + self.window > now + EPSILON), 0.0)

    def full_in(self, now: float) -> float:
        return max(self._calls[-1][0] + self.window - now, 0.0) if self._calls else 0.0

    def correct(self, change: float, at: float, now: float) -> float:
        for index in range(len(self._calls) - 1, -1, -1):
            taken_at, used = self._calls[index]
            if taken_at == at:
                self._calls[index] = (at, used + change)
                self._sum += change
                return change
        return 0.0

    def saved(self, now: float) -> float:
        """Nothing: however it was used, any whole window holds the limit and no more."""
        return 0.0

    def keeps_until(self, now: float) -> float:
        return math.inf

    def scale(self, factor: float, now: float) -> None:
        self.limit *= factor


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


Charging = Literal["reserved", "refunded", "actual", "input", "output"]
"""How a limit on tokens counts a call. `reserved`: input and `max_tokens` when it starts, whatever comes out;
`refunded`: likewise, corrected to what came out when it ends; `actual`: input and output when it ends, and calls are
refused only while nothing is left; `input`: the input when it starts; `output`: the output while it is produced, and
calls are refused only while nothing is left."""

PIECE = 0.25
"""Seconds of output that are counted at a time."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One call as limits on tokens see it: `output` is what will come out, at most `max_output`."""

    input: int
    output: int
    max_output: int


class TokenLimit:
    """A limit on tokens: a meter, and the way in which calls are charged to it.

    What is charged later than at the start is kept until the clock has passed its time, so nothing ticks.
    """

    def __init__(self, meter: Meter, charging: Charging) -> None:
        self.meter = meter
        self.charging = charging
        self.total = 0.0
        """What has been charged so far, corrections included."""
        self._due: list[tuple[float, float, float]] = []

    def wait(self, now: float, tokens: Tokens) -> float:
        """Seconds until this call could be admitted; 0 when it is admitted now."""
        self.settle(now)
        return self.meter.wait(now, self.asked(tokens))

    def start(self, now: float, tokens: Tokens, ends: float) -> None:
        """Counts an admitted call whose answer will end at `ends`."""
        self.settle(now)
        asked = self.asked(tokens)
        if self.charging in ("reserved", "refunded", "input"):
            self.meter.take(now, asked)
            self.total += asked
        if self.charging == "refunded":
            heapq.heappush(self._due, (ends, tokens.input + tokens.output - asked, now))
        elif self.charging == "actual":
            heapq.heappush(self._due, (ends, tokens.input + tokens.output, ends))
        elif self.charging == "output":
            pieces = max(math.ceil((ends - now) / PIECE), 1)
            for number in range(1, pieces + 1):
                at = now + (ends - now) * number / pieces
                heapq.heappush(self._due, (at, tokens.output / pieces, at))

    def settle(self, now: float) -> None:
        """Charges what has come due."""
        while self._due and self._due[0][0] <= now + EPSILON:
            due, amount, at = heapq.heappop(self._due)
            if at == due:
                self.meter.take(due, amount)
                self.total += amount
            else:
                self.total += self.meter.correct(amount, at, due)

    def asked(self, tokens: Tokens) -> float:
        """What must be left for this call to be admitted."""
        if self.charging in ("reserved", "refunded"):
            return tokens.input + tokens.max_output
        return tokens.input if self.charging == "input" else 1

    def counted(self, tokens: Tokens) -> float:
        """What this call will have used in the end."""
        if self.charging == "reserved":
            return tokens.input + tokens.max_output
        return {"input": tokens.input, "output": tokens.output}.get(self.charging, tokens.input + tokens.output)
