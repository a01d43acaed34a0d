"""Keeps the beginning of an answer, so that what was said in it can be read at its end."""

from __future__ import annotations

from typing import NamedTuple


class Captured(NamedTuple):
    """An answer's body, decoded, as far as it came and was kept. `cut` says that there was more of it than was kept."""

    body: bytes
    cut: bool


class Capture:
    """The first `limit` bytes of what goes by."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._body = bytearray()
        self._cut = False

    def add(self, piece: bytes) -> None:
        """The next bytes; an append and no more, because this is done for every chunk."""
        room = self._room
        if len(piece) > room:
            self._cut = True
            piece = piece[:room]
        self._room = room - len(piece)
        self._body += piece

    def take(self) -> Captured:
        """All that was kept. It is given away: from then on nothing is kept."""
        captured = Captured(bytes(self._body), self._cut)
        self._body, self._room = bytearray(), 0
        return captured
