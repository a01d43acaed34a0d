"""Keeps count of what one limit has let through and says when more may go: buckets, places, several meters as one.

Pure: nothing here ticks or waits. Times are monotonic seconds and never go back from one call to the next. Amounts are
calls or tokens. Windows are in `llmqd.lane.windows`, even spacing is in `llmqd.lane.spacing`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

HEADROOM = 0.005
"""Share by which everything is kept slower than the limit: what the network's own jitter may move calls together."""

EPSILON = 1e-6
"""Slack in amounts, for the rounding of floating-point sums."""

_PATIENCE = 0.25
"""Seconds for which the news are waited for that the first call from a full bucket has really been sent."""

_LOOKED_AT = 0.005
"""Seconds after which it is asked again meanwhile."""

_MADE_UP_FOR = 2.0
"""Seconds of being held back by a window that a pace makes up for, beside those that two calls of the size take:
amounts do not come evenly."""


class Meter(ABC):
    """What one limit has let through. `limit` is the amount in each window."""

    limit: float

    @property
    @abstractmethod
    def capacity(self) -> float:
        """The largest amount that can ever go at once."""

    @abstractmethod
    def ready_at(self, amount: float, now: float) -> float:
        """The moment from which `amount` may go, maybe in the past; infinity where time alone will not do."""

    @abstractmethod
    def take(self, amount: float, now: float, *, waited: bool = False) -> None:
        """Counts what goes now. `waited` says that it was already waiting when its moment came."""

    @abstractmethod
    def correct(self, change: float, now: float, taken: float) -> None:
        """What was taken at `taken` turned out to be more by `change`, or, below 0, less."""

    @abstractmethod
    def used(self, now: float) -> float:
        """How much of the limit is used up, from 0 to 1; above 1 where more was used than reserved."""

    def amount_used(self, now: float) -> float:
        """The same as an amount: what another meter in place of this one would have to start with."""
        return self.used(now) * self.capacity

    @abstractmethod
    def eta(self, amount: float, now: float) -> float:
        """The moment by which `amount` will have gone in pieces, if nothing but this limit holds it back."""

    @abstractmethod
    def retune(self, limit: float, now: float) -> None:
        """Applies another limit from now on; what is used stays used."""

    def give_back(self, amount: float, now: float, taken: float) -> None:
        """Takes back what was counted at `taken` for a call that was never sent."""
        self.correct(-amount, now, taken)

    def poised(self, now: float, taken: float) -> float:
        """The call that was counted at `taken` could leave now; gives the moment from which it may."""
        return now

    def sent(self, now: float, taken: float) -> None:  # noqa: B027 - few meters need to know
        """The call that was counted at `taken` has really left for the provider at `now`."""

    def finish(self, amount: float, used: float, now: float) -> None:  # noqa: B027 - likewise
        """A call that was counted as `amount` has ended, having used `used`; 0 where the provider does not count it."""

    def seed(self, amount: float, now: float) -> None:
        """Counts what was used before this meter existed."""
        self.take(amount, now)

    def refused(self, now: float) -> None:  # noqa: B027 - likewise
        """The provider says that there is nothing left."""

    def adopt(self, amount: float) -> None:  # noqa: B027 - likewise
        """A call that was let through elsewhere, and is counted already, is going to `finish` here."""


