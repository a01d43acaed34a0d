"""Messages come out whole, however the bytes are cut, and one that is too large does not spoil the next."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.tap.sse import ArraySplitter, Event, LineSplitter, Splitter, SseSplitter

LIMIT = 1 << 20


def split(splitter: Splitter, chunks: list[bytes]) -> list[Event]:
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return events + splitter.flush()


def cut(body: bytes, *places: int) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


PLAIN = (
    b"data: one\n\n: comment\n\nevent: x\ndata: two\ndata:three\nid: 7\n\n"
    b"data\n\nretry: 3\n\n\ndata:  four \n\ndataset: no\n\n"
)
EVENTS = [(b"", b"one"), (b"x", b"two\nthree"), (b"", b""), (b"", b" four ")]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_line_split_at_every_byte_gives_the_same_events(line_end: bytes, bom: bytes) -> None:
    body = bom + PLAIN.replace(b"\n", line_end)
    assert split(SseSplitter(LIMIT), [body]) == EVENTS
    assert split(SseSplitter(LIMIT), [body[i : i + 1] for i in range(len(body))]) == EVENTS
    for place in range(len(body)):
        assert split(SseSplitter(LIMIT), cut(body, place)) == EVENTS


def test_whole_events_are_given_as_soon_as_their_blank_line_is_there() -> None:
    splitter = SseSplitter(LIMIT)
    assert splitter.feed(b"data: a\n") == []
    assert splitter.feed(b"\n") == [(b"", b"a")]
    assert splitter.feed(b"data: b\n\n") == [(b"", b"b")]
    assert splitter.feed(b"event: n\ndata: c\n\ndata: d\n\n") == [(b"n", b"c"), (b"", b"d")]
    assert splitter.feed(b"data: e\r\n\r\n") == [(b"", b"e")]


def test_last_event_without_blank_line_comes_at_the_end() -> None:
    splitter = SseSplitter(LIMIT)
    assert splitter.feed(b"data: a\n\ndata: b") == [(b"", b"a")]
    assert splitter.flush() == [(b"", b"b")]
    assert splitter.flush() == []


def test_name_without_data_is_no_event_and_does_not_stick() -> None:
    assert split(SseSplitter(LIMIT), [b"event: x\n\ndata: a\n\n"]) == [(b"", b"a")]


@given(st.data(), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_chunking_of_any_bytes_gives_the_same_events(data: st.DataObject, line_end: bytes) -> None:
    pieces = st.sampled_from(
        [b"data: ", b"data:", b"event: n", b"\n", b"\n\n", b": c", b"x" * 30, b"\xff", b" ", b"id: 1"]
    )
    body = b"".join(data.draw(st.lists(pieces, max_size=30))).replace(b"\n", line_end)
    places = data.draw(st.lists(st.integers(0, 2000), max_size=10))
    whole, parts = SseSplitter(60), SseSplitter(60)
    assert split(whole, [body]) == split(parts, cut(body, *places))
    assert whole.overflowed == parts.overflowed


@given(
    st.lists(st.binary(min_size=1).filter(lambda b: not set(b) & {10, 13})), st.lists(st.integers(0, 500), max_size=8)
)
def test_what_was_put_into_events_comes_out(payloads: list[bytes], places: list[int]) -> None:
    body = b"".join(b"data: " + payload + b"\n\n" for payload in payloads)
    assert split(SseSplitter(LIMIT), cut(body, *places)) == [(b"", payload) for payload in payloads]


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_too_large_event_is_skipped_and_the_next_one_found(size: int) -> None:
    body = b"data: a\n\ndata: " + b"x" * 5000 + b"\ndata: more\n\nevent: n\ndata: b\n\n"
    splitter = SseSplitter(1000)
    assert split(splitter, [body[i : i + size] for i in range(0, len(body), size)]) == [(b"", b"a"), (b"n", b"b")]
    assert splitter.overflowed == 1


def test_many_short_lines_of_one_event_count_together() -> None:
    splitter = SseSplitter(100)
    assert split(splitter, [b"data: 0123456789\n"] * 20 + [b"\ndata: b\n\n"]) == [(b"", b"b")]
    assert splitter.overflowed == 1


@pytest.mark.parametrize(
    ("splitter_class", "start"),
    [(SseSplitter, b'data: {"a":"'), (LineSplitter, b'{"a":"'), (ArraySplitter, b'[{"a":"')],
)
def test_two_megabytes_in_small_pieces_cost_linear_time(
    splitter_class: Callable[[int], Splitter], start: bytes
) -> None:
    splitter = splitter_class(4 << 20)
    splitter.feed(start)
    started = time.perf_counter()
    for _ in range(20_000):
        splitter.feed(b"x" * 100)
    # Copying what was held for each piece would move 20 GB.
    assert time.perf_counter() - started < 2
    events = splitter.feed(b'"}\n\n]') or splitter.flush()
    assert [len(data) for _, data in events] == [2_000_008]


def test_lines_split_at_every_byte_give_the_same_objects() -> None:
    body = b'{"a":1}\n\r\n{"b":"\\n"}\r\n {"c":3}'
    expected = [(b"", b'{"a":1}'), (b"", b'{"b":"\\n"}'), (b"", b'{"c":3}')]
    for place in range(len(body)):
        assert split(LineSplitter(LIMIT), cut(body, place)) == expected


def test_too_large_line_is_skipped_and_the_next_one_found() -> None:
    splitter = LineSplitter(20)
    assert split(splitter, [b'{"a":1}\n{"b":"' + b"x" * 9, b"x" * 9 + b'"}\n{"c', b'":3}\n']) == [
        (b"", b'{"a":1}'),
        (b"", b'{"c":3}'),
    ]
    assert splitter.overflowed == 1


JSON_OBJECTS = st.lists(
    st.dictionaries(
        st.text(max_size=4),
        st.recursive(
            st.text() | st.none() | st.integers(0, 9),
            lambda c: st.lists(c) | st.dictionaries(st.text(max_size=3), c),
            max_leaves=6,
        ),
    ),
    max_size=4,
)


@given(JSON_OBJECTS, st.lists(st.integers(0, 1000), max_size=10), st.sampled_from([b",", b",\r\n", b"\n, \n"]))
def test_objects_of_an_array_come_out_at_any_chunking(objects: list[object], places: list[int], comma: bytes) -> None:
    body = b" [" + comma.join(orjson.dumps(item) for item in objects) + b"]\n"
    events = split(ArraySplitter(LIMIT), cut(body, *places))
    assert [orjson.loads(data) for _, data in events] == objects


def test_array_cut_inside_an_escape_is_still_understood() -> None:
    body = b'[{"a":"\\"}\\\\"},{"b":["{"]}]'
    expected = [(b"", b'{"a":"\\"}\\\\"}'), (b"", b'{"b":["{"]}')]
    for place in range(len(body)):
        assert split(ArraySplitter(LIMIT), cut(body, place)) == expected
    assert split(ArraySplitter(LIMIT), [body[i : i + 1] for i in range(len(body))]) == expected


def test_single_object_instead_of_an_array_is_one_event() -> None:
    assert split(ArraySplitter(LIMIT), [b'{"error":{"code":503}}']) == [(b"", b'{"error":{"code":503}}')]


def test_too_large_object_of_an_array_is_skipped_and_the_next_one_found() -> None:
    splitter = ArraySplitter(30)
    assert split(splitter, [b'[{"a":"' + b"x" * 99, b'"},{"b":2}]']) == [(b"", b'{"b":2}')]
    assert splitter.overflowed == 1


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_no_bytes_make_a_splitter_raise(chunks: list[bytes]) -> None:
    for splitter in (SseSplitter(30), LineSplitter(30), ArraySplitter(30)):
        split(splitter, chunks)
