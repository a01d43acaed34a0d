"""Remembers what was worked out before, up to a bound; when it is full, all is forgotten and worked out anew."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memo(dict[K, V]):
    """What was worked out for up to `most` keys."""

    __slots__ = ("_most",)

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, key: K, value: V) -> V:
        """Remembers a value, and gives it back."""
        if len(self) >= self._most:
            self.clear()
        self[key] = value
        return value
