"""What a terminal sends, as keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.cli.keyboard import split_keys


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOBp", ["up", "down", "p"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[15~x", ["x"]),
        (b"\x1b[1;5Cy", ["y"]),
        (b"\t\x1b[Z\r", ["tab", "backtab", "enter"]),
    ],
)
def test_keys(data: bytes, keys: list[str]) -> None:
    assert split_keys(data) == keys


@given(st.binary(max_size=40))
def test_anything_ends(data: bytes) -> None:
    assert len(split_keys(data)) <= len(data)
