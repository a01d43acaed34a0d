"""Learns a lane's limits from what answers say and from what is refused; only ever lowers what is configured.

One Learner belongs to one model group of one lane. Requests are searched for from the first call on, where nothing is
configured from a polite rate upwards; the other dimensions begin with the first header or refusal that names them, or
that can hardly be about calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from llmqd.config.limits import POLITE_RATE
from llmqd.lane.amounts import NO_TOKENS, Tokens
from llmqd.lane.history import MINUTE
from llmqd.lane.limiting import Reset
from llmqd.lane.search import Search
from llmqd.lane.suspects import Suspects

if TYPE_CHECKING:
    from llmqd.config.limits import Dimension as Setting
    from llmqd.providers.limit_values import Dimension, Observed
    from llmqd.providers.refusals import Verdict

_SETTINGS: Mapping[tuple[Dimension, float], Setting] = {
    ("requests", MINUTE): "requests_per_minute",
    ("requests", 24 * 60 * MINUTE): "requests_per_day",
    ("tokens", MINUTE): "tokens_per_minute",
    ("input_tokens", MINUTE): "input_tokens_per_minute",
    ("output_tokens", MINUTE): "output_tokens_per_minute",
    ("concurrency", 0.0): "max_concurrent",
}
_SEARCHED: tuple[Dimension, ...] = ("requests", "tokens", "input_tokens", "output_tokens")
_OLD = 10.0
"""Seconds after which what remained when an answer's call was sent says nothing any more about a window."""
_FEWER, _MORE_AFTER = 0.75, 30.0
"""Calls in flight: the share that is left after a refusal, and the seconds after which one more is tried."""
_MOST_WINDOWS = 32
"""Limits of long windows that are kept: whoever names them may name ever more."""
_ROUNDED = 3.0
"""Seconds by which the end of the same window may be told differently: whole seconds, on two clocks, and the way."""
_SAME_MOMENT = 0.05
"""Seconds by which it is not even later."""
_SLOWER = 0.8
"""Share of the rate that is left when a provider asks to slow down beyond the refusal itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A limit in use because it was learned: `amount` per `window` seconds (window 0: calls in flight).

    `source` says from what, `since` (monotonic) from when. `remaining` is what the provider said was left, less what
    has been sent since; None where it said nothing. Of a window longer than a minute it may have said that it comes
    back bit by bit (`refills`), or as a whole at `resets_at` (monotonic).
    """

    dimension: Dimension
    window: float
    amount: float
    source: str
    since: float
    remaining: float | None = None
    resets_at: float | None = None
    refills: bool = False

    @property
    def setting(self) -> Setting | None:
        """The name of the setting that it stands in for; None where there is none (a subscription's share)."""
        return _SETTINGS.get((self.dimension, self.window))

    @property
    def reset(self) -> Reset | None:
        """How it comes back; None where the provider did not say."""
        return Reset(self.resets_at) if self.refills or self.resets_at is not None else None

    @property
    def used(self) -> float | None:
        """What is gone of a window longer than a minute, as far as the provider said so."""
        return None if self.window <= MINUTE or self.remaining is None else self.amount - self.remaining


class Found(NamedTuple):
    """What a Learner has found: rates searched for (`Search.export`), calls in flight, limits of long windows."""

    searched: dict[Dimension, tuple[float, float, float, str]]
    in_flight: float
    windows: tuple[Learned, ...]


class Change(NamedTuple):
    """A limit in force has changed by what was learned; `before` is what was in force, 0 for none."""

    learned: Learned
    before: float


