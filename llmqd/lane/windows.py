"""Limits on what goes within a window of time: windows of the wall clock, of the day, and sliding ones."""

from __future__ import annotations

import math
from collections import deque
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Protocol

from llmqd.lane.meters import EPSILON, HEADROOM, Meter

_SLOTS = 600
"""Parts into which a sliding window is divided: they bound its memory, and what they round up is 1/600 of it."""

_MOMENT = 1e-5
"""Seconds beyond the end of a window at which it is over in floating-point times of any size."""

_MOST_GUARD = 0.25
"""Seconds around the edge of a fixed window in which a call may be counted on either side: clocks differ, calls take
their time on the way."""


def slice_of(limit: float, window: float, part: float) -> tuple[float, float]:
    """A limit on calls as it holds in each `part` of its window (0: in the whole): amount and seconds.

    Providers that split a minute count whole calls in each part; where not even one fits, the part is longer.
    """
    seconds = part or window
    amount = limit * seconds / window
    if amount < 1:
        return 1.0, window / limit
    return (math.floor(amount + EPSILON) if part else amount), seconds


class Calendar(Protocol):
    """Numbers the windows of time that follow each other without a gap. Moments are monotonic seconds."""

    def index(self, at: float) -> int:
        """The number of the window in which `at` lies."""
        ...

    def end(self, index: int) -> float:
        """The moment at which a window ends."""
        ...


class Periods:
    """Windows of equal length that begin at whole multiples of it on the wall clock: each minute, each second.

    `wall_offset` is the wall clock (seconds since 1970) minus the monotonic one.
    """

    def __init__(self, seconds: float, wall_offset: float) -> None:
        self.seconds = seconds
        self._offset = wall_offset

    def index(self, at: float) -> int:
        return math.floor((at + self._offset) / self.seconds)

    def end(self, index: int) -> float:
        return (index + 1) * self.seconds - self._offset


class Days:
    """Days of a time zone, from midnight to midnight; one of 23 or 25 hours where clocks change."""

    def __init__(self, zone: tzinfo, wall_offset: float) -> None:
        self._zone = zone
        self._offset = wall_offset

    def index(self, at: float) -> int:
        return datetime.fromtimestamp(at + self._offset, self._zone).toordinal()

    def end(self, index: int) -> float:
        midnight = datetime.combine(datetime.fromordinal(index) + timedelta(days=1), time(), self._zone)
        return midnight.astimezone(UTC).timestamp() - self._offset


class FixedWindow(Meter):
    """At most `limit` in each window of a calendar.

    A call within `guard` seconds of an edge is counted in both windows, because nobody knows on which side of it the
    provider sees the call.
    """

    def __init__(self, limit: float, calendar: Calendar, guard: float = _MOST_GUARD) -> None:
        self.limit = limit
        self._calendar = calendar
        self._guard = guard
        self._counts: dict[int, float] = {}

    @property
    def capacity(self) -> float:
        return self.limit

    def ready_at(self, amount: float, now: float) -> float:
        if amount > self.limit + EPSILON:
            return math.inf
        at = now
        while full := [one for one in self._touched(at) if self._counts.get(one, 0.0) + amount > self.limit + EPSILON]:
            at = self._calendar.end(full[-1]) + self._guard + _MOMENT
        return at

    def take(self, amount: float, now: float, *, waited: bool = False) -> None:
        touched = self._touched(now)
        for index in touched:
            self._counts[index] = self._counts.get(index, 0.0) + amount
        for index in [one for one in self._counts if one < touched[0]]:
            del self._counts[index]

    def correct(self, change: float, now: float, taken: float) -> None:
        if change > 0:
            self.take(change, now)
            return
        for index in self._touched(taken):
            if index in self._counts:
                self._counts[index] = max(self._counts[index] + change, 0.0)

    def used(self, now: float) -> float:
        return self._counts.get(self._calendar.index(now), 0.0) / self.limit

    def eta(self, amount: float, now: float) -> float:
        index = self._calendar.index(now)
        missing = amount - max(self.limit - self._counts.get(index, 0.0), 0.0)
        if missing <= EPSILON:
            return now
        windows = math.ceil((missing - EPSILON) / self.limit)
        return self._calendar.end(index) + (windows - 1) * (self._calendar.end(index + 1) - self._calendar.end(index))

    def retune(self, limit: float, now: float) -> None:
        self.limit = limit

    def _touched(self, at: float) -> tuple[int, ...]:
        first, last = self._calendar.index(at - self._guard), self._calendar.index(at + self._guard)
        return (first,) if first == last else (first, last)

    def __repr__(self) -> str:
        return f"<FixedWindow {self.limit:g}: {self._counts}>"


