"""Follows the journal into the database: one task, one batch a transaction, position and rows together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llmqd.errors import StoreError
from llmqd.store.backend import Backend, Damaged, Unacceptable, Unavailable
from llmqd.store.entries import Closed, Entry, Regrouped, Run, decode, opened_id
from llmqd.store.intake import Intake
from llmqd.store.journal import Journal
from llmqd.store.position import BEGINNING, Position
from llmqd.store.recent import Appended

logger = logging.getLogger(__name__)

_MAX_BYTES = 1024 * 1024
_MAX_ENTRIES = 2400
"""A batch's bounds: large enough for thousands of records a second, small enough for a tenth of a second."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_PAUSE_WITHOUT_JOURNAL = 1.0
_STOP_GRACE = 10.0
_TIDY_EVERY = 60.0
"""Seconds after which an idle writer looks for what has become too old."""
_URGENT_STEPS = 25
"""Steps towards a smaller database between two batches, some half a second in all."""


class Decoded(NamedTuple):
    """A batch that is ready to be applied: each entry with the position behind it, but for beginnings of calls whose
    ends are in it, too.

    `told` says how many entries of this run it stands for, `full` whether more may follow at once.
    """

    entries: list[tuple[Entry, Position]]
    next: Position
    told: int
    full: bool


