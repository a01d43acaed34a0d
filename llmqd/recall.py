"""Tells the lanes what the ledger knows of their past: at the start, after a reload, and once a lost store is back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmqd.background import CatchingUp
from llmqd.errors import StoreError

if TYPE_CHECKING:
    from llmqd.lane.lanes import Lanes
    from llmqd.store.ledger import Ledger

logger = logging.getLogger(__name__)

_PAST = 26 * 3600.0
"""Seconds of the past that can matter: the longest day, where clocks are put back, and a little more."""
_FINE = 3600.0
"""Seconds of it that matter in detail: for limits of a minute and for low rates."""


class Recall(CatchingUp):
    """Runs beside the daemon. Entering it recalls; what was not to be had within `patience` seconds comes later.

    Without it a restart would give every key its day's quota anew. `wall` is Unix time, `every` are the seconds between
    attempts while the ledger cannot answer in full.
    """

    def __init__(
        self, ledger: Ledger, lanes: Lanes, *, wall: Callable[[], float], patience: float = 3.0, every: float = 2.0
    ) -> None:
        super().__init__(
            self._recall,
            name="recall of the lanes",
            logger=logger,
            lacks="what was let through before the start is not fully known; limits may be exceeded until it is",
            known="what was let through before the start is known and counted now",
            patience=patience,
            every=every,
        )
        self._ledger = ledger
        self._lanes = lanes
        self._wall = wall
        self._within = patience / 2
        self.soon()

    def soon(self) -> None:
        """Recalls in the background: there are new lanes, or lanes with new limits."""
        self.wanted.set()

    async def _recall(self) -> str | None:
        health = self._ledger.health()
        complete = await self._ledger.caught_up(self._within)
        now = self._wall()
        try:
            past = await self._ledger.lane_usage(now - _PAST, now - _FINE)
            samples = await self._ledger.samples()
        except StoreError as error:
            return str(error)
        self._lanes.recall(past, samples)
        return None if complete else health.reason or "the database lags behind the journal"
