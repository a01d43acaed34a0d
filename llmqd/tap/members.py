"""Finds the members of a JSON object in its bytes, so that one can be replaced while all others stay as they are."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import orjson

from llmqd.messages.lenient_json import STRING_BODY

_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])

_SPACE = rb"[ \t\r\n]*+"
_STRING = rb'"' + STRING_BODY + rb'"'
_KEY = re.compile(_SPACE + rb"(" + _STRING + rb")" + _SPACE + rb":" + _SPACE, re.DOTALL)
_SCALAR = re.compile(_STRING + rb'|[^ \t\r\n,{}\[\]":]++', re.DOTALL)
_NESTED = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_SPACES = re.compile(_SPACE)
_COMPARED = 1024 * 1024

Bytes = bytes | mmap.mmap
Lengths = Mapping[str, msgspec.Raw]

_UNKNOWN: Lengths = MappingProxyType({})


class Member(NamedTuple):
    """Where a member of an object stands: the key from `start`, the value from `value` to before `end`."""

    key: str
    start: int
    value: int
    end: int


def raw_members(data: Bytes) -> dict[str, msgspec.Raw] | None:
    """The values of a JSON object by key, unread; of a key that stands twice the last. None where `data` is no object.

    The values are windows on `data`: while one lives, a mapped file cannot be closed.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def last_member(data: Bytes, key: str, at: int = 0) -> Member | None:
    """The last member of that name in the object that begins at or, after white space, behind `at`: the one that counts
    (ECMA-262, JSON.parse; RFC 8259 §4 leaves it open). The object must be valid JSON. None when it has none.
    """
    values = raw_members(data) if at == 0 else None
    return next((one for one in reversed([*_scan(data, at, values or _UNKNOWN)]) if one.key == key), None)


def _scan(data: Bytes, at: int, values: Lengths) -> Iterator[Member]:
    """The members of an object. `values` spares a search for the ends of those that it holds."""
    position = data.find(b"{", at) + 1
    while found := _KEY.match(data, position):
        key = orjson.loads(found.group(1))
        end = _known_end(data, found.end(), values.get(key)) or _value_end(data, found.end())
        yield Member(key, found.start(1), found.end(), end)
        position = _skip_space(data, end) + 1


def _known_end(data: Bytes, start: int, value: msgspec.Raw | None) -> int | None:
    """Where the value that begins at `start` ends, if it is this one and not that of an earlier member of its name."""
    if value is None:
        return None
    with memoryview(value) as expected:
        end = start + len(expected)
        if data[end : end + 1] not in (b" ", b"\t", b"\r", b"\n", b",", b"}"):
            return None
        for offset in range(0, len(expected), _COMPARED):
            piece = expected[offset : offset + _COMPARED]
            if data[start + offset : start + offset + len(piece)] != piece.tobytes():
                return None
    return end


def _skip_space(data: Bytes, position: int) -> int:
    found = _SPACES.match(data, position)
    return found.end() if found else position


def _value_end(data: Bytes, start: int) -> int:
    if scalar := _SCALAR.match(data, start):
        return scalar.end()
    depth = 0
    for found in _NESTED.finditer(data, start):
        mark = found.group()
        depth += (mark in (b"{", b"[")) - (mark in (b"}", b"]"))
        if depth == 0:
            return found.end()
    return len(data)
