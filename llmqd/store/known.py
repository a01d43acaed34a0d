"""Remembers of late what the ledger has, so that a history that is sent again and again is not written again."""

from __future__ import annotations

LIFETIME = 86_400.0
"""Seconds after which what is known is written once more: so the ledger sees what is still in use, and keeps it."""


class Known:
    """Keys and when what they stand for was written, at most `limit` of them, the latest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._written: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._written)

    def since(self, key: int) -> float | None:
        """When it was last written (Unix seconds); None where that is not known."""
        return self._written.get(key)

    def put(self, key: int, at: float) -> None:
        """It was written at that time."""
        self._written.pop(key, None)
        self._written[key] = at
        if len(self._written) > self._limit:
            del self._written[next(iter(self._written))]

    def clear(self) -> None:
        """Nothing is known any more."""
        self._written.clear()
