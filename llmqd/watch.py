"""Tells systemd how things are: a status line with live figures, and the watchdog after a real look at the parts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmqd.background import end
from llmqd.errors import LaneDead, StoreError
from llmqd.store.rollups import DAY
from llmqd.store.window import Window

if TYPE_CHECKING:
    from llmqd.auth.key_lanes import KeyLanes
    from llmqd.lane.lanes import Lanes
    from llmqd.store.ledger import Ledger
    from llmqd.systemd import Notifier

logger = logging.getLogger(__name__)

_STATUS_EVERY = 5.0


class Watch:
    """Runs beside the daemon. An async context manager: leaving it ends its tasks.

    The watchdog is fed only after every lane's worker loop, those of client keys too, has come round and the store's
    writer has shown that it is not stuck; a daemon that merely has a running event loop is restarted by systemd.
    `wall` is Unix time.
    """

    def __init__(
        self,
        notifier: Notifier,
        lanes: Lanes,
        key_lanes: KeyLanes,
        ledger: Ledger,
        faults: Callable[[], list[str]],
        *,
        wall: Callable[[], float],
    ) -> None:
        self._notifier = notifier
        self._lanes = lanes
        self._key_lanes = key_lanes
        self._ledger = ledger
        self._faults = faults
        self._wall = wall
        self._spending = ""
        self._tasks: list[asyncio.Task[None]] = []

    def status(self) -> str:
        """One line for `systemctl status`."""
        waiting = sum(lane.waiting for lane in self._lanes)
        running = sum(lane.running for lane in self._lanes)
        granted = sum(lane.granted for lane in self._lanes)
        rates = ", ".join(
            f"{lane.name} {lane.requests_per_minute:g}/min" for lane in self._lanes if lane.requests_per_minute
        )
        trouble = "".join(f"; {fault}" for fault in self._faults())
        counts = f"{waiting} waiting, {running} running, {granted} let through"
        return f"{counts}; {rates or 'no rate limits'}{self._spending}{trouble}"

    async def count_spending(self) -> None:
        """Looks up what the day (in UTC) has cost so far, for the status line; not known while the store is away."""
        now = self._wall()
        try:
            pico = await self._ledger.usage.spent(Window.around(now // DAY * DAY, now))
        except StoreError:
            self._spending = ""
        else:
            self._spending = f"; ${Decimal(pico).scaleb(-12):.2f} spent today"

    async def check(self, patience: float) -> bool:
        """Whether lanes and store answer within `patience` seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._lanes.answer()
                await self._key_lanes.answer()
        except TimeoutError:
            logger.error("a lane's worker loop has not answered for %g s", patience)
            return False
        except LaneDead as error:
            logger.error("%s", error)
            return False
        if not self._ledger.alive():
            logger.error("the store's writer is stuck")
            return False
        return True

    async def __aenter__(self) -> Self:
        self._tasks.append(asyncio.create_task(self._report(), name="status"))
        if self._notifier.watchdog_interval is not None:
            every = self._notifier.watchdog_interval / 2
            self._tasks.append(asyncio.create_task(self._feed(every), name="watchdog"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(*self._tasks)

    async def _report(self) -> None:
        said = ""
        while True:
            await self.count_spending()
            if (status := self.status()) != said:
                self._notifier.status(status)
                said = status
            await asyncio.sleep(_STATUS_EVERY)

    async def _feed(self, every: float) -> None:
        while True:
            if await self.check(every / 2):
                self._notifier.watchdog()
            await asyncio.sleep(every / 2)
