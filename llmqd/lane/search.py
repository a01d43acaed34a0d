"""Finds how much a minute a limit allows, from what was let through and what was refused.

A rate that is used in full grows until calls are refused. What that says is `llmqd.lane.walls`'s to judge; then the
rate climbs back towards the ceiling that was found, ever more slowly, and tries beyond it ever more rarely.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from itertools import islice

from llmqd.lane.history import KEPT, MINUTE, History
from llmqd.lane.walls import BELOW_CEILING, Finding, Wall, full_minute, judge, stumble

_RECENT = 2048
"""Single calls that are remembered, to tell those that a provider had not seen yet when it counted what remains."""

_STEP_SECONDS, _STEP_CALLS = 2.0, 4
"""A rate has passed when it was used up for so long and by so many calls without a refusal."""
_WAITED, _SATURATED = 0.7, 0.8
"""A step counts only if so many of its calls had to wait, and used so much of the rate: an idle lane learns nothing."""
_GAP = 5.0
"""Seconds without any call after which one that did not have to wait begins a new stretch of work."""
_GROWTH = 1.09
"""Growth a step while no ceiling is known: doubles in about twenty seconds."""
_APPROACH, _MOST_APPROACH = 0.3, 1.09
"""Share of the way to the ceiling that a step goes, and the most by which it grows."""
_LEAST = 0.1
"""A rate is never taken below this, so that a search can always come back."""
_SOON = 15.0
"""Seconds after coming back within which another wall means that the cut was not deep enough."""
_STRETCH = 6.0
"""Seconds between two walls from which what went through in between says how much is let through."""
_REACHED = 0.99
"""Share of a cap at which it counts as reached: amounts do not come evenly."""
_PATIENCE, _MOST_PATIENCE, _NEXT_TRY = 120.0, 240.0, 30.0
"""Seconds at the ceiling before trying beyond it; doubled by each wall there. After a success the next try is soon."""
_DEAR = 25.0
"""Seconds that a try waits longer for each that a refusal takes to come: as long as that all calls go in vain."""
_RAISE, _RAISES = 0.02, 3
"""First step beyond the ceiling, doubled by each success; after so many of them there is no ceiling any more."""
_ON_THE_WAY, _CAREFUL_GROWTH = 2.5, 1.02
"""With more calls than this on their way to a refusal that nobody expects, growth is this: doubles in seventy
seconds."""
_REFUSED_WITHIN = 0.3
"""Seconds within which a refusal is expected, however long answers take."""
_PUT_OFF = 5.0
"""Seconds without growth after another limit was met."""
_SAME_AS_BEFORE = 0.1
"""Weight of the latest answer in the time that answers are thought to take."""
_ROUNDED = 0.5
"""Seconds by which a wait in whole seconds is too long on average."""
_LONG_WAIT, _LONG_GAPS = 3.0, 3.0
"""A wait of so many seconds, and of so many gaps between calls, is the end of a window: a rate would have said less."""
_AS_STATED, _SURE_AFTER, _SURE_BY = 0.98, 10.0, 20
"""A stated limit is taken to be right when so much of it was used for so many seconds and by so many calls: then a
refusal is a stumble."""
_MOST_STUMBLES, _STUMBLING = 4, 120.0
"""So many stumbles in so many seconds, and the next refusal is none."""
_NOT_LEARNED = ("start", "configured")
"""Sources of a rate that came from nobody's answer."""


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
        self.changes = 0
        """How often `rate` or `source` was set."""
        self._ceiling = float("inf")
        self._proven = 0.0
        self._rungs: deque[tuple[float, float]] = deque([(float("-inf"), self.rate)], maxlen=16)
        self._step_at = float("-inf")
        self._step_calls = self._step_waited = 0
        self._step_amount = 0.0
        self._busy_since = self._idle_at = float("-inf")
        self._named, self._named_at = float("inf"), float("-inf")
        self._belied = False
        self._met: Wall | None = None
        self._earlier: Wall | None = None
        self._cut_at = self._back_at = self._rest_until = float("-inf")
        self._tried_at = float("-inf")
        self._patience = _PATIENCE
        self._tries = 0
        self._held = 0.0
        self._grown = False
        self._calls = 0
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        self._cap = float("inf")
        self.capped_until = float("-inf")
        """Until when `ready_at` may be later than now."""
        self._sure = self._trial = False
        self._stumbles: deque[float] = deque(maxlen=_MOST_STUMBLES)
        self._answer_takes = 0.0

    def took(self, amount: float, now: float, waited: bool) -> None:
        """A call was let through; `waited` says that it would have gone earlier, had the limits allowed."""
        if not self._recent:
            self._busy_since = self._step_at = now
        elif not waited and now - self._recent[-1][0] > _GAP:
            self._busy_since = now
        if not self._calls:
            self._back_at = now
        self.history.add(amount, now)
        self._recent.append((now, amount))
        self._calls += 1
        if self.rate == math.inf:
            return  # without a rate there is nothing to grow
        self._step_calls += 1
        self._step_waited += waited
        self._step_amount += amount
        if self._trial and now < self.capped_until and self.history.since(now - MINUTE) >= self._cap * _REACHED:
            self._trial, self.capped_until = False, now
        elapsed = now - self._step_at
        if elapsed < _STEP_SECONDS or self._step_calls < _STEP_CALLS:
            return
        if self._step_waited < _WAITED * self._step_calls:
            self._idle_at = self._tried_at = now
        elif self._step_amount >= _SATURATED * self.rate * elapsed / MINUTE:
            self._passed(now)
        self._begin_step(now)

    def answered(self, took: float) -> None:
        """An answer that is no refusal has begun, so many seconds after its call was let through."""
        self._answer_takes += (took - self._answer_takes) * (_SAME_AS_BEFORE if self._answer_takes else 1.0)

    def configure(self, start: float, most: float, source: str, now: float) -> None:
        """Another limit is configured, as in the constructor: what was learned stays, up to it."""
        if most == self.configured:
            return
        learned = self.source not in _NOT_LEARNED
        self.configured = most
        self.most = min(most, self._named)
        if learned:
            self._set(min(self.rate, self.most), self.source, now)
        else:
            self._set(min(start, self.most), source, now)

    def know(self, limit: float, source: str, now: float) -> None:
        """The provider itself named the limit: it is used at once, up to what is configured.

        Of several that are named in turns (for other models, by several headers) the lowest holds. Once calls were
        refused below what was named it is only the most: then it does not say what counts.
        """
        if limit > self._named and now - self._named_at < MINUTE:
            return
        self._named, self._named_at = limit, now
        most = min(limit, self.configured)
        if most == self.most and self.source != "start":
            return
        if most > self.most:
            self._ceiling = float("inf")
        self.most = most
        self._set(min(self.rate, most) if self._belied else most, source, now)

    def refused(
        self,
        amount: float,
        sent_at: float,
        now: float,
        wait: float | None,
        source: str,
        ends_at: float | None = None,
        *,
        guessed: bool = False,
    ) -> bool:
        """A call that was sent at `sent_at` was refused; `wait` is what the provider asked for, `ends_at` when its
        window is thought to end where it said nothing. `guessed`: nobody said that it was this limit.

        True when that changed the rate: refusals of calls that were on their way together are one.
        """
        self.unsent(amount, sent_at)
        if sent_at < self._cut_at:
            return self._read_again(sent_at, source, now)
        if self._met is not None and not self._calls:
            return ends_at is not None and self._end_guessed(self._met, ends_at, source, now)
        if self._met is not None and not self._met.soon:
            self._earlier = self._met
        self._met = wall = self._read(amount, sent_at, wait or 0.0)._replace(guessed=guessed)
        self.refusals += 1
        stumbled = self._stumbled(wall, now)
        self._belied = self._belied or (self._named < float("inf") and not stumbled)
        if self._tries:
            self._patience = min(self._patience * 2, _MOST_PATIENCE)
        self._cut(stumble(wall) if stumbled else judge(wall, self._earlier), source, now)
        self._proven, self._tries, self._held, self._calls, self._grown = 0.0, 0, 0.0, 0, False
        self._cut_at = now
        self._rest_until += wall.wait + now - sent_at
        self._tried_at = now + wall.wait + _DEAR * (now - sent_at)
        return True

    def export(self) -> tuple[float, float, float, str] | None:
        """What it has found, for another search to go on with; None where that is nothing."""
        if self.source == "configured" or self.rate == float("inf"):
            return None
        return self.rate, self._ceiling, self._named, self.source

    def restore(self, found: tuple[float, float, float, str], now: float) -> None:
        """Goes on with what another search has found."""
        rate, ceiling, named, source = found
        if named < float("inf"):
            self.know(named, source, now)
        self._ceiling = ceiling
        self._set(rate, source, now)

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
        if at >= self._cut_at:
            self._calls = max(self._calls - 1, 0)

    @property
    def trying(self) -> bool:
        """Whether the rate grows beyond what is known to be let through."""
        return self.rate < self.most and (self._tries > 0 or self._ceiling == float("inf"))

    def put_off(self, now: float) -> None:
        """Another limit was met: what is tried here waits until that is over."""
        self._tried_at = max(self._tried_at, now)
        self._rest_until = max(self._rest_until, now + _PUT_OFF)

    def ready_at(self, now: float) -> float:
        """When the next call may go as far as the last minute is concerned: what went too fast before must have left
        a window of a minute first."""
        if now >= self.capped_until:
            return now
        return min(self.history.room_at(self._cap, now), self.capped_until)

    def _read(self, amount: float, sent_at: float, wait: float) -> Wall:
        soon = self._met is not None and not self._grown and sent_at - self._back_at < _SOON
        return Wall(
            sent_at,
            amount,
            wait,
            rate=next((rate for at, rate in reversed(self._rungs) if at <= sent_at), self._rungs[0][1]),
            proven=self._proven,
            minute=self.history.between(sent_at - MINUTE, sent_at),
            bucket=self.history.bucket(sent_at),
            through=self._through(sent_at),
            window=self._window(sent_at, wait),
            held=self._held,
            soon=self._met.soon + 1 if soon and self._met is not None else 0,
            sure=self._sure,
            quiet=self._idle_at > sent_at - MINUTE,
            young=sent_at - self._busy_since < MINUTE,
        )

    def _stumbled(self, wall: Wall, now: float) -> bool:
        """Whether a call merely came too close to the one before: the limit is stated, many calls have gone at this
        very rate, and no more than a moment is asked for. Too many of them are no accident."""
        stumbled = (
            wall.rate >= _AS_STATED * self.most
            and self._proven >= _AS_STATED * self.most
            and wall.sent_at - max(self._back_at, self._busy_since) >= _SURE_AFTER
            and self._calls >= _SURE_BY
            and wall.wait <= _LONG_WAIT
            and not wall.quiet
            and (len(self._stumbles) < _MOST_STUMBLES or now - self._stumbles[0] >= _STUMBLING)
        )
        if stumbled:
            self._stumbles.append(now)
        return stumbled

    def _read_again(self, sent_at: float, source: str, now: float) -> bool:
        """A call that had gone before the one that made the wall was refused as well: the wall was there already."""
        wall = self._met
        if wall is None or sent_at >= wall.sent_at or self._grown:
            return False
        anew = self._read(wall.amount, sent_at, wall.wait)
        self._met = anew._replace(
            proven=wall.proven, held=wall.held, soon=wall.soon, sure=wall.sure, guessed=wall.guessed
        )
        self._cut(judge(self._met, self._earlier), source, now)
        return True

    def _window(self, sent_at: float, wait: float) -> float | None:
        """What the window held to whose end a long wait goes."""
        gaps = wait * self.history.calls_since(sent_at - MINUTE) / MINUTE
        if not _LONG_WAIT <= wait <= MINUTE or gaps <= _LONG_GAPS:
            return None
        return self.history.between(sent_at + wait - MINUTE - _ROUNDED, sent_at)

    def _through(self, sent_at: float) -> float:
        if self._earlier is None or self._earlier.window is not None:
            return float("inf")
        seconds = sent_at - self._earlier.sent_at
        if not _STRETCH <= seconds < KEPT:
            return float("inf")
        return self.history.between(self._earlier.sent_at, sent_at) * MINUTE / seconds

    def _end_guessed(self, wall: Wall, ends_at: float, source: str, now: float) -> bool:
        """A probe was refused as well and nobody says for how long: a window of a minute is full. Whether it slides
        along or ends at `ends_at`, nobody knows: the lower is tried, if there has been more than a minute."""
        limit = wall.minute
        if not wall.young:
            limit = max(self.history.between(ends_at - MINUTE, wall.sent_at), wall.bucket)
        if limit >= self.rate or wall.rate == float("inf") or wall.quiet:
            return False
        self._met = wall._replace(window=limit)
        self._cut(full_minute(limit)._replace(cap=BELOW_CEILING * wall.minute), source, now)
        return True

    def _cut(self, found: Finding, source: str, now: float) -> None:
        rate = max(found.rate, _LEAST)
        self._ceiling = max(found.ceiling, rate)
        self._sure, self._trial = found.sure, found.trial
        if found.cap < float("inf"):
            self._cap, self.capped_until = max(found.cap, 1.0), now + MINUTE + _LONG_WAIT
        self._set(rate, source, now)
        self._rest_until = now + found.rest

    def _passed(self, now: float) -> None:
        """The present rate was used in full for a step and nobody was refused."""
        self._proven = max(self._proven, self.rate)
        if now < self._rest_until or self.rate >= self.most:
            return
        if self._ceiling == float("inf"):
            self._grow(self.rate * (_GROWTH if self._on_the_way(now) <= _ON_THE_WAY else _CAREFUL_GROWTH), now)
            return
        aim = self._ceiling * BELOW_CEILING
        if now < self.capped_until and self._cap < aim:
            aim = self._cap
            if self.rate >= aim:
                return
        if self.rate >= aim * 0.995:
            if now - self._tried_at >= (_NEXT_TRY if self._tries else self._patience):
                self._try_more(now)
            return
        higher = min(self.rate + (aim - self.rate) * _APPROACH, self.rate * _MOST_APPROACH)
        self._grow(max(higher, min(aim, self.rate * 1.005)), now)

    def _on_the_way(self, now: float) -> float:
        """How many calls are on their way at a time, as fast as they go now."""
        pace = self._step_calls / (now - self._step_at)
        return pace * min(self._answer_takes, _REFUSED_WITHIN)

    def _try_more(self, now: float) -> None:
        """The ceiling may have been raised: a little more, and the sooner and the further the oftener it works."""
        if not self._tries:
            self._held = self._ceiling
        self._ceiling = self._ceiling * (1 + _RAISE * 2**self._tries) if self._tries < _RAISES else float("inf")
        if self._ceiling == float("inf"):
            self._patience = _PATIENCE
        self._tries += 1
        self._tried_at = now

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
        self.changes += 1
        self._rungs.append((now, self.rate))
        self._begin_step(now)

    def __repr__(self) -> str:
        return f"<Search {self.rate:.1f}/min below {min(self._ceiling, self.most):.1f}, {self.refusals} refusals>"
