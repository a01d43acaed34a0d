"""Events that differ in nothing but their text are told from all others, however many come at once."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.call import Dialect
from llmqd.messages.answer import read_answer
from llmqd.tap.alike import Alike
from llmqd.tap.sse import SseSplitter
from llmqd.tap.tap import Tap
from tests.tap.recordings import STREAMS, Recording, chunk, sse

DATA = b'{"id":"1","delta":{"content":" word"},"usage":null}'
START = DATA.find(b" word")


def event(text: str) -> bytes:
    return b'data: {"id":"1","delta":{"content":%b},"usage":null}\n\n' % json.dumps(text).encode()


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_events_alike_are_passed_over_whole_and_their_text_is_measured(texts: list[str]) -> None:
    events = b"".join(map(event, texts))
    written = "".join(json.dumps(text)[1:-1] for text in texts).encode()
    alike = Alike(b"", DATA, START, START + 5)
    assert alike.run(events) == (len(events), written)
    assert alike.saying(written) == event("".join(texts))


@pytest.mark.parametrize(
    "behind",
    [
        b"data: [DONE]\n\n",
        b': "comment"\n\n',
        b'data: {"id":"1","usage":{"output":3}}\n\n',
        b'data: {"id":"1","delta":{"content":" wo',
        b"data",
        b"\n",
        b"",
    ],
)
def test_what_stands_behind_them_is_left(behind: bytes) -> None:
    events = event("one") + event("two")
    assert Alike(b"", DATA, START, START + 5).run(events + behind) == (len(events), b"onetwo")


@pytest.mark.parametrize(
    "other",
    [
        b'data: {"id":"1","delta":{"content":"a","tool_calls":[]},"usage":null}\n\n',
        b'data: {"id":"1","delta":{"content":"a"},"usage":{"output":3}}\n\n',
        b'data: {"id":"1","delta":{"content":"},"usage":null}\n\n',
        b'event: error\ndata: {"id":"1","delta":{"content":"a"},"usage":null}\n\n',
        b": ping\n\n",
        b"data: [DONE]\n\n",
        b"\n\n",
    ],
)
def test_where_others_stand_between_them_all_are_looked_at(other: bytes) -> None:
    assert Alike(b"", DATA, START, START + 5).run(event("one") + other + event("two")) == (0, b"")
    assert Alike(b"", DATA, START, START + 5).run(other) == (0, b"")


def test_where_a_text_goes_on_behind_its_quote_all_are_looked_at() -> None:
    open_end = event("a").replace(b'"a"', b'"a\\"')
    assert Alike(b"", DATA, START, START + 5).run(open_end + event("n")) == (0, b"")


def padded(text: str, number: int, padding: str) -> bytes:
    fields = {"sequence_number": number, "delta": text, "logprobs": [], "obfuscation": padding}
    return b"event: delta\ndata: " + orjson.dumps(fields) + b"\n\n"


PADDED = padded(" word", 7, "aB3")[len("event: delta\ndata: ") : -2]
PADDING = st.text("aZ09", max_size=9)
SAYINGS = st.text(max_size=8) | st.sampled_from(['"obfuscation":"ab"', '"sequence_number":12', "\\"])


@given(st.lists(st.tuples(SAYINGS, st.integers(0, 10**9), PADDING), min_size=1, max_size=5), st.data())
def test_padding_and_numbers_are_no_difference(events: list[tuple[str, int, str]], data: st.DataObject) -> None:
    start = PADDED.find(b" word")
    alike = Alike(b"delta", PADDED, start, start + 5)
    body = b"".join(padded(*each) for each in events)
    written = b"".join(orjson.dumps(text)[1:-1] for text, _, _ in events)
    assert alike.run(body) == (len(body), written)
    assert alike.saying(written) == padded("".join(text for text, _, _ in events), 0, "")
    begun = data.draw(st.integers(0, len(PADDED) - 1))
    assert alike.run(body + b"event: delta\ndata: " + PADDED[:begun]) == (len(body), written)
    assert alike.run(body + PADDED.replace(b"[]", b"[{}]")) == (len(body), written)
    other = b"event: delta\ndata: " + PADDED.replace(b"[]", b"[{}]") + b"\n\n"
    assert alike.run(body + other + padded("x", 1, "")) == (0, b"")


@pytest.mark.parametrize("other", [b'"obfuscation":"a\\"b"', b'"obfuscation":null', b'"obfuscation":"a","usage":{}'])
def test_what_is_no_padding_is_a_difference(other: bytes) -> None:
    start = PADDED.find(b" word")
    alike = Alike(b"delta", PADDED, start, start + 5)
    assert alike.run(padded("a", 1, "a").replace(b'"obfuscation":"a"', other)) == (0, b"")


def test_the_name_of_an_event_belongs_to_it() -> None:
    named = b"event: delta\n" + event("one")
    assert Alike(b"delta", DATA, START, START + 5).run(named + named) == (2 * len(named), b"oneone")
    assert Alike(b"delta", DATA, START, START + 5).run(event("one")) == (0, b"")
    assert Alike(b"", DATA, START, START + 5).run(named) == (0, b"")


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.name)
@given(data=st.data())
def test_a_stream_says_the_same_however_its_events_come_together(recording: Recording, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(recording.body)), max_size=6).map(sorted))
    assert said(recording.dialect, recording.content_type, recording.body, cuts) == recording.reading


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.name)
@given(data=st.data())
def test_what_is_kept_of_a_stream_says_the_same_however_its_events_come_together(
    recording: Recording, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(recording.body)), max_size=6).map(sorted))
    tap = Tap(
        dialect=recording.dialect,
        content_type=recording.content_type,
        content_encoding="",
        request_bytes=400,
        capture_max=10**6,
    )
    for start, end in zip([0, *cuts], [*cuts, len(recording.body)], strict=True):
        tap.feed(recording.body[start:end])
    kept = tap.captured()
    assert kept is not None
    read = (recording.dialect, "other", recording.content_type)
    assert read_answer(*read, kept.body) == read_answer(*read, recording.body)


@pytest.mark.parametrize("words", [["a", " b", "c\n", '"', "\\", "\U0001f600"] * 30, [""] * 50, ["\\"] * 50])
def test_of_many_events_alike_one_is_kept_that_says_it_all(words: list[str]) -> None:
    tap = Tap(
        dialect="openai", content_type="text/event-stream", content_encoding="", request_bytes=9, capture_max=10**6
    )
    body = sse(*(orjson.dumps(chunk({"content": word})) for word in words), b"[DONE]")
    tap.feed(body)
    kept = tap.captured()
    assert kept is not None
    answer = read_answer("openai", "chat", "text/event-stream", kept.body)
    assert answer == read_answer("openai", "chat", "text/event-stream", body)
    if "a" in words:
        assert len(kept.body) < len(body) / 5


TEXTS = st.sampled_from([{"content": "a"}, {"content": "b c"}, {"role": "assistant", "content": ""}])
OTHERS = st.sampled_from([{"reasoning_content": "d"}, {"tool_calls": [{"function": {"name": "f"}}]}, {}])


@given(st.lists(TEXTS | OTHERS, max_size=20), st.data())
def test_the_text_of_a_cut_stream_is_the_same_however_it_comes(deltas: list[object], data: st.DataObject) -> None:
    body = sse(*map(chunk, deltas), orjson.dumps(chunk({"content": "end"})))
    events = [each + b"\n\n" for each in body.split(b"\n\n")[:-1]]
    ends = [sum(map(len, events[:number])) for number in range(len(events))]
    cuts = data.draw(st.lists(st.sampled_from(ends), max_size=6).map(sorted))
    assert said("openai", "text/event-stream", body, cuts, complete=False) == said(
        "openai", "text/event-stream", body, ends, complete=False
    )


def said(dialect: Dialect, content_type: str, body: bytes, cuts: list[int], *, complete: bool = True) -> object:
    tap = Tap(dialect=dialect, content_type=content_type, content_encoding="", request_bytes=400)
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        tap.feed(body[start:end])
    return tap.close(complete=complete)


@pytest.mark.parametrize(
    ("fed", "between"),
    [(b"", False), (event("one"), True), (event("one") + b"data: {", False), (event("one") + b"data: {}\r\n\r", False)],
)
def test_a_splitter_knows_whether_it_stands_between_events(fed: bytes, between: bool) -> None:
    splitter = SseSplitter(1000)
    splitter.feed(fed)
    assert splitter.between_events is between
