"""What has been spent and set aside of one budget for one key, user, agent, session, or all calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from llmqd.budgets.periods import Window, window

if TYPE_CHECKING:
    from llmqd.config.budgets import Budget, Unit

_CLOCK_STEP = 120.0
"""Seconds by which a call may seem to come before the period in force; by more, the clock was set back."""


class Meter:
    """What one key, user, agent, session, or all calls, have spent of one budget in its present period.

    `likely` and `most` are what is set aside for calls that have not ended. `mine` is what has been spent by calls that
    ended here. What other daemons do comes in by `extra`, what they have spent beyond `spent`, `aside`, what they have
    set aside, and `before`, what was spent by whoever is there no more (None: not told). `bound` is what may be spent
    in all while they cannot be asked.
    """

    __slots__ = (
        "aside", "before", "bound", "budget", "extra", "likely", "low_told", "mine", "most", "spent", "spent_told",
        "value", "window",
    )  # fmt: skip

    def __init__(self, budget: Budget, value: str, when: Window) -> None:
        self.budget = budget
        self.value = value
        self._begin(when)

    def _begin(self, when: Window) -> None:
        self.window = when
        self.spent = self.likely = self.most = self.mine = self.extra = self.aside = 0
        self.before: int | None = None
        self.bound: int | None = None
        self.low_told = self.spent_told = False

    def turn(self, at: float) -> bool:
        """Begins the period in which `at` lies; True where the clock was set back, so that its past is not known."""
        start, end = self.window
        if start - _CLOCK_STEP <= at < end:
            return False
        self._begin(window(self.budget.limit.period, self.budget.zone, at))
        return at < start

    def renew(self, budget: Budget) -> None:
        """Goes on under other terms."""
        self.budget = budget
        self.low_told = self.spent_told = False

    @property
    def title(self) -> str:
        """The name of its budget."""
        return self.budget.title

    @property
    def by(self) -> str:
        """What its budget tells apart."""
        return self.budget.by

    @property
    def unit(self) -> Unit:
        """In which it counts."""
        return self.budget.limit.unit

    @property
    def limit(self) -> int:
        """What it may spend in a period."""
        return self.budget.limit.amount

    @property
    def used(self) -> int:
        """What has been spent, wherever."""
        return self.spent + self.extra

    @property
    def low(self) -> bool:
        """Whether so much is spent that somebody should know."""
        return bool(self.budget.alert_at) and self.used * 100 >= self.limit * self.budget.alert_at

    @property
    def state(self) -> Literal["ok", "low", "exceeded"]:
        """How it stands."""
        return "exceeded" if self.used >= self.limit else "low" if self.low else "ok"

    def __repr__(self) -> str:
        return f"<Meter {self.budget.title} {self.value!r}: {self.spent} + {self.likely} of {self.limit}>"


class Want(NamedTuple):
    """What a call would take of one meter; `bounded` is False where it need not be known to fit."""

    meter: Meter
    likely: int
    most: int
    bounded: bool = True
