"""Group commit: one fsync for all who wait for it, and one every so often for those who do not."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from llmqd.store.intake import Intake
from llmqd.store.journal import Journal

logger = logging.getLogger(__name__)

_LONGEST_WAIT = 10.0
"""Seconds after which a call is let go although its record is not on the medium: a disk that hangs stops nobody."""


class Durability:
    """Syncs the journal every `every` seconds while it grows, and at once when `durable()` is awaited."""

    def __init__(self, journal: Journal, intake: Intake, *, every: float) -> None:
        self._journal = journal
        self._intake = intake
        self._every = every
        self._synced = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.error: str | None = None

    def start(self) -> None:
        """Begin to sync."""
        self._task = asyncio.create_task(self._run(), name="llmqd journal sync")

    async def durable(self) -> None:
        """Return when all that was appended is on the medium, or when the medium has been silent for too long."""
        target = self._intake.appended
        if target <= self._synced:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((target, future))
        self._wanted.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_WAIT):
                await future

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(self._every, 0.01)):
                    await self._wanted.wait()
            self._wanted.clear()
            if self._intake.appended > self._synced:
                await self.sync()

    async def sync(self) -> None:
        """One fsync. A failure is said once and lets those who wait go: the process still holds their records."""
        target = self._intake.appended
        try:
            await asyncio.to_thread(self._journal.sync)
        except OSError as error:
            if self.error is None:
                logger.error("the journal cannot be synced to its medium: %s", error)
            self.error = (
                f"the journal cannot be synced ({error.strerror}): a power cut may lose records; check the disk"
            )
        else:
            self.error = None
        self._synced = target
        for wanted, future in self._waiting:
            if wanted <= target and not future.done():
                future.set_result(None)
        self._waiting = [(wanted, future) for wanted, future in self._waiting if not future.done()]

    async def stop(self) -> None:
        """Stop, with a last sync."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self.sync()
