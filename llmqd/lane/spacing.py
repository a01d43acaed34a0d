"""Spaces calls evenly: the one way to keep a rate that every provider's way of counting lets pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from llmqd.lane.meters import HEADROOM, Meter
from llmqd.lane.windows import SlidingWindow, slice_of

_CLOSEST = 0.002
"""Share by which a call always stays farther from the one before than the strict interval. Less than HEADROOM:
the difference is how fast the lateness of timers is made up for."""

LUMP = 0.02
"""Seconds. Shorter intervals are not kept one by one, as timers are too coarse for that: calls may then come in lumps
of what is due in this time. Also the lateness of a timer that is made up for."""

_STANDSTILL = 0.1
"""The lateness that is made up for where calls go in lumps: a busy event loop comes so late now and then."""

_PATIENCE = 0.25
"""Seconds that a call at most waits for the news that the one before has really been sent."""

Patience = Callable[[], float] | None
"""Seconds that the next call waits at least for the news that the one before has left; None: as long as usual."""

_REMEMBERED = 64
"""Calls whose time from being let through to being ready to leave is remembered: the next may take as long as any of
them, and is let through so much earlier."""

_LATE = 0.002
"""Seconds more, as timers come late."""

_MOST_LEAD, _MOST_OF_INTERVAL = 0.025, 0.25
"""The most seconds, and the largest share of the interval, that a call is let through ahead of its moment: who comes
later than it, but is more urgent, has to find the turn still there."""


class Even(Meter):
    """`limit` calls in each `window`, each at its distance from the one before.

    Safe for a bucket of any depth, for fixed and sliding windows and for windows of a second. There are two rules: a
    nominal schedule, HEADROOM slower than the limit, which does not drift when timers are late; and the strict
    interval, counted from the moment at which the call before was really `sent`. A call whose sender asks, when it is
    `poised` to leave, from which moment it may is let through earlier than that, by what this has taken lately: neither
    the time that sending takes nor a late timer then costs anything of the rate. Until a call is reported as sent, the
    next one waits up to one interval longer than it would: its caller should ask `ready_at` again after `sent`.

    Where the interval is no longer than LUMP, calls go in small lumps, and a sliding window of one second stands in for
    the strict interval. `part` says that the provider splits its window, as in `slice_of`. `patience` says how long
    news take that come from elsewhere.
    """

    def __init__(self, limit: float, window: float = 60.0, part: float = 0.0, *, patience: Patience = None) -> None:
        self._window = window
        self._part = part
        self._least_patience = patience
        self._due = float("-inf")
        self._last_sent = float("-inf")
        self._unsent: list[float] = []
        self._delays: deque[float] = deque(maxlen=_REMEMBERED)
        self._lead = 0.0
        """Seconds by which a call is let through before its moment."""
        self._second: SlidingWindow | None = None
        self._recent = _Recent(max(window, 60.0))
        self._set(limit)

    def _set(self, limit: float) -> None:
        self.limit = limit
        amount, seconds = slice_of(limit, self._window, self._part)
        interval = seconds / amount
        self._spacing = interval * (1 + HEADROOM)
        self._closest = interval * (1 + _CLOSEST)
        self._most_lead = min(_MOST_LEAD, interval * _MOST_OF_INTERVAL)
        self._patience = min(interval, _PATIENCE)
        if interval > LUMP:
            self._second = None
        elif self._second is None:
            self._second = SlidingWindow(amount, seconds, part=1.0)
        else:
            self._second.retune(amount, 0.0)

    @property
    def capacity(self) -> float:
        return 1.0

    def ready_at(self, amount: float, now: float) -> float:
        if self._second is not None:
            return max(self._due, self._second.ready_at(amount, now))
        at = max(self._due, self._last_sent + self._closest) - self._lead
        if self._unsent:
            patience = self._patience
            if self._least_patience is not None:
                patience = max(patience, self._least_patience())
            at = max(at, self._unsent[-1] + self._closest + patience)
        return at

    def take(self, amount: float, now: float, *, waited: bool = False) -> None:
        late = LUMP if self._second is None else _STANDSTILL
        self._due = max(self._due, now - late if waited else now) + amount * self._spacing
        self._recent.add(amount, now)
        if self._second is not None:
            self._second.take(amount, now)
        else:
            self._unsent.append(now)

    def poised(self, now: float, taken: float) -> float:
        if self._second is not None:
            return now
        self._delays.append(now - taken)
        self._lead = min(max(self._delays) + _LATE, self._most_lead)
        return max(now, self._last_sent + self._closest)

    def sent(self, now: float, taken: float) -> None:
        if taken in self._unsent:
            self._unsent.remove(taken)
        self._last_sent = max(self._last_sent, now)

    def correct(self, change: float, now: float, taken: float) -> None:
        self._due += change * self._spacing
        self._recent.add(change, now)
        if self._second is not None:
            self._second.correct(change, now, taken)

    def give_back(self, amount: float, now: float, taken: float) -> None:
        if taken in self._unsent:
            self._unsent.remove(taken)
        self.correct(-amount, now, taken)

    def used(self, now: float) -> float:
        return self._recent.sum(now) / (self.limit * self._recent.window / self._window)

    def amount_used(self, now: float) -> float:
        return self._recent.sum(now)

    def eta(self, amount: float, now: float) -> float:
        return max(self.ready_at(1.0, now), now) + (amount - 1) * self._spacing

    def retune(self, limit: float, now: float) -> None:
        before = self._spacing
        self._set(limit)
        self._due = now + (self._due - now) * self._spacing / before if self._due > now else self._due

    def seed(self, amount: float, now: float) -> None:
        """Only the distance from the last of them counts: as if that had gone now."""
        self._due = max(self._due, now + self._spacing)
        self._last_sent = max(self._last_sent, now)
        self._recent.add(amount, now)

    def __repr__(self) -> str:
        return f"<Even {self.limit:g} in {self._window:g} s>"


class _Recent:
    """About how much there was in the last `window` seconds: a sum that glides over two windows, for figures only."""

    __slots__ = ("_before", "_current", "_index", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self._index = 0
        self._current = self._before = 0.0

    def add(self, amount: float, now: float) -> None:
        self._turn(now)
        self._current = max(self._current + amount, 0.0)

    def sum(self, now: float) -> float:
        self._turn(now)
        return self._current + self._before * (1 - now / self.window % 1)

    def _turn(self, now: float) -> None:
        index = int(now // self.window)
        if index != self._index:
            self._before = self._current if index == self._index + 1 else 0.0
            self._current = 0.0
            self._index = index
