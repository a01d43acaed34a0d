"""What a model said is read from any framing, whole, cut anywhere or not at all an answer, and never raises."""

from __future__ import annotations

import base64
import struct
from zlib import crc32

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.call import Dialect
from llmqd.messages.answer import Answer, read_answer
from llmqd.messages.eventstream import EVENTSTREAM
from llmqd.messages.message import Message, Text
from llmqd.tap.tap import Tap
from tests.fake_upstream import anthropic_answers, gemini_answers, ollama_answers, openai_answers
from tests.fake_upstream.script import Answer as Scripted
from tests.messages.answers import OPERATIONS, SSE, chat_stream, read
from tests.tap.recordings import STREAMS, WORDS, Recording, chunk, sse
from tests.tap.test_reader import HOSTILE

EVERY_STREAM = pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.name)


def answer_of(recording: Recording, raw: bytes) -> Answer | None:
    return read_answer(recording.dialect, OPERATIONS[recording.dialect], recording.content_type, raw)


def captured(recording: Recording, chunks: list[bytes]) -> bytes:
    tap = Tap(
        dialect=recording.dialect,
        content_type=recording.content_type,
        content_encoding="",
        request_bytes=1,
        capture_max=1 << 20,
    )
    for part in chunks:
        tap.feed(part)
    tap.close(complete=True)
    kept = tap.captured()
    assert kept is not None
    assert not kept.cut
    return kept.body


@EVERY_STREAM
def test_recorded_stream_is_one_message_with_its_reason_and_id(recording: Recording) -> None:
    answer = answer_of(recording, recording.body)
    assert answer is not None
    spaced = recording.dialect == "gemini"
    words = "".join(WORDS).replace('":', '": ') if spaced else "".join(WORDS)
    assert answer.message == Message("assistant", (Text(words),))
    assert (answer.finish_reason, answer.provider_id) == (
        recording.reading.finish_reason,
        recording.reading.provider_id,
    )


@EVERY_STREAM
@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_other_line_ends_give_the_same_answer(recording: Recording, line_end: bytes) -> None:
    if recording.content_type.startswith("text/event-stream"):
        body = recording.body.replace(b"\r\n", b"\n").replace(b"\n", line_end)
        assert answer_of(recording, body) == answer_of(recording, recording.body)


@EVERY_STREAM
def test_stream_cut_at_any_byte_gives_what_was_said_so_far(recording: Recording) -> None:
    whole = answer_of(recording, recording.body)
    assert whole is not None
    longest = ""
    for end in range(len(recording.body)):
        answer = answer_of(recording, recording.body[:end])
        text = answer.message.text if answer is not None else ""
        assert whole.message.text.startswith(text)
        assert len(text) >= len(longest), "what was said is not taken back"
        longest = text
    assert longest == whole.message.text


@given(st.sampled_from(STREAMS), st.lists(st.integers(1, 300), min_size=1))
def test_any_chunking_gives_the_same_answer(recording: Recording, sizes: list[int]) -> None:
    chunks: list[bytes] = []
    start = 0
    while start < len(recording.body):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(recording.body[start : start + size])
        start += size
    assert answer_of(recording, captured(recording, chunks)) == answer_of(recording, recording.body)


@EVERY_STREAM
def test_chunks_cut_at_every_byte_give_the_same_answer(recording: Recording) -> None:
    whole = answer_of(recording, recording.body)
    for place in range(0, len(recording.body), 7):
        kept = captured(recording, [recording.body[:place], recording.body[place:]])
        assert answer_of(recording, kept) == whole


@pytest.mark.parametrize(
    ("dialect", "operation", "answer"),
    [
        ("openai", "chat", openai_answers.chat()),
        ("openai", "chat", openai_answers.chat_stream(include_usage=True)),
        ("openai", "completion", openai_answers.completion()),
        ("openai", "completion", openai_answers.completion_stream()),
        ("openai", "responses", openai_answers.response()),
        ("openai", "responses", openai_answers.response_stream()),
        ("anthropic", "messages", anthropic_answers.message()),
        ("anthropic", "messages", anthropic_answers.message_stream()),
        ("gemini", "generate_content", gemini_answers.content()),
        ("gemini", "generate_content", gemini_answers.content_sse()),
        ("gemini", "generate_content", gemini_answers.content_array()),
        ("ollama", "chat", ollama_answers.chat()),
        ("ollama", "chat", ollama_answers.chat_stream()),
    ],
)
def test_canned_answers_of_every_kind_say_their_text(dialect: Dialect, operation: str, answer: Scripted) -> None:
    content_type = next(value for name, value in answer.headers if name.lower() == "content-type")
    found = read_answer(dialect, operation, content_type, answer.data)
    assert found is not None
    assert found.message.text == openai_answers.TEXT
    assert found.finish_reason is not None


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("embeddings", {"object": "list", "data": [{"embedding": [0.5]}], "model": "m"}),
        ("other", {"object": "list", "data": [{"id": "gpt-4o", "object": "model"}]}),
        ("chat", {"error": {"message": "no", "type": "server_error"}}),
        ("messages", {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}),
        ("count_tokens", {"input_tokens": 3}),
        ("transcription", {"text": "what was heard"}),
        ("other", {"models": [{"name": "llama3.2"}]}),
        ("other", [1, 2]),
        ("other", "text"),
    ],
)
def test_what_is_not_said_by_a_model_is_no_answer(operation: str, body: object) -> None:
    assert read_answer("openai", operation, "application/json", orjson.dumps(body)) is None


