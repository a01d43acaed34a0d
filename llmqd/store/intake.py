"""The way into the journal, which stays open when the journal cannot be written."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from llmqd.store.entries import Entry
from llmqd.store.journal import Journal
from llmqd.store.recent import Appended, Recent

logger = logging.getLogger(__name__)

_FLUSHED_AT_ONCE = 256
"""Entries moved from memory to the journal before others have their turn on the event loop."""
_AT_HAND = 4 << 20
"""Bytes of entries that are kept for the writer beside the journal."""


class Intake:
    """Appends entries to the journal; while that fails they wait in memory, at most `limit` bytes of them.

    Order is kept: as long as one entry waits, later ones wait behind it. Beyond the limit the oldest are dropped and
    counted in `lost`. `arrived` is set whenever there is something for the writer to do. `recent` has what was appended
    last.
    """

    def __init__(self, journal: Journal, *, limit: int) -> None:
        self._journal = journal
        self._limit = limit
        self._waiting: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.appended = 0
        self.lost = 0
        self.error: str | None = None
        self.arrived = asyncio.Event()
        self.recent = Recent(_AT_HAND)

    def __repr__(self) -> str:
        return f"<Intake {self.appended} appended, {len(self._waiting)} waiting, {self.lost} lost>"

    @property
    def waiting(self) -> int:
        """Entries in memory."""
        return len(self._waiting)

    def append(self, entry: bytes, made: Entry | None = None) -> None:
        """Take one entry, with what it says where that is at hand. Never raises, never waits."""
        if not self._waiting:
            journal = self._journal
            begin = journal.end
            try:
                journal.append(entry)
            except OSError as error:
                self.failed(error)
            else:
                self.appended += 1
                end = journal.end
                if end.segment == begin.segment:
                    self.recent.add(begin, Appended(entry, made, end))
                self.arrived.set()
                return
        self._waiting.append(entry)
        self.waiting_bytes += len(entry)
        while self.waiting_bytes > self._limit:
            self.waiting_bytes -= len(self._waiting.popleft())
            self.lost += 1
        self.arrived.set()

    def failed(self, error: OSError) -> None:
        """The journal cannot be written for now."""
        if self.error is None:
            logger.error("the journal cannot be written, records wait in memory: %s", error)
        self.error = f"the journal cannot be written ({error.strerror or error}): free or repair the disk it is on"

    async def flush(self) -> None:
        """Move what waits into the journal: all of it, so that it never grows beside a load as quick as this is."""
        moved = 0
        while self._waiting:
            try:
                self._journal.append(self._waiting[0])
            except OSError as error:
                self.failed(error)
                return
            self.waiting_bytes -= len(self._waiting.popleft())
            self.appended += 1
            moved += 1
            if moved % _FLUSHED_AT_ONCE == 0:
                await asyncio.sleep(0)
        if self.error is not None and moved:
            logger.warning("the journal can be written again; %d records were lost in memory", self.lost)
            self.error = None
