"""A client that did not ask for usage gets the bytes that it would have got, and the provider is asked all the same."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.tap.include_usage import UsageStrip, add_include_usage
from tests.tap.recordings import CHAT_USAGE, WORDS, chunk, padding, sse


@pytest.mark.parametrize(
    ("body", "edited"),
    [
        ('{"stream":true}', '{"stream_options":{"include_usage":true},"stream":true}'),
        (' {\n "a": 1, "stream" : true }', ' {"stream_options":{"include_usage":true},\n "a": 1, "stream" : true }'),
        ('{"stream":true,"stream_options":{}}', '{"stream":true,"stream_options":{"include_usage":true}}'),
        (
            '{"stream":true, "stream_options" : { "include_obfuscation" : false } , "n":1}',
            '{"stream":true, "stream_options" : {"include_usage":true, "include_obfuscation" : false } , "n":1}',
        ),
        ('{"stream_options":null,"stream":true}', '{"stream_options":{"include_usage":true},"stream":true}'),
        (
            '{"stream":true,"stream_options":{"include_usage": false}}',
            '{"stream":true,"stream_options":{"include_usage": true}}',
        ),
        (
            '{"stream":true,"stream_options":{"a":[{"include_usage":false}],"include_usage":null}}',
            '{"stream":true,"stream_options":{"a":[{"include_usage":false}],"include_usage":true}}',
        ),
        (
            '{"x":"}\\"{","stream":true,"stream_options":[],"stream_options":{"b":18446744073709551616}}',
            '{"x":"}\\"{","stream":true,"stream_options":[],"stream_options":{"include_usage":true,"b":18446744073709551616}}',
        ),
        (
            '{"messages":[{"stream_options":{}}],"stream":true,"stream\\u005foptions":{}}',
            '{"messages":[{"stream_options":{}}],"stream":true,"stream\\u005foptions":{"include_usage":true}}',
        ),
        (
            '{"messages":["half \\uD83D"],"stream":true}',
            '{"stream_options":{"include_usage":true},"messages":["half \\uD83D"],"stream":true}',
        ),
        (
            '{"messages":["half \\ud83d"],"stream":true,"stream_options":{"include_usage":false,"a":"\\udc00"}}',
            '{"messages":["half \\ud83d"],"stream":true,"stream_options":{"include_usage":true,"a":"\\udc00"}}',
        ),
    ],
)
def test_smallest_edit_is_made(body: str, edited: str) -> None:
    assert add_include_usage(body.encode()) == edited.encode()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "true",
        "{}",
        '{"stream":false}',
        '{"stream":1}',
        '{"stream":"true"}',
        '{"stream":true,"stream":false}',
        '{"messages":[{"stream":true}]}',
        '{"stream":true',
        '{"stream":true}}',
        '{"stream":true,"stream_options":{"include_usage":true}}',
        '{"stream":true,"stream_options":{"include_usage":false,"include_usage":true}}',
        '{"stream":true,"stream_options":{"include_usage":"yes"}}',
        '{"stream":true,"stream_options":"usage"}',
        '{"stream":true,"stream_options":[]}',
    ],
)
def test_nothing_is_edited_without_need(body: str) -> None:
    assert add_include_usage(body.encode()) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
OPTIONS = st.none() | st.fixed_dictionaries(
    {}, optional={"include_obfuscation": st.booleans(), 'q"\\': JSON, "include_usage": st.none() | st.booleans()}
)


@given(
    st.lists(st.tuples(st.text(max_size=6), JSON), max_size=4),
    st.lists(st.tuples(st.text(max_size=6), JSON), max_size=4),
    st.sampled_from(["absent", "present"]),
    OPTIONS,
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]),
    st.booleans(),
)
def test_edited_body_says_the_same_but_for_the_option(
    before: list[tuple[str, Any]],
    after: list[tuple[str, Any]],
    presence: str,
    options: dict[str, Any] | None,
    separators: tuple[str, str],
    ascii_only: bool,
) -> None:
    own = [("stream", True)] + ([("stream_options", options)] if presence == "present" else [])
    others = [(key, value) for key, value in before if key not in ("stream", "stream_options")]
    fields = dict(others + own + [(key, value) for key, value in after if key not in ("stream", "stream_options")])
    body = json.dumps(fields, separators=separators, ensure_ascii=ascii_only).encode()
    edited = add_include_usage(body)
    if (fields.get("stream_options") or {}).get("include_usage") is True:
        assert edited is None
        return
    assert edited is not None
    wanted = fields | {"stream_options": (fields.get("stream_options") or {}) | {"include_usage": True}}
    assert json.loads(edited) == wanted
    _assert_one_place_changed(body, edited)


def _assert_one_place_changed(body: bytes, edited: bytes) -> None:
    """The two are equal up to some place and from some place on, and what lies between is the option alone."""
    start = next((i for i, (a, b) in enumerate(zip(body, edited, strict=False)) if a != b), len(body))
    end = 0
    while end < len(body) - start and body[-1 - end] == edited[-1 - end]:
        end += 1
    # Common letters of false and true, or of null and an option, count as unchanged.
    assert body[start : len(body) - end] in (b"", b"null", b"fals", b"nul", b"ull")
    assert len(edited) - len(body) <= len(b'"stream_options":{"include_usage":true},')


def without_option(*, azure: bool = False) -> list[bytes]:
    """The events of a stream as a client gets them that did not ask for usage."""
    chunks: list[object] = []
    if azure:
        chunks.append({"choices": [], "model": "", "prompt_filter_results": [{"prompt_index": 0}]})
    chunks += [chunk({"role": "assistant", "content": ""}), *[chunk({"content": word}) for word in WORDS]]
    call = {"tool_calls": [{"index": 0, "function": {"arguments": '{"usage":null,"choices":[]}'}}]}
    return [sse(part) for part in (*chunks, chunk(call), chunk({}, "stop"), b"[DONE]")]


def with_option(events: list[bytes], null: bytes = b',"usage":null') -> list[bytes]:
    """The same as the provider sends it with the option."""
    asked = [event if b"[DONE]" in event else event.removesuffix(b"}\n\n") + null + b"}\n\n" for event in events]
    extra = sse(chunk({}, usage=CHAT_USAGE) | {"choices": []})
    return [*asked[:-1], extra, asked[-1]]


def strip(chunks: list[bytes], max_event: int = 1 << 20) -> bytes:
    stripping = UsageStrip(max_event)
    return b"".join([stripping.feed(part) for part in chunks] + [stripping.flush()])


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("azure", [False, True])
def test_stream_cut_at_every_byte_looks_as_if_nobody_had_asked(line_end: bytes, azure: bool) -> None:
    expected = b"".join(without_option(azure=azure)).replace(b"\n", line_end)
    body = b"".join(with_option(without_option(azure=azure))).replace(b"\n", line_end)
    assert body != expected
    for place in range(len(body)):
        assert strip([body[:place], body[place:]]) == expected
    assert strip([body[i : i + 1] for i in range(len(body))]) == expected


@pytest.mark.parametrize("null", [b', "usage": null', b',\t"usage" : null', b',"usage":null'])
def test_member_goes_with_its_comma_and_white_space(null: bytes) -> None:
    events = without_option()
    assert strip(with_option(events, null)) == b"".join(events)


def test_member_at_the_front_or_alone_goes_too() -> None:
    assert strip([b'data: {"usage":null, "id":"a"}\n\n']) == b'data: {"id":"a"}\n\n'
    assert strip([b'data: {"usage": null}\n\n']) == b"data: {}\n\n"


def test_member_goes_where_the_text_of_an_event_ends_in_half_a_character() -> None:
    halves = [rb'{"choices":[{"delta":{"content":"\ud83d"}}]', rb'{"choices":[{"delta":{"content":"\ude00"}}]']
    asked = [b"data: " + half + b',"usage":null}\n\n' for half in halves]
    assert strip(asked) == b"".join(b"data: " + half + b"}\n\n" for half in halves)


def test_usage_further_inside_stays() -> None:
    inner = b'data: {"choices":[{"usage":null}],"x":{"usage":null}%s}\n\n'
    assert strip([inner % b',"usage":null']) == inner % b""
    assert strip([inner % b""]) == inner % b""


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":1},"prompt_filter_results":[]}\n\n',
        b'data: {"choices":[],"id":"heartbeat"}\n\n',
        b'data: {"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"error":{"message":"usage"}}\n\n',
        b'data: {"usage":nul}\n\n',
        b'data: {"choices":[],\ndata: "usage":null}\n\n',
        b": OPENROUTER PROCESSING\n\n",
        b"event: x\nid: 4\n\n",
        b'anything "usage" at all\n\n',
        b"data: [DONE]\n\n",
        b"\n\n\n",
        b"",
    ],
)
def test_what_the_option_did_not_cause_passes(event: bytes) -> None:
    assert strip([event]) == event
    assert strip([event[i : i + 1] for i in range(len(event))]) == event


def test_comment_inside_a_removed_event_stays() -> None:
    body = b'data: {"choices":[],"usage":{}}\n: still here\n\ndata: [DONE]\n\n'
    assert strip([body]) == b": still here\ndata: [DONE]\n\n"


def test_bytes_are_held_back_only_while_their_event_is_incomplete() -> None:
    stripping = UsageStrip()
    assert stripping.feed(b": wait\n") == b": wait\n"
    assert stripping.feed(b"\n") == b"\n"
    assert stripping.feed(b": wa") == b""
    assert stripping.feed(b"it\r\n") == b": wait\r\n"
    assert stripping.feed(b'data: {"id":1') == b""
    assert stripping.feed(b',"usage":null}\n') == b""
    assert stripping.feed(b"\ndata: ") == b'data: {"id":1}\n\n'
    assert stripping.feed(b"[DONE]\n\n") == b"data: [DONE]\n\n"
    assert stripping.flush() == b""


def test_end_without_blank_line_is_not_lost() -> None:
    assert strip([b'data: {"id":1,"usage":null}']) == b'data: {"id":1}'
    assert strip([b'data: {"id":1,"usa']) == b'data: {"id":1,"usa'


def test_everything_passes_after_an_event_over_the_cap() -> None:
    events = without_option()
    big = b"data: " + b"x" * 3000 + b"\n\n"
    asked = b"".join(with_option(events))
    body = asked + big + asked
    for size in (1, 100, 4096, len(body)):
        chunks = [body[i : i + size] for i in range(0, len(body), size)]
        assert strip(chunks, max_event=1000) == b"".join(events) + big + asked
    assert strip([asked, big, asked], max_event=1000) == b"".join(events) + big + asked


@given(st.data())
def test_any_chunking_gives_what_the_whole_gives(data: st.DataObject) -> None:
    pieces = [
        b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b": c", b": c\n", b"data: ", b"data:", b"event: e\n", b"x",
        *with_option(without_option())[-4:], b'{"usage":null,"choices":[]}', b'{"choices":[],"usage":{"a":1}}',
    ]  # fmt: skip
    body = b"".join(data.draw(st.lists(st.sampled_from(pieces), max_size=20)))
    places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    edges = [0, *places, len(body)]
    chunks = [body[a:b] for a, b in itertools.pairwise(edges)]
    max_event = data.draw(st.sampled_from([60, 1 << 20]))
    assert strip(chunks, max_event) == strip([body], max_event)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_bytes_that_hold_no_usage_are_never_changed(chunks: list[bytes]) -> None:
    body = b"".join(chunks)
    if b'"usage"' not in body:
        assert strip(chunks) == body


def test_two_megabyte_event_passes_in_small_pieces() -> None:
    body = sse(chunk({"content": "x" * 2_000_000}))
    asked = body.removesuffix(b"}\n\n") + b',"usage":null}\n\n'
    assert strip([asked[i : i + 512] for i in range(0, len(asked), 512)], 4 << 20) == body


def test_stripped_chunks_are_still_json() -> None:
    for event in strip(with_option(without_option())).split(b"\n\n")[:-2]:
        assert "usage" not in orjson.loads(event.removeprefix(b"data: "))


def test_a_chunk_nested_without_end_passes_as_it_is() -> None:
    for nest in (b'{"a":', b"["):
        body = b'data: {"usage":' + nest * 50_000 + b'"usage"\n\n'
        assert strip([body]) == body


@given(st.randoms(use_true_random=False))
def test_no_change_of_a_stream_makes_the_edit_raise(noise: random.Random) -> None:
    body = bytearray(b"".join(with_option(without_option())))
    for _ in range(noise.randint(1, 12)):
        at = noise.randrange(len(body) + 1)
        body[at : at + noise.randint(0, 4)] = noise.choice(
            [b"", b"{", b"}", b'"', b"\\", b'"usage":', b"null", b"\xff"]
        )
    strip([bytes(body)])


@given(st.data())
def test_many_events_alike_lose_the_member_however_they_come_and_whatever_they_say(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text(max_size=6) | st.sampled_from([',"usage":null', '"usage"', "\\"]), min_size=8))
    name = data.draw(st.sampled_from(["obfuscation", "p", ""]))
    padded = [chunk({"content": text}, **({name: padding(text)} if name else {})) for text in texts]
    plain = [b"data: " + orjson.dumps(each) + b"\n\n" for each in padded]
    for at in data.draw(st.lists(st.integers(0, len(plain) - 1), max_size=2)):
        plain[at] = b"data: " + orjson.dumps(chunk({"tool_calls": [{"index": 0}]})) + b"\n\n"
    body = b"".join(with_option(plain))
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=4).map(sorted))
    assert strip([body[start:end] for start, end in itertools.pairwise([0, *cuts, len(body)])]) == b"".join(plain)
