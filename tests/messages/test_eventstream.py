"""AWS frames are read while they are whole and unbroken, and no further."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.messages.eventstream import frames
from tests.messages.test_answer import frame

RAW = frame("chunk", b"{}") + frame("metadata", b"[1]")


def test_frames_are_read_in_order() -> None:
    assert [*frames(RAW)] == [("chunk", b"{}"), ("metadata", b"[1]")]


@pytest.mark.parametrize("end", range(len(RAW)))
def test_frame_that_is_cut_off_ends_the_reading(end: int) -> None:
    whole = len(frame("chunk", b"{}"))
    assert [*frames(RAW[:end])] == ([("chunk", b"{}")] if end >= whole else [])


def test_broken_prelude_ends_the_reading() -> None:
    assert [*frames(b"\xff" + RAW[1:])] == []


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reading_raise_or_hang(data: bytes) -> None:
    assert len([*frames(data)]) <= len(data)
    assert [*frames(RAW + data)][:2] == [*frames(RAW)]


@given(st.binary(max_size=40))
def test_odd_headers_have_no_type(headers: bytes) -> None:
    prelude = struct.pack(">II", 16 + len(headers), len(headers))
    raw = prelude + struct.pack(">I", crc32(prelude)) + headers + b"\0\0\0\0"
    assert len([*frames(raw)]) == 1
