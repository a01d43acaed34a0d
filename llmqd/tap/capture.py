"""Keeps the beginning of an answer, so that what was said in it can be read at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import zstandard

if TYPE_CHECKING:
    from llmqd.providers.plain_chat import PlainChat

_BLOCK = 4 * 1024
"""Bytes that are packed at once: the events of a stream are so much alike that a tenth of them is left. Pieces of as
many bytes are those of an answer that comes quickly, and is over before packing it would have saved anything."""

_pack = zstandard.ZstdCompressor(level=1).compress


class Captured(msgspec.Struct, frozen=True):
    """An answer's body, decoded, as far as it came and was kept. `cut` says that there was more of it than was kept.

    `plain` is what it says where that was read already, and all of it was kept.
    """

    body: bytes
    cut: bool
    plain: PlainChat | None = None


class Capture:
    """The first `limit` bytes of what goes by."""

    __slots__ = ("_cut", "_loose", "_packed", "_pieces", "_room")

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._packed: list[bytes] = []
        self._pieces: list[bytes] = []
        self._loose = 0
        """Bytes of the pieces that are not packed yet."""
        self._cut = False

    def add(self, piece: bytes) -> None:
        """The next bytes; mostly an append and no more, because this is done for every chunk."""
        size = len(piece)
        if size > self._room:
            self._cut = True
            piece = piece[: self._room]
            size = len(piece)
        self._room -= size
        self._pieces.append(piece)
        self._loose += size
        if self._loose >= _BLOCK > size:
            packed = _pack(b"".join(self._pieces))
            self._packed.append(bytes(memoryview(packed)))  # a copy: the library keeps the room that it took for more
            self._pieces.clear()
            self._loose = 0

    def take(self, plain: PlainChat | None) -> Captured:
        """All that was kept, with what it says if that is known. It is given away: from then on nothing is kept."""
        body = b"".join([*map(zstandard.decompress, self._packed), *self._pieces])
        self._packed.clear()
        self._pieces.clear()
        self._room = 0
        return Captured(body, self._cut, None if self._cut else plain)