class Bucket(Meter):
    """A bucket that refills continuously with `limit` in each `window` and holds `burst`, or else `seconds` of refill.

    Kept as the generic cell rate algorithm (ITU-T I.371) with amounts: one number, the moment at which it is full
    again. With `overdraft` anything may go while the bucket is not in debt: it then paces, but caps nothing.
    """

    def __init__(
        self,
        limit: float,
        window: float = 60.0,
        *,
        burst: float | None = None,
        seconds: float | None = None,
        overdraft: bool = False,
    ) -> None:
        self._window = window
        self._burst = burst
        self._seconds = window if seconds is None else seconds
        self._overdraft = overdraft
        self._full_at = float("-inf")
        self._begun: float | None = None
        """When the first amount was taken since it was full last, until that is known to be sent."""
        self._set(limit)

    def _set(self, limit: float) -> None:
        self.limit = limit
        self._rate = limit / self._window / (1 + HEADROOM)
        self._held = limit * self._seconds / self._window if self._burst is None else self._burst

    @property
    def capacity(self) -> float:
        return math.inf if self._overdraft else self._held

    def ready_at(self, amount: float, now: float) -> float:
        if amount > self.capacity + EPSILON:
            return math.inf
        at = self._full_at - (self._held - min(amount, self._held)) / self._rate
        if self._begun is not None and self._begun < now < self._begun + _PATIENCE and at > self._begun + EPSILON:
            at = max(at + now - self._begun, now + _LOOKED_AT)  # for all that is known it has not begun to refill
        return at

    def take(self, amount: float, now: float, *, waited: bool = False) -> None:
        if self._full_at <= now:
            self._begun = now
        self._full_at = max(self._full_at, now) + amount / self._rate

    def sent(self, now: float, taken: float) -> None:
        """A full bucket does not begin to refill before something is there: it refilled for nobody until then."""
        if self._begun is not None and taken >= self._begun:
            self._full_at += max(now - self._begun, 0.0)
            self._begun = None

    def refused(self, now: float) -> None:
        """What it was thought to hold is not there: it begins anew with nothing."""
        if not self._overdraft:
            self._full_at = max(self._full_at, now + self._held / self._rate)

    def seconds_for(self, amount: float) -> float:
        """The time in which so much is refilled."""
        return amount / self._rate

    def forgo(self, seconds: float, now: float) -> None:
        """Gives up so many seconds' worth of what it holds, as far as it is there; nothing below 0."""
        if seconds > 0:
            empty_at = now + self._held / self._rate
            self._full_at = max(self._full_at, min(max(self._full_at, now) + seconds, empty_at))

    def correct(self, change: float, now: float, taken: float) -> None:
        self._full_at = (max(self._full_at, now) if change > 0 else self._full_at) + change / self._rate

    def used(self, now: float) -> float:
        held = self._held or self.limit
        return max(self._full_at - now, 0.0) * self._rate / held

    def eta(self, amount: float, now: float) -> float:
        return max(now, max(self._full_at, now) + (amount - self._held) / self._rate)

    def retune(self, limit: float, now: float) -> None:
        taken = max(self._full_at - now, 0.0) * self._rate
        self._set(limit)
        self._full_at = now + taken / self._rate

    def __repr__(self) -> str:
        return f"<Bucket {self.limit:g} in {self._window:g} s, holds {self._held:g}>"


