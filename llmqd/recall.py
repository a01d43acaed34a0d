"""Tells the lanes what the ledger knows of their past: at the start, after a reload, and once a lost store is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmqd.background import end, obituary
from llmqd.errors import StoreError

if TYPE_CHECKING:
    from llmqd.lane.lanes import Lanes
    from llmqd.store.ledger import Ledger

logger = logging.getLogger(__name__)

_PAST = 26 * 3600.0
"""Seconds of the past that can matter: the longest day, where clocks are put back, and a little more."""
_FINE = 3600.0
"""Seconds of it that matter in detail: for limits of a minute and for low rates."""


class Recall:
    """Runs beside the daemon. An async context manager: entering it recalls, for at most `patience` seconds; what was
    not to be had by then comes later. Leaving it ends its task.

    Without it a restart would give every key its day's quota anew. `wall` is Unix time, `every` are the seconds between
    attempts while the ledger cannot answer in full.
    """

    def __init__(
        self, ledger: Ledger, lanes: Lanes, *, wall: Callable[[], float], patience: float = 3.0, every: float = 2.0
    ) -> None:
        self._ledger = ledger
        self._lanes = lanes
        self._wall = wall
        self._patience = patience
        self._every = every
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()
        self._reason: str | None = None
        self._task: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """Recalls in the background: there are new lanes, or lanes with new limits."""
        self._wanted.set()

    async def __aenter__(self) -> Self:
        self._wanted.set()
        self._task = asyncio.create_task(self._work(), name="recall")
        self._task.add_done_callback(obituary(logger, "the past of the lanes will not be recalled any more"))
        try:
            async with asyncio.timeout(self._patience):
                await self._tried.wait()
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
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while not await self._recall():
                self._tried.set()
                await asyncio.sleep(self._every)
            self._tried.set()

    async def _recall(self) -> bool:
        """One attempt; whether all was known."""
        health = self._ledger.health()
        # What the journal holds beyond the database counts too; a database that is away is not waited for.
        complete = await self._ledger.settled(self._patience / 2 if health.ok else 0.0)
        now = self._wall()
        try:
            past = await self._ledger.lane_usage(now - _PAST, now - _FINE)
            samples = await self._ledger.samples()
        except StoreError as error:
            self._lacks(str(error))
            return False
        self._lanes.recall(past, samples)
        if not complete:
            self._lacks(health.reason or "the database lags behind the journal")
        elif self._reason is not None:
            self._reason = None
            logger.info("what was let through before the start is known and counted now")
        return complete

    def _lacks(self, reason: str) -> None:
        """Said once."""
        if self._reason is None:
            logger.warning(
                "what was let through before the start is not fully known: %s; limits of a day may be exceeded until"
                " it is",
                reason,
            )
        self._reason = reason
