"""Stretches of a body are replaced, in memory and in a file, and nothing else is touched."""

from __future__ import annotations

from tempfile import TemporaryFile

from hypothesis import given
from hypothesis import strategies as st

from llmqd.web.body import Body
from llmqd.web.splice import Splice, spliced, spliced_size

CUTS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5), st.binary(max_size=6)), max_size=4)


def splices(cuts: list[tuple[int, int, bytes]], size: int) -> list[Splice]:
    made: list[Splice] = []
    for start, length, data in sorted(cuts):
        begin = max(min(start, size), made[-1].end if made else 0)
        made.append(Splice(begin, min(begin + length, size), data))
    return made


@given(st.binary(max_size=40), CUTS)
def test_what_is_left_and_what_is_new_stand_in_their_order(data: bytes, cuts: list[tuple[int, int, bytes]]) -> None:
    wanted = splices(cuts, len(data))
    expected = data
    for splice in reversed(wanted):
        expected = expected[: splice.start] + splice.data + expected[splice.end :]
    assert spliced(data, wanted) == expected
    assert spliced_size(len(data), wanted) == len(expected)


def test_without_a_splice_a_body_is_the_same_object() -> None:
    data = b"x" * 1000
    assert spliced(data, ()) is data


async def test_a_spooled_body_is_spliced_piece_by_piece_as_often_as_needed() -> None:
    data = bytes(range(256)) * 4096
    wanted = [Splice(3, 10, b"one"), Splice(300_000, 300_000, b"two"), Splice(len(data) - 1, len(data), b"three")]
    spool = TemporaryFile()  # noqa: SIM115 (owned by the Body)
    spool.write(data)
    with Body(None, spool, len(data)) as body:
        for _ in range(2):
            pieces = [piece async for piece in body.with_splices(wanted)]
            assert b"".join(pieces) == spliced(data, wanted)
            assert max(map(len, pieces)) <= 256 * 1024
