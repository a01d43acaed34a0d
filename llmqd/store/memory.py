"""The journal of the `memory` backend: the same sequence of entries, nothing on disk."""

from __future__ import annotations

import errno
import logging
from collections import deque

from llmqd.store.position import BEGINNING, Batch, Position

logger = logging.getLogger(__name__)


class MemoryJournal:
    """Entries in memory, at most `limit` bytes of them; positions count entries, all in segment 1."""

    def __init__(self, *, limit: int, header: bytes) -> None:
        self._limit = limit
        self._header = header
        self._entries: deque[bytes] = deque()
        self._first = 0
        self._size = 0

    def __repr__(self) -> str:
        return f"<MemoryJournal {len(self._entries)} entries, {self._size} bytes>"

    @property
    def id(self) -> str:
        """Always the same: a memory database knows no other journal."""
        return "memory"

    @property
    def end(self) -> Position:
        """The position behind the last entry."""
        return Position(1, self._first + len(self._entries))

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._size

    def open(self) -> None:
        """Begin with the header entry."""
        self.append(self._header)

    def append(self, entry: bytes) -> None:
        """Add one entry. Raises OSError when the limit is reached."""
        if self._size + len(entry) > self._limit:
            raise OSError(errno.ENOSPC, "the journal in memory is full")
        self._entries.append(entry)
        self._size += len(entry)

    def read(self, position: Position, max_bytes: int, max_entries: int) -> Batch | None:
        """Entries from `position` on; None when nothing follows."""
        at = max(position.offset if position.segment else 0, self._first)
        entries: list[tuple[bytes, Position]] = []
        taken = 0
        # By index and not by iterator: the other thread may append meanwhile.
        for index in range(at - self._first, len(self._entries)):
            if len(entries) >= max_entries or (entries and taken >= max_bytes):
                break
            entry = self._entries[index]
            taken += len(entry)
            entries.append((entry, Position(1, self._first + index + 1)))
        return Batch(entries, entries[-1][1], 0) if entries else None

    def set_aside(self, segment: int, entry: bytes) -> None:
        """Nobody could look at it later: it is only said."""
        logger.error("an entry of %d bytes is not understood and left out", len(entry))

    def thin(self, after: int) -> int:
        """Nothing: the database in memory is never away."""
        return 0

    async def drop_before(self, position: Position) -> None:
        """Forget the entries before `position`."""
        if position == BEGINNING:
            return
        while self._entries and self._first < position.offset:
            self._size -= len(self._entries.popleft())
            self._first += 1

    def behind(self, position: Position) -> int:
        """Bytes held: what was read is forgotten at once."""
        return self._size

    def sync(self) -> None:
        """Nothing to do: memory does not outlive the daemon."""

    def close(self) -> None:
        """Nothing to do."""
