"""The bytes of a journal: one checksummed line an entry, read back around any damage."""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

_CHECKSUM = 8
_PREFIX = _CHECKSUM + 1


class Parsed(NamedTuple):
    """What a piece of a segment holds.

    `entries` pairs each payload with the offset behind its line; `bad` are the raw bytes of lines that do not match
    their checksum; `end` is the offset up to which the piece is dealt with.
    """

    entries: list[tuple[bytes, int]]
    bad: list[bytes]
    end: int


def line(payload: bytes) -> bytes:
    """One journal line: CRC-32 in eight hex digits, a space, the payload, LF. The payload must hold no LF."""
    return b"%08x %b\n" % (crc32(payload), payload)


def parse(data: bytes, start: int, *, final: bool, max_entries: int) -> Parsed:
    """Read the lines of `data`, which stands at offset `start` of its segment.

    With `final`, nothing will ever follow `data`, so that bytes behind the last LF are a line that was cut off.
    A damaged line costs itself only: the next LF is where reading goes on.
    """
    entries: list[tuple[bytes, int]] = []
    bad: list[bytes] = []
    at = 0
    while len(entries) < max_entries:
        newline = data.find(b"\n", at)
        if newline < 0:
            if final and at < len(data):
                bad.append(data[at:])
                at = len(data)
            break
        payload = data[at + _PREFIX : newline]
        if data[at : at + _PREFIX] == b"%08x " % crc32(payload):
            entries.append((payload, start + newline + 1))
        else:
            bad.append(data[at : newline + 1])
        at = newline + 1
    return Parsed(entries, bad, start + at)