def test_sound_is_no_answer() -> None:
    assert read_answer("openai", "other", "audio/mpeg", b"\xff\xfb\x90\x64" * 100) is None


def test_type_of_the_content_may_be_missing_or_wrong() -> None:
    stream = chat_stream([{"content": "hello"}])
    for content_type in ("", "text/plain", "application/json"):
        assert read(stream, content_type=content_type).message.text == "hello"
        assert read(b"\xef\xbb\xbf \n" + stream, content_type=content_type).message.text == "hello"


def test_whole_body_cut_off_gives_its_beginning() -> None:
    body = orjson.dumps({"id": "c1", "choices": [{"index": 0, "message": {"content": 'It was \u00e9 dark\\ "night"'}}]})
    whole = read(body, content_type="application/json").message.text
    longest = ""
    for end in range(body.index(b"It was"), len(body)):
        answer = read_answer("openai", "chat", "application/json", body[:end])
        text = answer.message.text if answer is not None else ""
        assert whole.startswith(text)
        longest = max(longest, text, key=len)
        assert len(text) >= len(longest) - 1
    assert longest == whole


def test_further_choices_are_kept_apart_from_the_first() -> None:
    events = [chunk({}) | {"choices": [{"index": n, "delta": {"content": word}}]} for word in "abc" for n in (1, 0, 2)]
    end = chunk({}) | {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]}
    answer = read(sse(*events, end, chunk({}, "stop"), b"[DONE]"))
    assert answer.message.text == "abc"
    assert [other.text for other in answer.others] == ["abc", "abc"]
    assert answer.finish_reason == "stop"


def test_comments_and_unknown_events_between_change_nothing() -> None:
    deltas = [{"content": f"word{number} "} for number in range(40)]
    stream = chat_stream(deltas)
    events = stream.split(b"\n\n")
    noisy = b"\n\n: keep-alive\n\n".join(events).replace(b"word7 ", b"word7 ", 1)
    odd = b'\n\nevent: ping\ndata: {"type": "ping"}\n\ndata: nonsense\n\n\n'.join(events)
    assert read(noisy) == read(odd) == read(stream)


def test_error_inside_a_stream_leaves_what_was_said() -> None:
    stream = sse(chunk({"content": "so far"}), {"error": {"message": "boom", "type": "server_error"}})
    answer = read(stream)
    assert answer.message.text == "so far"
    assert answer.finish_reason is None


def test_halves_of_a_surrogate_pair_in_two_events_meet() -> None:
    stream = chat_stream([{"content": "x"}] * 2)
    events = stream.split(b"\n\n")
    events[1] = events[1].replace(b'"x"', b'"\\ud83d"')
    events[2] = events[2].replace(b'"x"', b'"\\ude00"')
    assert read(b"\n\n".join(events)).message.text == "\U0001f600"


def test_lone_half_of_a_surrogate_pair_is_replaced_so_that_the_text_can_be_written() -> None:
    raw = b'{"choices":[{"message":{"content":"a\\ud83db","tool_calls":[{"id":"\\ud800","function":{"name":"f",'
    raw += b'"arguments":"\\udfff"}}]}}]}'
    answer = read(raw, content_type="application/json")
    assert answer.message.text == "a\ufffdb"
    orjson.dumps([answer.message.parts[1].name, answer.message.parts[1].id])  # type: ignore[union-attr]


def frame(kind: str, payload: bytes) -> bytes:
    name = b":event-type"
    headers = bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(kind)) + kind.encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    framed = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return framed + struct.pack(">I", crc32(framed))


def test_vendor_events_in_frames_of_bedrock_are_read() -> None:
    deltas = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": w}} for w in WORDS]
    payloads = [orjson.dumps({"bytes": base64.b64encode(orjson.dumps(delta)).decode()}) for delta in deltas]
    raw = b"".join(frame("chunk", payload) for payload in [*payloads, b'{"bytes":"!"}', b"{}"])
    answer = read(raw, dialect="anthropic", operation="other", content_type=EVENTSTREAM)
    assert answer.message.text == "".join(WORDS)


@settings(max_examples=300)
@given(
    st.sampled_from(list(OPERATIONS)),
    st.sampled_from([SSE, "application/json", "application/x-ndjson", EVENTSTREAM, ""]),
    st.lists(HOSTILE, max_size=6),
    st.sampled_from([b"data: %b\n\n", b"%b\n", b"[%b]", b"%b"]),
)
def test_no_json_makes_the_reading_raise(
    dialect: Dialect, content_type: str, values: list[object], form: bytes
) -> None:
    raw = b"".join(form % orjson.dumps(value, default=str) for value in map(_writable, values))
    answer = read_answer(dialect, "other", content_type, raw)
    if answer is not None:
        orjson.dumps(answer.message.text)


def _writable(value: object) -> object:
    """Numbers that orjson does not write, as text."""
    if isinstance(value, dict):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_writable(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) >= 2**63 else value


@given(st.binary(max_size=300), st.sampled_from([SSE, "application/json", EVENTSTREAM, ""]), st.booleans())
def test_no_bytes_make_the_reading_raise(raw: bytes, content_type: str, begun: bool) -> None:
    start = chat_stream([{"content": "a"}] * 10, None) if begun else b""
    read_answer("openai", "chat", content_type, start + raw)
    read_answer("openai", "chat", "application/json", b'{"choices":[{"message":' + raw)


def test_deep_nesting_is_passed_over() -> None:
    for raw in (b"[" * 200_000, b'{"choices":' * 100_000, b'data: {"a":' + b"[" * 100_000 + b"\n\n"):
        assert read_answer("openai", "chat", "", raw) is None
