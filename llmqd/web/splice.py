"""Replaces stretches of a body by other bytes, and leaves everything else as it is."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Splice(NamedTuple):
    """The bytes from `start` to before `end` are replaced by `data`."""

    start: int
    end: int
    data: bytes


def pieces(size: int, splices: Sequence[Splice]) -> Iterator[range | bytes]:
    """What a body of `size` bytes consists of afterwards: stretches of the old one, and new bytes.

    `splices` are in their order and do not overlap.
    """
    at = 0
    for splice in splices:
        yield range(at, splice.start)
        yield splice.data
        at = splice.end
    yield range(at, size)


def spliced(data: bytes | mmap.mmap, splices: Sequence[Splice]) -> bytes:
    """The new body."""
    return b"".join(
        data[piece.start : piece.stop] if isinstance(piece, range) else piece for piece in pieces(len(data), splices)
    )


def spliced_size(size: int, splices: Sequence[Splice]) -> int:
    """Bytes of the new body."""
    return size + sum(len(splice.data) - (splice.end - splice.start) for splice in splices)
