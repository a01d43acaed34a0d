"""Finds how much a minute a limit allows, from what was let through and what was refused.

Providers enforce the same figure differently (an even rate, a bucket with a minute's burst, a fixed or a sliding
minute), and only refusals show where it lies. Each refusal is read in every way at once, and the reading that fits is
believed:

- an even rate: the limit lies between the last rate that passed and the one that was refused;
- a minute's window: a wait of W seconds says that the calls of the last 60 - W seconds are the limit itself;
- a bucket of a minute's burst: the most crowded stretch of w seconds holds limit * (1 + w / 60), and between two
  refusals, when it was empty both times, exactly what refilled was let through.

Then the rate climbs back towards the ceiling that was found, ever more slowly, and tries beyond it ever more rarely.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from itertools import islice

MINUTE = 60.0

_SLOT = 0.25
_KEPT = 180.0
"""History is kept in slots of a quarter second for three minutes: 720 numbers at most."""

_RECENT = 2048
"""Single calls that are remembered, to tell those that a provider had not seen yet when it counted what remains."""

_STEP_SECONDS, _STEP_CALLS = 2.0, 4
"""A rate has passed when it was used up for so long and by so many calls without a refusal."""
_SATURATED = 0.8
"""A step counts only if so much of the rate was used by calls that had to wait: an idle lane learns nothing."""
_GROWTH = 1.07
"""Growth a step while no ceiling is known: doubles in about twenty seconds."""
_APPROACH, _MOST_APPROACH = 0.25, 1.06
"""Share of the way to the ceiling that a step goes, and the most by which it grows."""
_BELOW_CEILING = 0.985
_CUT = 0.87
_SAFE = 0.98
_LEAST = 0.1
"""A rate is never taken below this, so that a search can always come back."""
_FEW = 4
"""A minute that held no more than so many times the refused call is no reading."""
_SOON = 15.0
"""Seconds after coming back within which another refusal means that the cut was not deep enough."""
_REST = 35.0
"""Seconds without growth after such a second cut."""
_STRETCH = 20.0
"""Seconds between two refusals from which what went through in between says how much is let through."""
_AGREE = 1.25
"""Two readings that differ by less than this factor agree."""
_NEAR = 0.92
"""A long stretch since the last cut says less than the last minute, but never more than this much less."""
_TOWARDS = 0.4
"""How far from what was let through towards what was refused the next ceiling lies."""
_PATIENCE, _LEAST_PATIENCE, _MOST_PATIENCE = 60.0, 30.0, 960.0
"""Seconds at the ceiling before trying beyond it; doubled by each refusal there, halved by each success."""
_RAISE, _MOST_RAISE = 0.02, 0.5
_LONG_WAIT, _LONG_GAPS = 3.0, 3.0
"""A wait of so many seconds, and of so many gaps between calls, is the end of a window: a rate would have said less."""


class History:
    """What was let through in the last three minutes, by the quarter second."""

    def __init__(self) -> None:
        self._slots: deque[list[float]] = deque()  # start, amount, calls

    def add(self, amount: float, now: float) -> None:
        """Counts a call that was let through now."""
        start = now // _SLOT * _SLOT
        if not self._slots or self._slots[-1][0] < start:
            self._slots.append([start, 0.0, 0.0])
            while self._slots[0][0] < now - _KEPT:
                self._slots.popleft()
        self._slots[-1][1] += amount
        self._slots[-1][2] += 1

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

    def calls_since(self, moment: float) -> int:
        """The number of calls that were let through after `moment`."""
        return int(sum(calls for start, _, calls in reversed(self._slots) if start >= moment))

    def bucket(self, now: float) -> float:
        """The least limit a minute with which a bucket of that burst would have let all of this through."""
        total = best = 0.0
        for start, amount, _ in reversed(self._slots):
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


class Search:
    """The search for one limit: `rate` is what to use, in amounts a minute.

    `start` is the rate to begin with, infinite to begin only with the first refusal; `most` is never passed. Pure: the
    clock is passed in. `source` says where the rate comes from.
    """

    def __init__(self, start: float, most: float = float("inf"), source: str = "start") -> None:
        self.history = History()
        self.rate = min(start, most)
        self.configured = most
        self.most = most
        self.source = source
        self.since = float("-inf")
        self.refusals = 0
        self._ceiling = float("inf")
        self._proven = 0.0
        self._rungs: deque[tuple[float, float]] = deque([(float("-inf"), self.rate)], maxlen=16)
        self._step_at = float("-inf")
        self._step_calls = self._step_waited = 0
        self._step_amount = 0.0
        self._idle_at = float("-inf")
        self._cut_at = self._back_at = self._rest_until = float("-inf")
        self._tried_at = float("-inf")
        self._patience = _PATIENCE
        self._tries = 0
        self._grown = False
        self._through, self._through_at, self._calls = 0.0, float("-inf"), 0
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        self._cap = float("inf")
        self._cap_until = float("-inf")

    def took(self, amount: float, now: float, waited: bool) -> None:
        """A call was let through; `waited` says that it would have gone earlier, had the limits allowed."""
        self.history.add(amount, now)
        self._recent.append((now, amount))
        self._through += amount
        self._calls += 1
        if self._step_calls == 0 and self._step_at == float("-inf"):
            self._step_at = now
        self._step_calls += 1
        self._step_waited += waited
        self._step_amount += amount
        elapsed = now - self._step_at
        if elapsed < _STEP_SECONDS or self._step_calls < _STEP_CALLS:
            return
        used = self._step_waited >= _SATURATED * self._step_calls
        if used and self._step_amount >= _SATURATED * self.rate * elapsed / MINUTE:
            self._passed(now)
        else:
            self._idle_at = self._tried_at = now
        self._begin_step(now)

    def know(self, limit: float, source: str, now: float) -> None:
        """The provider itself named the limit: it is used at once, up to what is configured."""
        most = min(limit, self.configured)
        if most == self.most and self.source != "start":
            return
        self.most = most
        self._ceiling = float("inf")
        self._proven = min(self._proven, most)
        self._set(most, source, now)

    def refused(self, amount: float, sent_at: float, now: float, wait: float | None, source: str) -> bool:
        """A call that was sent at `sent_at` was refused; `wait` is what the provider asked for.

        True when that changed the rate: refusals of calls that were on their way together are one.
        """
        self.unsent(amount, sent_at)
        if sent_at < self._cut_at:
            return False
        if self.refusals and not self._calls:
            return False  # a probe: says when, not how much
        self.refusals += 1
        bad = self._rate_at(sent_at)
        between = None
        if self._calls > _STEP_CALLS and sent_at > self._through_at > float("-inf"):
            between = (self._through - self.sent_after(sent_at)) * MINUTE / (sent_at - self._through_at)
        asked = wait if wait is not None and wait < MINUTE else 0.0
        window = self.history.since(now - (MINUTE - asked))
        if bad == float("inf"):
            self._begin(amount, window)
        elif self._ends_a_window(asked, now):
            self._learn_window(min(window, bad), now)
        elif now - self._back_at < _SOON and self.refusals > 1 and not self._grown:
            self._cut_again(bad, between, window, now)
        else:
            self._cut_back(bad, between, window, now)
        self._set(self.rate, source, now)
        self._cut_at, self._back_at = now, now + (wait or 0.0)
        self._tried_at = self._back_at
        self._patience = min(self._patience * 2, _MOST_PATIENCE) if self.refusals > 1 else self._patience
        self._tries = 0
        self._grown = False
        self._through, self._through_at, self._calls = self.sent_after(sent_at), sent_at, 0
        return True

    def slow_down(self, share: float, now: float) -> None:
        """The provider asks for less than it would let through: the rate becomes this share of what it is."""
        if self.rate < float("inf"):
            self._set(max(self.rate * share, _LEAST), self.source, now)

    def sent_after(self, moment: float) -> float:
        """The amount that was let through after the call that went at `moment`, which is not long ago."""
        first = bisect_right(self._recent, moment, key=lambda sent: sent[0])
        return sum(amount for _, amount in islice(self._recent, first, None))

    def unsent(self, amount: float, at: float) -> None:
        """A call that was let through at `at` never went."""
        self.history.remove(amount, at)
        if at > self._through_at:
            self._through -= amount
        if at >= self._cut_at:
            self._calls -= 1

    def ready_at(self, now: float) -> float:
        """When the next call may go as far as the last minute is concerned: what went too fast before must have left
        a window of a minute first."""
        if now >= self._cap_until:
            return now
        return min(self.history.room_at(self._cap, now), self._cap_until)

    def _passed(self, now: float) -> None:
        """The present rate was used in full for a step and nobody was refused."""
        self._proven = max(self._proven, self.rate)
        if now < self._rest_until or self.rate >= self.most:
            return
        if self._ceiling == float("inf"):
            self._grow(self.rate * _GROWTH, now)
            return
        aim = self._ceiling * _BELOW_CEILING
        if now < self._cap_until:
            aim = min(aim, self._cap)
        if self.rate >= aim * 0.995:
            if now - self._tried_at >= self._patience:
                self._try_more(now)
            return
        higher = min(self.rate + (aim - self.rate) * _APPROACH, self.rate * _MOST_APPROACH)
        self._grow(max(higher, min(aim, self.rate * 1.005)), now)

    def _try_more(self, now: float) -> None:
        """The ceiling may have been raised: a little more, and the sooner and the further the oftener it works."""
        if self._tries:
            self._patience = max(self._patience / 2, _LEAST_PATIENCE)
        self._ceiling *= 1 + min(_RAISE * 2**self._tries, _MOST_RAISE)
        self._tries += 1
        self._tried_at = now

    def _ends_a_window(self, wait: float, now: float) -> bool:
        gap = MINUTE / max(self.history.calls_since(now - MINUTE), 1)
        return wait >= _LONG_WAIT and wait > _LONG_GAPS * gap

    def _begin(self, amount: float, window: float) -> None:
        """Nothing was known so far. The last minute is the first guess, unless it held too little to be one: then
        others have used this key up, and the pause that follows is all that can be done."""
        if window > _FEW * amount:
            self.rate = _SAFE * window
            self._ceiling = 1.1 * window

    def _learn_window(self, limit: float, now: float) -> None:
        self.rate = max(limit * 0.97, _LEAST)
        self._ceiling = max(limit, _LEAST)
        self._proven = min(self._proven, self.rate)
        self._guard(limit, now)

    def _cut_back(self, bad: float, between: float | None, window: float, now: float) -> None:
        """A first refusal: a little less will do, unless what was let through since the last cut says otherwise."""
        full = self.refusals > 1 and now - self._cut_at > _STRETCH and self._idle_at < max(self._cut_at, now - MINUTE)
        if full and between is not None:
            through = min(max(between, _NEAR * window), window, bad)
            self.rate = max(_SAFE * through, _LEAST)
            self._ceiling = through + (bad - through) * _TOWARDS
        else:
            passed = max(self._proven if self._proven < bad else bad, _CUT * bad)
            # A minute that held much less was still filling up, or was not asked for: it says nothing. Nor does a rate
            # that passed for two seconds say much where whole seconds are counted.
            self.rate = max(_SAFE * (min(passed, window) if window >= _CUT * bad else _CUT * bad), _LEAST)
            self._ceiling = bad
        self._proven = min(self._proven, bad)
        self._rest_until = now + _STEP_SECONDS

    def _cut_again(self, bad: float, between: float | None, window: float, now: float) -> None:
        """Refused at a rate that had passed before: a burst had hidden the limit, or the provider has lowered it."""
        bucket = self.history.bucket(now)
        if between is not None and bucket / _AGREE < between < bucket * _AGREE:
            self.rate = min(_SAFE * min(between, bucket), _CUT * bad)
            self._ceiling = 1.05 * max(between, bucket)
            self._guard(window, now)
        elif window > bad / 4:
            self.rate = min(bad / 2, _SAFE * window)
            self._ceiling = min(bad, 1.01 * window)
            self._guard(window, now)
        else:
            self.rate = bad / 2  # too little was let through to have filled a window
            self._ceiling = bad
        self.rate = max(self.rate, _LEAST)
        self._ceiling = max(self._ceiling, self.rate * 1.02)
        self._patience = _LEAST_PATIENCE / 2
        self._proven = 0.0
        self._rest_until = now + _REST

    def _guard(self, cap: float, now: float) -> None:
        self._cap, self._cap_until = max(cap * _SAFE, 1.0), now + MINUTE + _LONG_WAIT

    def _begin_step(self, now: float) -> None:
        self._step_at = now
        self._step_calls = self._step_waited = 0
        self._step_amount = 0.0

    def _grow(self, rate: float, now: float) -> None:
        self._grown = True
        self._set(rate, self.source, now)

    def _set(self, rate: float, source: str, now: float) -> None:
        if source != self.source or rate < self.rate:
            self.since = now
        self.rate = min(rate, self.most)
        self.source = source
        self._rungs.append((now, self.rate))
        self._begin_step(now)

    def _rate_at(self, moment: float) -> float:
        return next((rate for at, rate in reversed(self._rungs) if at <= moment), self._rungs[0][1])

    def __repr__(self) -> str:
        return f"<Search {self.rate:.1f}/min below {min(self._ceiling, self.most):.1f}, {self.refusals} refusals>"
