"""Remembers of late what the ledger has, so that a history that is sent again and again is not written again."""

from __future__ import annotations

LIFETIME = 86_400.0
"""Seconds after which what is known is written once more: so the ledger sees what is still in use, and keeps it."""


class Known:
    """Keys and when what they stand for was written, at most `limit` of them: the latest, at least half as many.

    There are two generations, and the older goes as a whole: to take the oldest key out of a dict again and again costs
    a walk over all that were taken out before it.
    """

    def __init__(self, limit: int) -> None:
        self._generation = max(limit // 2, 1)
        self._young: dict[int, float] = {}
        self._old: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def since(self, key: int) -> float | None:
        """When it was last written (Unix seconds); None where that is not known."""
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def put(self, key: int, at: float) -> None:
        """It was written at that time."""
        if len(self._young) >= self._generation and key not in self._young:
            self._old, self._young = self._young, {}
        self._young[key] = at

    def clear(self) -> None:
        """Nothing is known any more."""
        self._young.clear()
        self._old.clear()
