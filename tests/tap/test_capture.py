"""The beginning of an answer is kept up to its limit, says whether there was more, and is given away once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmqd.tap.capture import Capture, Captured


@given(st.lists(st.binary(max_size=20)), st.integers(0, 100))
def test_first_bytes_are_kept_and_the_rest_is_told(pieces: list[bytes], limit: int) -> None:
    capture = Capture(limit)
    for piece in pieces:
        capture.add(piece)
    whole = b"".join(pieces)
    assert capture.take() == Captured(whole[:limit], len(whole) > limit)


def test_what_was_taken_is_not_kept() -> None:
    capture = Capture(10)
    capture.add(b"abc")
    capture.take()
    capture.add(b"def")
    assert capture.take().body == b""
