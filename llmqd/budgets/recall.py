"""Tells the budgets what the ledger knows of their past: at the start, when one is new, when sessions move."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmqd.background import end, obituary
from llmqd.budgets.periods import window
from llmqd.errors import StoreError

if TYPE_CHECKING:
    from llmqd.budgets.budgets import Budgets
    from llmqd.config.budgets import Budget
    from llmqd.store.ledger import Ledger
    from llmqd.store.position import Position

logger = logging.getLogger(__name__)


class BudgetRecall:
    """Runs beside the daemon. An async context manager: entering it recalls, for at most `patience` seconds; what was
    not to be had by then comes later. Leaving it ends its task.

    An answer of the ledger says how far into the journal it goes, and what has ended behind that is added, so that
    nothing counts twice and nothing is left out. `wall` is Unix time, `every` are the seconds between attempts.
    """

    def __init__(
        self, ledger: Ledger, budgets: Budgets, *, wall: Callable[[], float], patience: float = 3.0, every: float = 2.0
    ) -> None:
        self._ledger = ledger
        self._budgets = budgets
        self._wall = wall
        self._patience = patience
        self._every = every
        self._first = True
        self._reason: str | None = None
        self._task: asyncio.Task[None] | None = None

    def faults(self) -> list[str]:
        """What is wrong, as sentences."""
        if self._reason is None or not self._budgets.book.budgets:
            return []
        return [f"what was spent of the budgets before the start is not fully known: {self._reason}"]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work(), name="budgets")
        self._task.add_done_callback(obituary(logger, "what budgets have spent will not be recalled any more"))
        try:
            async with asyncio.timeout(self._patience):
                await self._budgets.tried.wait()
        except TimeoutError:
            self._lacks(f"the ledger has not answered within {self._patience:g} s")
        except BaseException:
            self._task.cancel()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        await end(self._task)

    async def _work(self) -> None:
        budgets = self._budgets
        while True:
            await budgets.wanted.wait()
            budgets.wanted.clear()
            while not await self._recall():
                budgets.tried.set()
                await asyncio.sleep(self._every)
            if not budgets.wanted.is_set():
                budgets.tried.set()

    async def _recall(self) -> bool:
        """One attempt; whether all was known."""
        budgets, ledger = self._budgets, self._ledger
        asked = budgets.listen()
        since = ledger.end
        health = ledger.health()
        # What the journal holds beyond the database counts too; a database that is away is not waited for.
        await ledger.settled(self._patience / 2 if health.ok else 0.0)
        complete = True
        try:
            if self._first:
                budgets.expectations.seed(await ledger.samples())
            for budget in asked:
                complete &= await self._ask(budget, since)
        except StoreError as error:
            self._lacks(str(error))
            return False
        if not complete:
            self._lacks(health.reason or "the database lags behind the journal")
            return False
        self._first = False
        budgets.known(asked)
        if self._reason is not None:
            self._reason = None
            logger.info("what was spent of the budgets before is known now")
        return True

    async def _ask(self, budget: Budget, since: Position) -> bool:
        """Whether the answer has all that was in the journal before `since`. At the start a part is better than none;
        later it would be less than what is known."""
        when = window(budget.limit.period, budget.zone, self._wall())
        spent = await self._ledger.spending(budget.by, when.start, when.end, budget.max_tracked)
        complete = spent.position >= since
        if complete or self._first:
            self._budgets.book.recalled(budget, when, spent.rows, spent.position)
        return complete

    def _lacks(self, reason: str) -> None:
        """Said once."""
        if self._reason is None and self._budgets.book.budgets:
            logger.warning(
                "what was spent of the budgets before is not fully known: %s; they may be exceeded until it is", reason
            )
        self._reason = reason
