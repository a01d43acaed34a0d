"""Finds plain fields in a multipart form (RFC 7578)."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from email.message import Message

_MAX_PART_HEAD = 4096
"""Bytes of a part's headers that are looked at."""


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names; empty without one."""
    parser = Message()
    parser["Content-Type"] = content_type
    return str(parser.get_param("boundary", "")).encode()


def field_values(data: bytes | mmap.mmap, boundary: bytes, name: bytes) -> Iterator[tuple[int, int]]:
    """Where the values of the plain fields of that name stand, from and to, wherever in the form they are.

    Ends at a part that is not whole. A part with a file name is a file, not a field.
    """
    delimiter = b"--" + boundary
    wanted = re.compile(rb'[;\s]name="?' + re.escape(name) + rb'"?\s*(;|\r|$)')
    start = data.find(delimiter)
    while start != -1:
        start += len(delimiter)
        end = data.find(b"\r\n" + delimiter, start)
        head_end = data.find(b"\r\n\r\n", start, min(start + _MAX_PART_HEAD, end if end != -1 else len(data)))
        if end == -1 or head_end == -1:
            return
        head = data[start:head_end]
        if wanted.search(head) and b"filename" not in head:
            yield min(head_end + 4, end), end
        start = end + 2