class Learner:
    """What is known of the limits of one model group of a lane. Pure: times are monotonic seconds, passed in.

    `configured` holds the amounts per minute that are set (`concurrency`: calls in flight); what is not in it, or 0, is
    unknown. Whoever grants calls `granted`; every grant ends in one of `answered`, `refused` or `unsent`, and is
    corrected by `settled` once its real tokens are known. Answers without any header that matters count too.
    """

    def __init__(self, configured: Mapping[Dimension, float] | None = None) -> None:
        known = {dimension: amount for dimension, amount in (configured or {}).items() if amount > 0}
        self._searches = {dimension: Search(*_beginning(known, dimension)) for dimension in _SEARCHED}
        self._requests, *in_tokens = self._searches.values()
        self._suspects = Suspects(self._searches)
        self._told = False
        """Headers name limits a minute: then they tell what was met, and nothing has to be guessed."""
        self._in_tokens = tuple(in_tokens)
        """In the order of `Tokens`."""
        self._most_in_flight = known.get("concurrency", float("inf"))
        self._in_flight = float("inf")
        self._in_flight_since = float("-inf")
        self._in_flight_tried = float("-inf")
        self._windows: dict[tuple[Dimension, float], Learned] = {}
        self._remaining: dict[Dimension, tuple[float, float]] = {}
        self._hold = float("-inf")
        self._capped_until = float("-inf")
        self._changes = 0

    @property
    def changes(self) -> int:
        """Goes up whenever `limits` names another amount than before, and sometimes when it does not."""
        both, taken_in, given_out = self._in_tokens
        return self._changes + self._requests.changes + both.changes + taken_in.changes + given_out.changes

    def retune(self, configured: Mapping[Dimension, float], now: float) -> None:
        """Other amounts are configured: what was learned stays, up to them."""
        known = {dimension: amount for dimension, amount in configured.items() if amount > 0}
        for dimension, search in self._searches.items():
            search.configure(*_beginning(known, dimension), now)
        self._most_in_flight = known.get("concurrency", float("inf"))
        self._changes += 1

    def granted(self, now: float, *, waited: bool, in_flight: int = 0, tokens: Tokens = NO_TOKENS) -> None:
        """A call goes now. `waited`: it would have gone sooner, had the limits allowed. `tokens`: its estimates."""
        self._requests.took(1.0, now, waited)
        for search, amount in zip(self._in_tokens, tokens, strict=True):
            if amount:
                search.took(amount, now, waited)
        if in_flight >= self._in_flight and waited and now - self._in_flight_tried >= _MORE_AFTER:
            self._in_flight += 1
            self._in_flight_tried = now
            self._changes += 1

    def settled(self, estimated: Tokens, counted: Tokens, sent_at: float) -> None:
        """The call that was granted at `sent_at` took so many tokens in the end."""
        for search, thought, real in zip(self._in_tokens, estimated, counted, strict=True):
            if thought != real:
                search.history.correct(real - thought, sent_at)

    def unsent(self, sent_at: float, tokens: Tokens = NO_TOKENS) -> None:
        """The call that was granted at `sent_at` never reached the provider."""
        self._requests.unsent(1.0, sent_at)
        for search, amount in zip(self._in_tokens, tokens, strict=True):
            if amount:
                search.unsent(amount, sent_at)

    def began(self, sent_at: float, now: float) -> None:
        """An answer that is no refusal has begun, to a call that was granted at `sent_at`."""
        self._requests.answered(now - sent_at)
        self._suspects.passed(sent_at)

    def answered(self, observed: Iterable[Observed], sent_at: float, now: float) -> None:
        """The headers of an answer, refusal or not, to a call that was granted at `sent_at`."""
        tightest: dict[Dimension, Observed] = {}
        for seen in observed:
            if seen.dimension not in self._searches or seen.window > MINUTE:
                self._count_window(seen, sent_at, now)
            elif seen.dimension not in tightest or _per_minute(seen) < _per_minute(tightest[seen.dimension]):
                tightest[seen.dimension] = seen
        for dimension, seen in tightest.items():
            search = self._searches[dimension]
            search.know(_per_minute(seen), f"header {seen.header}", now)
            self._told = True
            self._count_remaining(seen, search, sent_at, now)

    def refused(
        self,
        verdict: Verdict,
        sent_at: float,
        now: float,
        *,
        ends_at: float | None = None,
        in_flight: int = 0,
        tokens: Tokens = NO_TOKENS,
    ) -> tuple[Dimension, ...]:
        """The provider refused the call that was granted at `sent_at`; `in_flight` counts those still running,
        `ends_at` is when the window is thought to end that it met, where the provider says nothing. Gives the limits
        that it met, or may have met.

        Only `wait` and `slower` teach anything: other failures say nothing of rates.
        """
        if verdict.kind not in ("wait", "slower"):
            return () if verdict.dimension is None else (verdict.dimension,)
        if verdict.dimension == "concurrency":
            self._fewer(in_flight, now)
            self.unsent(sent_at, tokens)
            return (verdict.dimension,)
        source = "429 with Retry-After" if verdict.wait is not None else "429"
        hit = self._hit(verdict, sent_at, now)
        guessed = verdict.dimension is None and hit != ("requests",)
        for (dimension, search), amount in zip(self._searches.items(), (1.0, *tokens), strict=True):
            if dimension not in hit:
                if amount:
                    search.unsent(amount, sent_at)
                if guessed:
                    search.put_off(now)
                continue
            changed = search.refused(amount, sent_at, now, verdict.wait, source, ends_at, guessed=guessed)
            if changed and verdict.kind == "slower":
                search.slow_down(_SLOWER, now)
            if verdict.limit and verdict.window is not None and 0 < verdict.window <= MINUTE:
                search.know(verdict.limit * MINUTE / verdict.window, f"text of a 429: {verdict.limit:g}", now)
            self._capped_until = max(self._capped_until, search.capped_until)
        return hit

    def export(self) -> Found:
        """What was found, for another Learner to go on with."""
        searched = {
            dimension: found for dimension, one in self._searches.items() if (found := one.export()) is not None
        }
        return Found(searched, self._in_flight, tuple(self._windows.values()))

    def restore(self, found: Found, now: float) -> None:
        """Goes on with what another Learner has found."""
        for dimension, rate in found.searched.items():
            self._searches[dimension].restore(rate, now)
        if found.in_flight < self._in_flight:
            self._in_flight, self._in_flight_since, self._in_flight_tried = found.in_flight, now, now
        self._windows |= {(each.dimension, each.window): each for each in found.windows}
        self._changes += 1

    def limits(self, now: float) -> tuple[Learned, ...]:
        """The limits to use now, those that are lower than configured or that nobody has configured."""
        found = []
        for dimension, search in self._searches.items():
            if search.rate < search.configured and search.rate < float("inf"):
                found.append(
                    Learned(
                        dimension=dimension,
                        window=MINUTE,
                        amount=search.rate,
                        source=search.source,
                        since=search.since,
                        remaining=self._left(dimension, now),
                    )
                )
        if self._in_flight < self._most_in_flight:
            found.append(
                Learned(
                    dimension="concurrency",
                    window=0.0,
                    amount=self._in_flight,
                    source="refused with so many in flight",
                    since=self._in_flight_since,
                )
            )
        return (*found, *self._windows.values())

    def ready_at(self, now: float) -> float:
        """When the next call may go, as far as what was sent before and what the provider said remains allow.

        The limits themselves are kept by whoever uses `limits`.
        """
        at = self._hold if self._hold > now else now
        if now < self._capped_until:
            at = max(at, *[search.ready_at(now) for search in self._searches.values()])
        return at

    def _count_window(self, seen: Observed, sent_at: float, now: float) -> None:
        """A limit of a window longer than a minute, or of none that is searched for."""
        search, known = self._searches.get(seen.dimension), self._windows.pop((seen.dimension, seen.window), None)
        left = seen.remaining
        if left is not None and search is not None:
            left = max(left - search.sent_after(sent_at), 0.0)
        refills = seen.continuous and seen.resets_in is not None
        learned = Learned(
            dimension=seen.dimension,
            window=seen.window,
            amount=seen.limit,
            source=f"header {seen.header}",
            since=now,
            remaining=left,
            resets_at=None if refills else _ends_at(seen, known, now),
            refills=refills,
        )
        self._changes += known is None or (known.amount, known.reset) != (learned.amount, learned.reset)
        self._windows[seen.dimension, seen.window] = learned
        if len(self._windows) > _MOST_WINDOWS:
            del self._windows[next(iter(self._windows))]

    def _count_remaining(self, seen: Observed, search: Search, sent_at: float, now: float) -> None:
        """What remains is what the header says, less the calls that went after the one it answers, which the provider
        may not have counted yet, plus what has come back meanwhile."""
        if seen.remaining is None or (not seen.continuous and now - sent_at > _OLD):
            return
        pace = seen.limit / seen.window
        back = pace * (now - sent_at) if seen.continuous else 0.0
        left = min(seen.remaining + back, seen.limit) - search.sent_after(sent_at)
        self._remaining[seen.dimension] = (max(left, 0.0), now)
        least = 1.0 if seen.dimension == "requests" else 0.0
        if left >= least and left > 0:
            return
        wait = (least - left) / pace if seen.continuous else seen.resets_in or 0.0
        if seen.resets_in is not None:
            wait = min(wait, seen.resets_in)
        self._hold = max(self._hold, now + min(wait, MINUTE))

    def _left(self, dimension: Dimension, now: float) -> float | None:
        left = self._remaining.get(dimension)
        return None if left is None or now - left[1] > MINUTE else left[0]

    def _fewer(self, in_flight: int, now: float) -> None:
        if now - self._in_flight_tried < 1.0 and self._in_flight < float("inf"):
            return  # one of those that were in flight together
        self._in_flight = max(int(min(in_flight, self._in_flight) * _FEWER), 1)
        self._changes += 1
        self._in_flight_since = self._in_flight_tried = now

    def _hit(self, verdict: Verdict, sent_at: float, now: float) -> tuple[Dimension, ...]:
        """The limits that a refusal met: the one that it names, else the one of calls, unless that is cleared."""
        if verdict.dimension is not None:
            return (verdict.dimension,)
        return ("requests",) if self._told or verdict.limit else self._suspects.judge(sent_at, now)

    def __repr__(self) -> str:
        named = (f"{name} {search!r}" for name, search in self._searches.items() if search.rate < float("inf"))
        return f"<Learner {', '.join(named)}>"


def _per_minute(seen: Observed) -> float:
    return seen.limit * MINUTE / seen.window


def _ends_at(seen: Observed, known: Learned | None, now: float) -> float | None:
    """When a window ends that does so as a whole. Times in whole seconds do not make it another: of what differs by
    less than they can, the latest is kept."""
    before = None if known is None else known.resets_at
    if seen.resets_in is None or before is None:
        return before if seen.resets_in is None else now + seen.resets_in
    apart = (now + seen.resets_in - before + seen.window / 2) % seen.window - seen.window / 2
    return before if -_ROUNDED <= apart <= _SAME_MOMENT else before + apart


def _beginning(known: Mapping[Dimension, float], dimension: Dimension) -> tuple[float, float, str]:
    """Where a search begins, what it never passes, and where that comes from."""
    if dimension in known:
        return known[dimension], known[dimension], "configured"
    return POLITE_RATE if dimension == "requests" else float("inf"), float("inf"), "start"
