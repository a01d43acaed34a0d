"""Trace context (w3.org/TR/trace-context): which trace a call belongs to, and what it says of that upstream."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_LONGEST_STATE = 512
"""Characters of `tracestate` that have to be passed on (section 3.3.1.5); of a longer one none are."""
_SAMPLED = 0x01

Bits = Callable[[int], int]
"""Gives a whole number of so many random bits."""


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """A call's place in a trace: the ids of the trace, of its own span, and of its caller's (None: it has none).

    They are in hexadecimal, 32 and 16 digits.
    """

    trace_id: str
    span_id: str
    parent_id: str | None = None
    state: str = ""

    @property
    def parent(self) -> str:
        """As `traceparent`: for whom this call is the parent."""
        return f"00-{self.trace_id}-{self.span_id}-01"


def trace_of(parent: str | None, state: str, share: float, bits: Bits) -> TraceContext | None:
    """The place of a call whose client sent these headers; None where it is not to be traced.

    A client that traces decides by itself; of the other calls a `share` from 0 to 1 is traced. A `traceparent` that
    cannot be read counts as none, as section 4.3 says.
    """
    found = None if parent is None else _PARENT.fullmatch(parent.strip())
    if found is not None and _is_valid(found):
        if not int(found[4], 16) & _SAMPLED:
            return None
        kept = state if len(state) <= _LONGEST_STATE else ""
        return TraceContext(found[2], _drawn(64, bits), found[3], kept)
    if share < 1.0 and bits(53) >= share * 2**53:
        return None
    return TraceContext(_drawn(128, bits), _drawn(64, bits))


def _is_valid(found: re.Match[str]) -> bool:
    version, trace_id, span_id, more = found[1], found[2], found[3], found[5]
    if version == "ff" or (version == "00" and more is not None):
        return False
    return bool(int(trace_id, 16) and int(span_id, 16))


def _drawn(size: int, bits: Bits) -> str:
    """An id; none is zero."""
    return f"{bits(size) or 1:0{size // 4}x}"
