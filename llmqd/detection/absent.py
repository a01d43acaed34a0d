"""Marks that the database was asked for and does not know, so that nobody asks again."""

from __future__ import annotations

from collections.abc import Collection, Iterable


class Absent:
    """At least the latest `size` of them, at most twice as many."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: set[int] = set()
        self._old: set[int] = set()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, given: int) -> bool:
        return given in self._young or given in self._old

    def add(self, marks: Iterable[int]) -> None:
        """Nobody is known by these, unless the memory says so."""
        for given in marks:
            if len(self._young) >= self._size:
                self._old, self._young = self._young, set()
            self._young.add(given)

    def discard(self, marks: Collection[int]) -> None:
        """Somebody is known by these from now on."""
        self._young.difference_update(marks)
        self._old.difference_update(marks)

    def resize(self, size: int) -> None:
        """Another bound from now on."""
        self._size = size
