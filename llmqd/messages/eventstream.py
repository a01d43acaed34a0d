"""Reads the frames of `application/vnd.amazon.eventstream`, in which Amazon Bedrock streams its answers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from zlib import crc32

EVENTSTREAM = "application/vnd.amazon.eventstream"

_PRELUDE = struct.Struct(">III")
_CHECKSUM = 4
_STRING = 7
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; types 6 and 7, bytes and text, say their length themselves."""


def frames(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The type and the payload of each whole event (AWS event stream encoding: lengths, headers, payload, CRC-32).

    Ends at the first frame that is cut off or broken. The type is empty where none is said.
    """
    at = 0
    while at + _PRELUDE.size <= len(data):
        total, headers, checksum = _PRELUDE.unpack_from(data, at)
        begin = at + _PRELUDE.size
        end = at + total - _CHECKSUM
        if crc32(data[at : begin - _CHECKSUM]) != checksum or begin + headers > end or at + total > len(data):
            return
        yield _event_type(data[begin : begin + headers]), data[begin + headers : end]
        at += total


def _event_type(headers: bytes) -> str:
    at = 0
    while at < len(headers):
        name_end = at + 1 + headers[at]
        name = headers[at + 1 : name_end]
        kind = headers[name_end] if name_end < len(headers) else -1
        size, at = _SIZES.get(kind), name_end + 1
        if size is None:
            size, at = int.from_bytes(headers[at : at + 2], "big"), at + 2
            if name == b":event-type" and kind == _STRING:
                return headers[at : at + size].decode("utf-8", "replace")
        at += size
    return ""