class Concurrency(Meter):
    """Places for calls that run at the same time; they come free when a call finishes, not by time."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.running = 0.0

    @property
    def capacity(self) -> float:
        return self.limit

    def ready_at(self, amount: float, now: float) -> float:
        return now if self.running + amount <= self.limit else math.inf

    def take(self, amount: float, now: float, *, waited: bool = False) -> None:
        self.running += amount

    def correct(self, change: float, now: float, taken: float) -> None:
        """Nothing: a place is a place, whatever the call turned out to use."""

    def finish(self, amount: float, used: float, now: float) -> None:
        self.running -= amount

    def adopt(self, amount: float) -> None:
        self.running += amount

    def used(self, now: float) -> float:
        return self.running / self.limit

    def eta(self, amount: float, now: float) -> float:
        return now  # how long the running calls will take is not known here

    def retune(self, limit: float, now: float) -> None:
        self.limit = limit

    def seed(self, amount: float, now: float) -> None:
        """Nothing: calls that began before this meter would never give their places back."""

    def __repr__(self) -> str:
        return f"<Concurrency {self.running:g} of {self.limit:g}>"


class Combined(Meter):
    """Several meters of one limit, all of which must agree; the first is the one that figures show."""

    def __init__(self, parts: Sequence[Meter]) -> None:
        self.parts = tuple(parts)
        self.limit = self.parts[0].limit

    @property
    def capacity(self) -> float:
        return min(part.capacity for part in self.parts)

    def ready_at(self, amount: float, now: float) -> float:
        return max(part.ready_at(amount, now) for part in self.parts)

    def take(self, amount: float, now: float, *, waited: bool = False) -> None:
        for part in self.parts:
            part.take(amount, now, waited=waited)

    def correct(self, change: float, now: float, taken: float) -> None:
        for part in self.parts:
            part.correct(change, now, taken)

    def give_back(self, amount: float, now: float, taken: float) -> None:
        for part in self.parts:
            part.give_back(amount, now, taken)

    def sent(self, now: float, taken: float) -> None:
        for part in self.parts:
            part.sent(now, taken)

    def poised(self, now: float, taken: float) -> float:
        return max(part.poised(now, taken) for part in self.parts)

    def finish(self, amount: float, used: float, now: float) -> None:
        for part in self.parts:
            part.finish(amount, used, now)

    def seed(self, amount: float, now: float) -> None:
        for part in self.parts:
            part.seed(amount, now)

    def used(self, now: float) -> float:
        return self.parts[0].used(now)

    def amount_used(self, now: float) -> float:
        return self.parts[0].amount_used(now)

    def eta(self, amount: float, now: float) -> float:
        return max(part.eta(amount, now) for part in self.parts)

    def retune(self, limit: float, now: float) -> None:
        self.limit = limit
        for part in self.parts:
            part.retune(limit, now)

    def __repr__(self) -> str:
        return f"<Combined {' '.join(map(repr, self.parts))}>"


class Paced(Combined):
    """Windows that cap an amount, and at the end a bucket that paces it, so that a window is not used up at once.

    While a window holds calls back for long, the pace saves nothing up. Otherwise what went in a heap at the beginning
    would go in a heap in each window after, with a gap before it.
    """

    def __init__(self, windows: Sequence[Meter], pace: Bucket) -> None:
        super().__init__([*windows, pace])
        self._windows = tuple(windows)
        self._pace = pace
        self._held_since: float | None = None

    def ready_at(self, amount: float, now: float) -> float:
        at = max(window.ready_at(amount, now) for window in self._windows)
        if at > now and self._held_since is None:
            self._held_since = now
        return max(at, self._pace.ready_at(amount, now))

    def take(self, amount: float, now: float, *, waited: bool = False) -> None:
        if self._held_since is not None:
            if waited:
                made_up_for = _MADE_UP_FOR + 2 * self._pace.seconds_for(amount)
                self._pace.forgo(now - self._held_since - made_up_for, now)
            self._held_since = None
        super().take(amount, now, waited=waited)


class Landed(Meter):
    """Counts calls when they end, with what they used: as providers do that count what comes out.

    It reserves nothing, so it belongs beside a meter that does. That one keeps calls from being let through in heaps
    before anything has ended; this one knows what the provider has counted so far, however long each call took.
    """

    def __init__(self, counted: Meter) -> None:
        self._counted = counted
        self.limit = counted.limit

    @property
    def capacity(self) -> float:
        return math.inf

    def ready_at(self, amount: float, now: float) -> float:
        return self._counted.ready_at(min(1.0, self._counted.capacity), now)

    def take(self, amount: float, now: float, *, waited: bool = False) -> None:
        """Nothing: a call counts once it has ended."""

    def correct(self, change: float, now: float, taken: float) -> None:
        """Nothing: what counts is told in the end."""

    def finish(self, amount: float, used: float, now: float) -> None:
        if used > 0:
            self._counted.take(used, now)

    def used(self, now: float) -> float:
        return self._counted.used(now)

    def eta(self, amount: float, now: float) -> float:
        return now

    def retune(self, limit: float, now: float) -> None:
        self.limit = limit
        self._counted.retune(limit, now)

    def seed(self, amount: float, now: float) -> None:
        self._counted.seed(amount, now)

    def __repr__(self) -> str:
        return f"<Landed {self._counted!r}>"
