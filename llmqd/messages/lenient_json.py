"""JSON that came from outside: read without ever raising, and mended where it was cut off."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_PATIENCE = 1024 * 1024
"""Up to this size what the quick parser refuses is given to the patient one."""

_LONGEST_ESCAPE = 6
"""So many bytes at most are an unfinished escape (RFC 8259 §7) or an unfinished character."""

STRING_BODY = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
"""A pattern of what stands between the quotes of a JSON string (RFC 8259 §7)."""

_TOKEN = re.compile(rb'"' + STRING_BODY + rb'("?)|[{}\[\],]', re.DOTALL)


_ESCAPES = re.compile(
    rb"((?:\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|\\(?!ud[89a-f]).)+)|\\ud[89a-f][0-9a-f]{2}",
    re.IGNORECASE | re.DOTALL,
)


def whole_characters(data: bytes) -> bytes:
    """JSON in which each escape that is half a surrogate pair, without the other, is the replacement character.

    It is as long as before, and everything in it stands where it stood.
    """
    return _ESCAPES.sub(lambda found: found[1] or rb"\ufffd", data)


def loads(data: bytes) -> Any:
    """A JSON value; None where it is none. Lone halves of surrogate pairs and broken characters are let pass: the other
    half may come with the next event."""
    try:
        return orjson.loads(data)
    except ValueError:
        if len(data) > _PATIENCE:
            return None
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def sound(text: str) -> str:
    """Text that can be encoded: halves of surrogate pairs that met are joined, those left alone replaced."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def mended(data: bytes) -> Any:
    """What a JSON object or array that was cut off says up to there; None where nothing can be made of it."""
    closers: list[bytes] = []
    safe = 0
    string = False
    for found in _TOKEN.finditer(data):
        mark = found.group()
        string = mark.startswith(b'"') and not found.group(1)
        if mark in (b"{", b"["):
            closers.append(b"}" if mark == b"{" else b"]")
        elif mark in (b"}", b"]"):
            if not closers:
                return None
            closers.pop()
        elif mark != b",":
            continue
        safe = found.start() if mark == b"," else found.end()
    end = b"".join(reversed(closers))
    if string:
        for cut in range(min(_LONGEST_ESCAPE, len(data)) + 1):
            value = _loads(data[: len(data) - cut] + b'"' + end)
            if value is not None:
                return value
    value = _loads(data + end)
    return value if value is not None else _loads(data[:safe] + end)


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except ValueError:
        return None
