from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.chunked import Chunks


def framed(pieces: list[bytes], *, line: bytes = b"\r\n", extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """A body of these chunks."""
    return b"".join(b"%x%b%b%b%b" % (len(piece), extension, line, piece, line) for piece in pieces) + b"0%b%b%b%b" % (
        extension,
        line,
        trailers,
        line,
    )


def fed(chunks: Chunks, pieces: list[bytes]) -> bytes:
    return b"".join(chunks.feed(piece) for piece in pieces)


BODY = [b"data: {}\n\n", b"x" * 300, b"\r\n0\r\n\r\n", b"5\r\n"]


@pytest.mark.parametrize("line", [b"\r\n", b"\n"])
@pytest.mark.parametrize("extension", [b"", b";name=value", b' ; a;b="c"'])
@pytest.mark.parametrize("trailers", [b"", b"X-Sum: 1\r\n", b"A: 1\r\nB: 2\r\n"])
def test_a_body_cut_at_any_byte_is_the_same_and_ends_where_it_ends(
    line: bytes, extension: bytes, trailers: bytes
) -> None:
    wire = framed(BODY, line=line, extension=extension, trailers=trailers)
    for cut in range(len(wire) + 1):
        chunks = Chunks()
        assert fed(chunks, [wire[:cut], wire[cut:]]) == b"".join(BODY)
        assert (chunks.ended, chunks.rest) == (True, b"")


def test_byte_for_byte_nothing_is_ended_before_the_last() -> None:
    wire, chunks, found = framed(BODY, trailers=b"X: y\r\n"), Chunks(), b""
    for number in range(len(wire)):
        assert not chunks.ended
        found += chunks.feed(wire[number : number + 1])
    assert chunks.ended
    assert found == b"".join(BODY)


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(0, 400)), st.binary(max_size=8))
def test_any_body_in_any_pieces(body: list[bytes], cuts: list[int], behind: bytes) -> None:
    wire = framed(body) + behind
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    chunks, found, rest = Chunks(), b"", b""
    for start, stop in itertools.pairwise(places):
        if chunks.ended:
            rest += wire[start:stop]
        else:
            found += chunks.feed(wire[start:stop])
    assert found == b"".join(body)
    assert chunks.ended
    assert chunks.rest + rest == behind


@pytest.mark.parametrize(
    "wire",
    [
        b"x\r\n",
        b"\r\n5\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"1_0\r\n",
        b"5\r\nhelloworld\r\n",
        b"5\r\nhello5\r\n",
        b"5\r\nhello\r\n5 5\r\nhello\r\n",
        b"f" * 16 + b"\r\n",
        b"5\r\nhello\r\n" + b"1" * 20_000,
        b"0\r\n" + b"a" * 20_000,
    ],
)
def test_what_is_no_chunk_is_refused_however_it_comes(wire: bytes) -> None:
    with pytest.raises(ValueError, match="chunk"):
        Chunks().feed(wire)
    with pytest.raises(ValueError, match="chunk"):
        fed(Chunks(), [wire[number : number + 1] for number in range(len(wire))])


@given(
    st.lists(
        st.one_of(st.binary(min_size=1, max_size=900), st.sampled_from([b"a\r\nb" * 40, b"0\r\n\r\n", b"x" * 5000]))
    ),
    st.lists(st.integers(0, 20_000), max_size=4),
    st.sampled_from([b"", b";x=y"]),
    st.sampled_from([b"", b"X: y\r\n"]),
)
def test_many_chunks_at_once_are_taken_as_each_by_itself(
    body: list[bytes], cuts: list[int], extension: bytes, trailers: bytes
) -> None:
    wire = framed(body, extension=extension, trailers=trailers)
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    chunks = Chunks()
    assert fed(chunks, [wire[start:stop] for start, stop in itertools.pairwise(places)]) == b"".join(body)
    assert (chunks.ended, chunks.rest) == (True, b"")


def test_many_chunks_with_one_that_is_none_are_refused() -> None:
    good = framed([b"x" * 100] * 60)[:-5]
    assert Chunks().feed(good) == b"x" * 6000
    for wrong in (b"64\r\n" + b"x" * 101 + b"\r\n", b"6 4\r\n", b"-1\r\n"):
        with pytest.raises(ValueError, match="chunk"):
            Chunks().feed(good + wrong + good)