class Writer:
    """Applies the journal to the database and shortens it.

    When the database cannot be used, the batch at hand is tried again, with growing pauses, until it can; the journal
    grows meanwhile. An entry that the database can never take is set aside. `stuck_after` is how many seconds one
    attempt may take before `alive()` says no.

    While the database is away and more than `journal_max` bytes wait (0: no bound), the journal gives up what was said,
    the oldest first; all that is counted stays.

    Between batches it lets the database give up what is too old or too much, in small steps: `forgotten` hears before
    when what was written may be gone (Unix seconds, as `wall` tells them).
    """

    def __init__(
        self,
        journal: Journal,
        intake: Intake,
        backend: Backend,
        *,
        batch_every: float,
        clock: Callable[[], float],
        stuck_after: float,
        journal_max: int = 0,
        wall: Callable[[], float] = time.time,
        forgotten: Callable[[float], None] = lambda before: None,
    ) -> None:
        self._journal = journal
        self._intake = intake
        self._backend = backend
        self._batch_every = batch_every
        self._clock = clock
        self._stuck_after = stuck_after
        self._journal_max = journal_max
        self._wall = wall
        self._forgotten = forgotten
        self._open = False
        self._held: Decoded | None = None
        self._attempt_began: float | None = None
        self._pause = 0.0
        self._more = False
        self._hurry = asyncio.Event()
        self._stop = asyncio.Event()
        self._waiting: list[tuple[Position, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._began = BEGINNING
        self.position = BEGINNING
        self.level_at = clock()
        """When the database last had all that the journal had, by `clock`."""
        self.applied = 0
        self.set_aside = 0
        self.given_up = 0
        self.thinned = 0
        self.size = 0
        self.too_small = False
        self.error: str | None = None

    def __repr__(self) -> str:
        return f"<Writer at {self.position}, {self.applied} applied, {self.set_aside} set aside>"

    async def open(self) -> None:
        """Connect. Raises StoreError where that can never succeed; what may pass is left to the task."""
        self._began = self._journal.end
        try:
            try:
                await self._connect()
            except Damaged as damaged:
                await self._start_anew(damaged)
                await self._connect()
        except Unavailable as error:
            self._failed(error)

    def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._run(), name="llmqd store writer")

    def alive(self) -> bool:
        """Whether the task runs and no attempt has been stuck for too long; a database that is away is no reason."""
        if self._task is None or self._task.done():
            return False
        return self._attempt_began is None or self._clock() - self._attempt_began < self._stuck_after

    async def reached(self, position: Position, timeout: float) -> bool:
        """Wait until everything before `position` is in the database; False when that takes longer."""
        if self.position >= position:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((position, future))
        self._hurry.set()
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting = [(wanted, other) for wanted, other in self._waiting if other is not future]
        return True

    async def stop(self) -> None:
        """Apply what is left, if the database takes it at once, and disconnect. The rest waits in the journal."""
        self._stop.set()
        self._hurry.set()
        self._intake.arrived.set()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=_STOP_GRACE)
            if not done:
                self._task.cancel()
                await asyncio.wait([self._task])
            self._task = None
        try:
            await self._backend.close()
        except StoreError as error:
            logger.warning("%s", error)

    async def _run(self) -> None:
        try:
            while True:
                if await self.step():
                    if not (self._more or self._waiting or self._stop.is_set()):
                        # What came meanwhile is left to gather: many small batches cost more than few large ones.
                        await _within(self._batch_every, self._hurry)
                    continue
                if self._stop.is_set():
                    return
                if self.error is not None or self._intake.error is not None:
                    await _within(self._pause or _PAUSE_WITHOUT_JOURNAL, self._stop)
                    continue
                await _within(_TIDY_EVERY, self._intake.arrived)
                await _within(self._batch_every, self._hurry)
        except Exception:
            logger.exception("the store writer has died of a fault of its own")
            raise

    async def step(self) -> bool:
        """One attempt at one batch; whether another should follow at once, as one was applied or there is more to tidy.

        Failures of journal and database end up in `error`.
        """
        began = self._attempt_began = self._clock()
        end = self._journal.end
        self._more = False
        self._hurry.clear()
        self._intake.arrived.clear()
        try:
            await self._intake.flush()
            if not self._open:
                await self._connect()
            if self._held is None:
                self._held = await self._load()
            if self._held is None:
                self.level_at = began
                self._more = await self._tidy()
                self._recovered()
                return self._more and not self._stop.is_set()
            full = self._held.full
            await self._apply(self._held)
            if self.position >= end:
                self.level_at = began
            self._more = await self._tidy() or full
        except Damaged as damaged:
            self._failed(damaged)
            return await self._start_anew(damaged)
        except (StoreError, OSError) as error:
            self._failed(error)
            if isinstance(error, StoreError) and getattr(error, "reopen", True):
                await self._disconnect()
            await self._thin()
            return False
        finally:
            self._attempt_began = None
        self._recovered()
        return True

    async def _start_anew(self, damaged: Damaged) -> bool:
        """Puts a damaged database out of the way; whether that could be done. What the journal still has is kept."""
        await self._disconnect()
        try:
            aside = await self._backend.set_aside(self._wall())
        except Unavailable as error:
            self._failed(error)
            return False
        logger.critical("%s; it was set aside as %s, and a new one is made", damaged, aside)
        return True

    async def _connect(self) -> None:
        position = await self._backend.open(self._journal.id)
        if position is None:
            self._forgotten(self._wall())
        self.position = position or BEGINNING
        if self.position > self._journal.end:
            # The journal was emptied by hand. Reading from its beginning is safe: records are known by their ids.
            self.position = BEGINNING
        self._held = None
        self._open = True

    async def _load(self) -> Decoded | None:
        at_hand = self._intake.recent.read(self.position, _MAX_BYTES, _MAX_ENTRIES)
        if at_hand:
            return await asyncio.to_thread(self._decoded, at_hand, at_hand[-1].end, full=len(self._intake.recent) > 0)
        return await asyncio.to_thread(self._read)

    def _read(self) -> Decoded | None:
        batch = self._journal.read(self.position, _MAX_BYTES, _MAX_ENTRIES)
        if batch is None:
            return None
        self.set_aside += batch.damaged
        appended = [Appended(payload, None, end) for payload, end in batch.entries]
        return self._decoded(appended, batch.next, full=True)

    def _decoded(self, batch: Sequence[Appended], next_: Position, *, full: bool) -> Decoded:
        """The entries of a batch. From its end to its beginning: what a call's end says, its beginning need not."""
        entries: list[tuple[Entry, Position]] = []
        closed: set[str] = set()
        count = 0
        for appended in reversed(batch):
            payload, made, end = appended.payload, appended.entry, appended.end
            count += end > self._began
            if made is None and opened_id(payload) in closed:
                continue
            try:
                entry = made or decode(payload)
            except StoreError as error:
                self._put_aside(end.segment, payload, error)
                continue
            if isinstance(entry, Closed):
                closed.add(entry.id)
            elif isinstance(entry, Run | Regrouped):
                closed.clear()
                count -= isinstance(entry, Run) and end > self._began
            entries.append((entry, end))
        entries.reverse()
        return Decoded(entries, next_, count, full)

    async def _apply(self, batch: Decoded) -> None:
        # Finished segments are about to be deleted: what they held must survive a power cut in the database.
        durable = batch.next.segment > self.position.segment
        try:
            await self._backend.apply([entry for entry, _ in batch.entries], batch.next, durable=durable)
        except Unacceptable:
            await self._apply_singly(batch)
        self._held = None
        self.position = batch.next
        self.applied += batch.told
        for position, future in self._waiting:
            if position <= self.position and not future.done():
                future.set_result(None)
        await self._journal.drop_before(self.position)

    async def _apply_singly(self, batch: Decoded) -> None:
        """Find the entries that the database refuses, on a fresh connection so that only they can be to blame."""
        await self._disconnect()
        await self._backend.open(self._journal.id)
        self._open = True
        for entry, position in batch.entries:
            try:
                await self._backend.apply([entry], position, durable=False)
            except Unacceptable as error:
                self._put_aside(position.segment, repr(entry).encode(), error)
        await self._backend.apply([], batch.next, durable=True)

    async def _tidy(self) -> bool:
        """A step towards what may be kept, more of them while the database is too large; whether that was not all."""
        for _ in range(_URGENT_STEPS):
            self._attempt_began = self._clock()
            tidied = await self._backend.tidy(self._wall())
            self.size, self.too_small = tidied.size, tidied.too_small
            self.given_up += tidied.given_up
            if tidied.before:
                self._forgotten(tidied.before)
            if not tidied.urgent:
                break
        return tidied.more

    async def _thin(self) -> None:
        """Makes room in the journal, as far as it is over its bound. What is about to be written is left alone."""
        reached = max(self.position.segment, self._held.next.segment if self._held else 0)
        try:
            while 0 < self._journal_max < self._journal.behind(self.position):
                gone = await asyncio.to_thread(self._journal.thin, reached)
                if not gone:
                    return
                if not self.thinned:
                    logger.warning("the journal has reached [store] journal_max: the oldest texts in it are given up")
                self.thinned += gone
                self._intake.recent.clear()
        except OSError as error:
            logger.warning("the journal cannot be made smaller: %s", error)

    def _put_aside(self, segment: int, entry: bytes, error: StoreError) -> None:
        logger.error("journal entry set aside: %s", error)
        self._journal.set_aside(segment, entry)
        self.set_aside += 1

    async def _disconnect(self) -> None:
        self._open = False
        try:
            await self._backend.close()
        except StoreError as error:
            logger.debug("%s", error)

    def _failed(self, error: StoreError | OSError) -> None:
        if self.error is None:
            logger.error("%s; records wait in the journal", error)
        self.error = str(error)
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)

    def _recovered(self) -> None:
        if self.error is not None:
            logger.warning("the database takes records again")
        self.error = None
        self._pause = 0.0


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for the event, but not longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
