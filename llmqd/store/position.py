"""A place in the journal, and what is read there."""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """A place between two entries: the number of the segment and the offset in it. Positions sort by time."""

    segment: int
    offset: int

    def __str__(self) -> str:
        return f"{self.segment}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The inverse of `str()`."""
        segment, offset = text.split("/")
        return cls(int(segment), int(offset))


BEGINNING = Position(0, 0)


class Batch(NamedTuple):
    """Entries that were read together.

    Each entry comes with the position behind it; `next` is where to read on, which may lie behind the last entry
    where damaged lines follow it. `damaged` counts the lines that could not be read and were set aside.
    """

    entries: list[tuple[bytes, Position]]
    next: Position
    damaged: int
