"""Reads the frames of `application/vnd.amazon.eventstream`, in which Amazon Bedrock streams its answers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from zlib import crc32

import msgspec

EVENTSTREAM = "application/vnd.amazon.eventstream"

_PRELUDE = struct.Struct(">III")
_CHECKSUM = 4
PRELUDE_SIZE = _PRELUDE.size
"""So many bytes tell how long a frame is."""
_STRING = 7
_TYPES = (b":event-type", b":exception-type")
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; types 6 and 7, bytes and text, say their length themselves."""

CONVERSE_EVENTS = frozenset(
    {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"}
)
"""What the events of ConverseStream are called."""


class _Wrapped(msgspec.Struct, gc=False):
    """The vendor's message in an event; base64 on the wire."""

    message: bytes | None = msgspec.field(default=None, name="bytes")


_wrapped = msgspec.json.Decoder(_Wrapped)


def frames(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The type and the payload of each whole event (AWS event stream encoding: lengths, headers, payload, CRC-32).

    Ends at the first frame that is cut off or broken. The type is empty where none is said.
    """
    at = 0
    while at + _PRELUDE.size <= len(data):
        total = frame_size(data, at)
        if total is None or at + total > len(data):
            return
        headers = int.from_bytes(data[at + 4 : at + 8], "big")
        begin = at + _PRELUDE.size
        yield _event_type(data[begin : begin + headers]), data[begin + headers : at + total - _CHECKSUM]
        at += total


def frame_size(data: bytes | bytearray, at: int = 0) -> int | None:
    """How many bytes the frame has whose prelude, 12 bytes, is there from `at` on; None where that is none."""
    total, headers, checksum = _PRELUDE.unpack_from(data, at)
    sound = crc32(data[at : at + _PRELUDE.size - _CHECKSUM]) == checksum
    return total if sound and _PRELUDE.size + headers + _CHECKSUM <= total else None


def message_in(kind: str, payload: bytes) -> bytes:
    """The JSON that an event stands for: a Converse event under its name, the vendor's own message where one is wrapped
    (InvokeModelWithResponseStream), an exception as an error; empty where it is neither."""
    if kind in CONVERSE_EVENTS:
        return b'{"%b":%b}' % (kind.encode(), payload)
    try:
        wrapped = _wrapped.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return b""
    if wrapped.message is not None:
        return wrapped.message
    return b'{"error":{"type":"%b"}}' % kind.encode() if kind.endswith("Exception") and kind.isalnum() else b""


def _event_type(headers: bytes) -> str:
    at = 0
    while at < len(headers):
        name_end = at + 1 + headers[at]
        name = headers[at + 1 : name_end]
        kind = headers[name_end] if name_end < len(headers) else -1
        size, at = _SIZES.get(kind), name_end + 1
        if size is None:
            size, at = int.from_bytes(headers[at : at + 2], "big"), at + 2
            if name in _TYPES and kind == _STRING:
                return headers[at : at + size].decode("utf-8", "replace")
        at += size
    return ""
