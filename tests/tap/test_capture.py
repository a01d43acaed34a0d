"""The beginning of an answer is kept up to its limit, says whether there was more, and is given away once."""

from __future__ import annotations

import gc
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from llmqd.tap.capture import Capture, Captured


@given(st.lists(st.binary(max_size=20)), st.integers(0, 100))
def test_first_bytes_are_kept_and_the_rest_is_told(pieces: list[bytes], limit: int) -> None:
    capture = Capture(limit)
    for piece in pieces:
        capture.add(piece)
    whole = b"".join(pieces)
    assert capture.take(None) == Captured(whole[:limit], len(whole) > limit)


def test_a_stream_that_trickles_is_packed_while_it_grows() -> None:
    event = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":" word %d"}}]}\n\n'
    events = [event % number for number in range(1000)]
    gc.collect()
    tracemalloc.start()
    try:
        capture = Capture(1 << 20)
        for number in range(1000):
            capture.add(event % number)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    whole = b"".join(events)
    assert held < len(whole) / 3
    assert capture.take(None) == Captured(whole, cut=False)


@given(st.lists(st.integers(0, 5000)), st.integers(0, 60_000))
def test_packing_changes_nothing(sizes: list[int], limit: int) -> None:
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    capture = Capture(limit)
    for piece in pieces:
        capture.add(piece)
    whole = b"".join(pieces)
    assert capture.take(None) == Captured(whole[:limit], len(whole) > limit)


def test_what_was_taken_is_not_kept() -> None:
    capture = Capture(10)
    capture.add(b"abc")
    capture.take(None)
    capture.add(b"def")
    assert capture.take(None).body == b""
