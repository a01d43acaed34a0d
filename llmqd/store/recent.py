"""The entries that were appended to the journal last, at hand for the writer: it need not read and parse them again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from llmqd.store.entries import Entry
    from llmqd.store.position import Position


class Appended(msgspec.Struct, frozen=True):
    """An entry in the journal: its bytes, what they say where that is known without reading them, and where it ends."""

    payload: bytes
    entry: Entry | None
    end: Position


class Recent:
    """At most `limit` bytes of entries, each behind the other; the oldest are let go, as the journal has them all."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: deque[Appended] = deque()
        self._begin: Position | None = None
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Recent {len(self._entries)} entries, {self._size} bytes>"

    def add(self, begin: Position, appended: Appended) -> None:
        """The journal has one entry more, which begins there."""
        entries = self._entries
        if entries and entries[-1].end != begin:  # something stands between them, such as the head of a segment
            entries.clear()
            self._size = 0
        if not entries:
            self._begin = begin
        entries.append(appended)
        self._size += len(appended.payload)
        while self._size > self._limit:
            self._drop()

    def read(self, position: Position, max_bytes: int, max_entries: int) -> list[Appended]:
        """What follows `position`, as far as it is at hand, and at least one entry if there is any: it is let go."""
        entries = self._entries
        while entries and self._begin is not None and self._begin < position:
            self._drop()
        found: list[Appended] = []
        if self._begin == position:
            while entries and len(found) < max_entries and max_bytes > 0:
                found.append(entries[0])
                max_bytes -= len(entries[0].payload)
                self._drop()
        return found

    def clear(self) -> None:
        """Nothing is at hand any more: positions in the journal may be others than they were."""
        self._entries.clear()
        self._begin, self._size = None, 0

    def _drop(self) -> None:
        gone = self._entries.popleft()
        self._size -= len(gone.payload)
        self._begin = gone.end if self._entries else None
