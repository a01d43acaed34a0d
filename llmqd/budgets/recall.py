"""Tells the budgets what the ledger knows of their past: at the start, when one is new, when sessions move."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmqd.background import CatchingUp
from llmqd.budgets.periods import window
from llmqd.errors import StoreError

if TYPE_CHECKING:
    from llmqd.budgets.budgets import Budgets
    from llmqd.config.budgets import Budget
    from llmqd.store.ledger import Ledger
    from llmqd.store.position import Position

logger = logging.getLogger(__name__)


class BudgetRecall(CatchingUp):
    """Runs beside the daemon. Entering it recalls; what was not to be had within `patience` seconds comes later.

    An answer of the ledger says how far into the journal it goes, and what has ended behind that is added, so that
    nothing counts twice and nothing is left out. `wall` is Unix time, `every` are the seconds between attempts.
    """

    def __init__(
        self, ledger: Ledger, budgets: Budgets, *, wall: Callable[[], float], patience: float = 3.0, every: float = 2.0
    ) -> None:
        super().__init__(
            self._recall,
            name="recall of the budgets",
            logger=logger,
            lacks="what was spent of the budgets before is not fully known; they may be exceeded until it is",
            known="what was spent of the budgets before is known now",
            patience=patience,
            every=every,
            wanted=budgets.wanted,
            tried=budgets.tried,
        )
        self._ledger = ledger
        self._budgets = budgets
        self._wall = wall
        self._within = patience / 2
        self._first = True

    def faults(self) -> list[str]:
        """What is wrong, as sentences."""
        if self.reason is None or not self._budgets.book.budgets:
            return []
        return [f"what was spent of the budgets before the start is not fully known: {self.reason}"]

    async def _recall(self) -> str | None:
        budgets, ledger = self._budgets, self._ledger
        if not budgets.book.budgets:
            return None
        asked = budgets.listen()
        since = ledger.end
        health = ledger.health()
        await ledger.caught_up(self._within)
        complete = True
        try:
            if self._first:
                budgets.expectations.seed(await ledger.samples())
            for budget in asked:
                complete &= await self._ask(budget, since)
        except StoreError as error:
            return str(error)
        if not complete:
            return health.reason or "the database lags behind the journal"
        self._first = False
        budgets.known(asked)
        return None

    async def _ask(self, budget: Budget, since: Position) -> bool:
        """Whether the answer has all that was in the journal before `since`. At the start a part is better than none;
        later it would be less than what is known."""
        when = window(budget.limit.period, budget.zone, self._wall())
        spent = await self._ledger.spending(budget.by, when.start, when.end, budget.max_tracked)
        complete = spent.position >= since
        if complete or self._first:
            self._budgets.book.recalled(budget, when, spent.rows, spent.position)
        return complete