def guard_of(seconds: float) -> float:
    """The guard that suits a fixed window of this length."""
    return min(_MOST_GUARD, seconds / 20)


class FixedPeriods(FixedWindow):
    """A limit in windows of the wall clock, such as minutes; `part` as in `slice_of`, `cushion` as in SlidingWindow."""

    def __init__(
        self, limit: float, window: float, wall_offset: float, part: float = 0.0, *, cushion: float = 0.0
    ) -> None:
        self._window = window
        self._part = part
        self._wall_offset = wall_offset
        self._cushion = cushion
        amount, seconds = slice_of(limit, window, part)
        super().__init__(amount * (1 - cushion), Periods(seconds, wall_offset), guard_of(seconds))

    def retune(self, limit: float, now: float) -> None:
        taken = self._counts.get(self._calendar.index(now), 0.0)
        amount, seconds = slice_of(limit, self._window, self._part)
        self.limit = amount * (1 - self._cushion)
        periods = Periods(seconds, self._wall_offset)
        if periods.index(now) != self._calendar.index(now):
            self._counts = {periods.index(now): taken}
        self._calendar, self._guard = periods, guard_of(seconds)


class _Slot:
    """What went in a small part of a sliding window, counted as if all of it had gone with the last."""

    __slots__ = ("amount", "first", "last")

    def __init__(self, at: float, amount: float) -> None:
        self.first = at
        self.last = at
        self.amount = amount


class SlidingWindow(Meter):
    """At most `limit` in any window of this many seconds, wherever it begins.

    With `part` the limit is split as by `slice_of`. The window is kept HEADROOM longer than the provider's, so that
    calls which come closer together on their way do no harm. `cushion` is the share of the limit that is never used,
    for amounts that are only guessed.
    """

    def __init__(self, limit: float, window: float = 60.0, part: float = 0.0, *, cushion: float = 0.0) -> None:
        self._window = window
        self._part = part
        self._cushion = cushion
        self._slots: deque[_Slot] = deque()
        self._total = 0.0
        self._set(limit)

    def _set(self, limit: float) -> None:
        self.limit = limit
        amount, seconds = slice_of(limit, self._window, self._part)
        self._most = amount * (1 - self._cushion)
        self._seconds = seconds * (1 + HEADROOM)

    @property
    def capacity(self) -> float:
        return self._most

    def ready_at(self, amount: float, now: float) -> float:
        if amount > self._most + EPSILON:
            return math.inf
        self._expire(now)
        excess = self._total + amount - self._most
        if excess <= EPSILON:
            return now
        for slot in self._slots:
            excess -= slot.amount
            if excess <= EPSILON:
                break
        return slot.last + self._seconds

    def take(self, amount: float, now: float, *, waited: bool = False) -> None:
        self._expire(now)
        self._total += amount
        if self._slots and now - self._slots[-1].first < self._seconds / _SLOTS:
            self._slots[-1].last = now
            self._slots[-1].amount += amount
        else:
            self._slots.append(_Slot(now, amount))

    def correct(self, change: float, now: float, taken: float) -> None:
        if change > 0:
            self.take(change, now)
            return
        for slot in reversed(self._slots):
            if slot.last < taken:
                return
            if slot.first <= taken:
                less = min(-change, slot.amount)
                slot.amount -= less
                self._total -= less
                return

    def used(self, now: float) -> float:
        self._expire(now)
        return self._total / self._most

    def eta(self, amount: float, now: float) -> float:
        rounds = max(math.ceil((amount - EPSILON) / self._most) - 1, 0)
        return self.ready_at(min(amount - rounds * self._most, self._most), now) + rounds * self._seconds

    def retune(self, limit: float, now: float) -> None:
        self._set(limit)

    def _expire(self, now: float) -> None:
        while self._slots and self._slots[0].last + self._seconds <= now:
            self._total -= self._slots.popleft().amount
        if not self._slots:
            self._total = 0.0  # sums of fractions leave dust behind

    def __repr__(self) -> str:
        return f"<SlidingWindow {self._total:g} of {self._most:g} in {self._seconds:g} s>"
