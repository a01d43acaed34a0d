"""Remembers what was let through in the last three minutes, by the quarter second."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import islice

MINUTE = 60.0

_SLOT = 0.25
KEPT = 180.0
"""Seconds that are remembered: 720 slots at most."""


class History:
    """What was let through lately, by the quarter second. Pure: times are monotonic seconds, passed in."""

    def __init__(self) -> None:
        self._slots: deque[list[float]] = deque()  # start, amount, calls

    def add(self, amount: float, now: float) -> None:
        """Counts a call that was let through now."""
        slots = self._slots
        if not slots or now >= slots[-1][0] + _SLOT:
            slots.append([now // _SLOT * _SLOT, 0.0, 0.0])
            while slots[0][0] < now - KEPT:
                slots.popleft()
        slot = slots[-1]
        slot[1] += amount
        slot[2] += 1

    def remove(self, amount: float, at: float) -> None:
        """A call that was let through at `at` was refused or never sent."""
        found = self._at(at)
        if found is not None:
            found[1] = max(found[1] - amount, 0.0)
            found[2] = max(found[2] - 1, 0.0)

    def correct(self, change: float, at: float) -> None:
        """A call of `at` took more than was thought, or less."""
        found = self._at(at)
        if found is not None:
            found[1] = max(found[1] + change, 0.0)

    def since(self, moment: float) -> float:
        """The amount that was let through after `moment`; the slot of that moment counts in part."""
        total = 0.0
        for start, amount, _ in reversed(self._slots):
            if start + _SLOT <= moment:
                break
            total += amount * min((start + _SLOT - moment) / _SLOT, 1.0)
        return total

    def between(self, begin: float, end: float) -> float:
        """The amount that was let through from `begin` to `end`."""
        return max(self.since(begin) - self.since(end), 0.0)

    def calls_since(self, moment: float) -> int:
        """The number of calls that were let through after `moment`."""
        return int(sum(calls for start, _, calls in reversed(self._slots) if start >= moment))

    def bucket(self, now: float) -> float:
        """The least limit a minute with which a bucket of that burst would have let all of this through by `now`."""
        total = best = 0.0
        for start, amount, _ in reversed(self._slots):
            if start > now:
                continue
            total += amount
            best = max(best, total / (1 + (now - start) / MINUTE))
        return best

    def room_at(self, cap: float, now: float) -> float:
        """When the last minute will hold less than `cap`; `now` when it does already."""
        excess = self.since(now - MINUTE) - cap
        if excess < 0:
            return now
        first = bisect_left(self._slots, now - MINUTE - _SLOT, key=lambda slot: slot[0])
        for start, amount, _ in islice(self._slots, first, None):
            excess -= amount
            if excess < 0:
                return max(start + _SLOT + MINUTE, now)
        return now

    def _at(self, moment: float) -> list[float] | None:
        for slot in reversed(self._slots):
            if slot[0] <= moment:
                return slot if moment < slot[0] + _SLOT else None
        return None
