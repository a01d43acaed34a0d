"""What a call consumed is read from its passing bytes: exact where reported, estimated where cut, else unknown."""

from __future__ import annotations

import gzip
from random import Random
from typing import Any

import brotli  # type: ignore[import-untyped]
import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from llmqd.call import Dialect
from llmqd.messages.answer import read_answer
from llmqd.messages.eventstream import EVENTSTREAM
from llmqd.providers.plain_chat import plain_chat
from llmqd.tap.capture import Captured
from llmqd.tap.tap import Reading, Tap
from llmqd.usage import Usage
from tests.tap.recordings import (
    ANTHROPIC,
    ANTHROPIC_START,
    CHAT_USAGE,
    GEMINI_SSE,
    OPENAI_CHAT,
    STREAMS,
    WORDS,
    Recording,
    chunk,
    gemini_chunk,
    sse,
)

EVERY_STREAM = pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.name)


def read(
    body: bytes,
    *,
    dialect: Dialect = "openai",
    content_type: str = "application/json",
    encoding: str = "",
    complete: bool = True,
    size: int = 0,
    request_bytes: int = 400,
    max_body: int = 8 << 20,
    max_event: int = 4 << 20,
) -> Reading:
    tap = Tap(
        dialect=dialect,
        content_type=content_type,
        content_encoding=encoding,
        request_bytes=request_bytes,
        max_body=max_body,
        max_event=max_event,
    )
    for start in range(0, len(body), size or len(body) or 1):
        tap.feed(body[start : start + (size or len(body))])
    return tap.close(complete=complete)


def play(recording: Recording, chunks: list[bytes], encoding: str = "") -> tuple[Reading, bool]:
    tap = Tap(
        dialect=recording.dialect, content_type=recording.content_type, content_encoding=encoding, request_bytes=400
    )
    for part in chunks:
        tap.feed(part)
    finished = tap.finished
    return tap.close(complete=True), finished


@EVERY_STREAM
def test_stream_cut_into_two_chunks_at_every_byte_gives_the_same_reading(recording: Recording) -> None:
    for place in range(len(recording.body)):
        chunks = [recording.body[:place], recording.body[place:]]
        assert play(recording, chunks) == (recording.reading, recording.ends)


@EVERY_STREAM
@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_other_line_ends_give_the_same_reading(recording: Recording, line_end: bytes) -> None:
    if recording.content_type.startswith("text/event-stream"):
        body = recording.body.replace(b"\r\n", b"\n").replace(b"\n", line_end)
        assert play(recording, [body])[0] == recording.reading
        assert play(recording, [body[i : i + 1] for i in range(len(body))])[0] == recording.reading


@EVERY_STREAM
@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_compressed_stream_gives_the_same_reading(recording: Recording, encoding: str) -> None:
    compress = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstandard.compress}[encoding]
    body = compress(recording.body)
    assert play(recording, [body], encoding)[0] == recording.reading
    assert play(recording, [body[i : i + 1] for i in range(len(body))], encoding)[0] == recording.reading


@given(st.sampled_from(STREAMS), st.lists(st.integers(1, 300), min_size=1))
def test_any_chunking_gives_the_same_reading(recording: Recording, sizes: list[int]) -> None:
    chunks: list[bytes] = []
    start = 0
    while start < len(recording.body):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(recording.body[start : start + size])
        start += size
    assert play(recording, chunks)[0] == recording.reading


@EVERY_STREAM
def test_stream_cut_off_at_any_byte_is_never_exact_before_its_figures_came(recording: Recording) -> None:
    exact = replace(recording.reading.usage or Usage(), source="exact")
    first_exact = 0
    for end in range(len(recording.body)):
        usage = read(
            recording.body[:end], dialect=recording.dialect, content_type=recording.content_type, complete=False
        ).usage
        assert usage is not None
        if usage.source == "exact":
            first_exact = first_exact or end
            assert usage == exact
        else:
            assert not first_exact
    assert first_exact


def test_finished_is_true_only_after_the_end_marker() -> None:
    tap = Tap(dialect="openai", content_type="text/event-stream", content_encoding="", request_bytes=1)
    tap.feed(OPENAI_CHAT.body.removesuffix(b"data: [DONE]\n\n"))
    assert not tap.finished
    tap.feed(b"data: [DONE]\n\n")
    assert tap.finished


def test_cut_stream_without_usage_is_estimated_from_the_bytes() -> None:
    body = sse(*[chunk({"content": "four"}) for _ in range(30)])
    reading = read(body, content_type="text/event-stream", complete=False, request_bytes=402)
    assert reading == Reading(
        Usage(101, 30, service_tier="default", source="estimated"), "gpt-4o-2024-08-06", "chatcmpl-1"
    )


def test_whole_stream_without_usage_is_estimated_too() -> None:
    body = sse(*[chunk({"content": "four"}) for _ in range(30)], chunk({}, "stop"), b"[DONE]")
    usage = read(body, content_type="text/event-stream").usage
    assert usage is not None
    assert (usage.input, usage.output, usage.source) == (100, 30, "estimated")


def test_cut_anthropic_stream_keeps_its_input_and_estimates_its_output() -> None:
    deltas = [{"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x" * 40}}] * 5
    reading = read(
        sse(ANTHROPIC_START, *deltas, named=True), dialect="anthropic", content_type="text/event-stream", complete=False
    )
    assert reading.usage == replace(ANTHROPIC.reading.usage or Usage(), output=50, web_searches=0, source="estimated")


def test_cut_gemini_stream_keeps_the_figures_so_far() -> None:
    body = sse(*[gemini_chunk(word, number) for number, word in enumerate(WORDS, 1)])
    usage = read(body, dialect="gemini", content_type="text/event-stream", complete=False).usage
    assert usage == Usage(8, len(WORDS), source="estimated")


def test_continuous_usage_takes_the_last_and_is_final_with_the_finish_reason() -> None:
    parts = [
        chunk({"content": word}, usage={"prompt_tokens": 5, "completion_tokens": number})
        for number, word in enumerate(WORDS, 1)
    ]
    last = chunk({"content": "."}, "stop", usage={"prompt_tokens": 5, "completion_tokens": 7})
    for body, source, made in ((sse(*parts), "estimated", 6), (sse(*parts, last), "exact", 7)):
        usage = read(body, content_type="text/event-stream", complete=False).usage
        assert usage is not None
        assert (usage.input, usage.output, usage.source) == (5, made, source)


def test_error_inside_a_stream_is_told_and_what_came_before_is_estimated() -> None:
    body = sse(chunk({"content": "abcd"}), {"error": {"type": "server_error", "code": None}})
    reading = read(body, content_type="text/event-stream")
    assert reading.error == "server_error"
    assert reading.usage is not None
    assert reading.usage.source == "estimated"


PLAIN_CHAT = {
    "id": "chatcmpl-2",
    "object": "chat.completion",
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there"}, "finish_reason": "stop"}],
    "usage": CHAT_USAGE,
}


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("ahead", [b"", b"\n\n \n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "", "text/plain"])
def test_plain_body_is_read(content_type: str, ahead: bytes, size: int) -> None:
    reading = read(ahead + orjson.dumps(PLAIN_CHAT), content_type=content_type, size=size)
    expected = replace(OPENAI_CHAT.reading.usage or Usage(), service_tier=None)
    assert reading == Reading(expected, "gpt-4o", "chatcmpl-2", "stop")


def test_plain_body_that_arrived_whole_counts_even_if_the_connection_broke() -> None:
    usage = read(orjson.dumps(PLAIN_CHAT), complete=False).usage
    assert usage is not None
    assert usage.source == "exact"


def test_half_a_plain_body_is_unknown() -> None:
    assert read(orjson.dumps(PLAIN_CHAT)[:-20], complete=False).usage == Usage(source="unknown")


def test_total_alone_is_taken_for_input() -> None:
    assert read(b'{"usage":{"total_tokens":10}}').usage == Usage(10, 0, source="exact")


@pytest.mark.parametrize(
    "body",
    [
        b'{"object":"list","data":[{"id":"gpt-4o","object":"model"}]}',
        b'{"input_tokens":12}',
        b"[]",
        b"{invalid",
        b"",
        b" ",
    ],
)
def test_answers_that_carry_no_usage_by_nature_have_none(body: bytes) -> None:
    assert read(body).usage is None


@pytest.mark.parametrize(
    ("dialect", "body"), [("gemini", b'{"totalTokens":5}'), ("ollama", b'{"status":"pulling manifest"}\n')]
)
def test_counts_and_downloads_of_other_dialects_have_none_either(dialect: Dialect, body: bytes) -> None:
    assert read(body, dialect=dialect).usage is None


@pytest.mark.parametrize("content_type", ["audio/mpeg", "text/html", "application/octet-stream", "text/plain"])
def test_other_content_is_only_counted(content_type: str) -> None:
    tap = Tap(dialect="openai", content_type=content_type, content_encoding="", request_bytes=1)
    tap.feed(b"<html>" * 10)
    tap.feed(b"x")
    assert tap.close(complete=True) == Reading()
    assert tap.received == 61


def test_chat_answer_without_usage_is_estimated_from_its_text() -> None:
    body = orjson.dumps(PLAIN_CHAT | {"usage": None})
    assert read(body).usage == Usage(100, 3, source="estimated")


def test_transcription_without_usage_is_unknown() -> None:
    assert read(b'{"text":"hello"}').usage == Usage(source="unknown")


def test_ollama_without_its_input_count_is_estimated_on_that_side() -> None:
    body = b'{"model":"q","response":"abcd","done":true,"eval_count":7}'
    for content_type in ("application/json; charset=utf-8", "application/x-ndjson"):
        usage = read(body, dialect="ollama", content_type=content_type).usage
        assert usage == Usage(100, 7, source="estimated")


def test_error_in_a_gemini_array_is_told() -> None:
    reading = read(b'[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]', dialect="gemini")
    assert reading == Reading(error="UNAVAILABLE")


@pytest.mark.parametrize(
    "body",
    [
        {"usage": {"prompt_tokens": 8}, "data": ["x" * 10_000]},
        {"data": ["x" * 10_000, {"usage": {"prompt_tokens": 8}}]},
        {"data": ["x" * 10_000], "usage": {"prompt_tokens": 8}, "more": "x" * 5000},
    ],
)
def test_body_over_the_cap_is_unknown(body: dict[str, Any]) -> None:
    assert read(orjson.dumps(body), max_body=9000, size=50).usage == Usage(source="unknown")


@pytest.mark.parametrize("size", [0, 1000, 7])
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_the_usage_at_the_end_of_a_body_over_the_cap_is_exact(size: int, encoding: str) -> None:
    body = orjson.dumps({"data": ["usage" * 4000], "model": "e", "usage": {"prompt_tokens": 8, "total_tokens": 8}})
    body = gzip.compress(body + b"\n") if encoding else body + b"\n"
    assert read(body, encoding=encoding, max_body=9000, size=size).usage == Usage(8, 0, source="exact")


def test_the_end_of_a_body_of_another_format_is_not_taken_for_openai_s() -> None:
    body = orjson.dumps({"type": "message", "content": ["x" * 10_000], "usage": {"input_tokens": 8}})
    assert read(body, dialect="anthropic", max_body=9000).usage == Usage(source="unknown")


def test_large_embedding_is_exact() -> None:
    body = orjson.dumps({"data": [{"embedding": [0.25] * 30_000}], "model": "e", "usage": {"prompt_tokens": 8}})
    assert len(body) > 100_000
    assert read(body) == Reading(Usage(8, 0, source="exact"), "e")


def test_large_final_event_is_exact() -> None:
    response = {"status": "completed", "output": ["x" * 100_000], "usage": {"input_tokens": 3, "output_tokens": 4}}
    body = sse({"type": "response.completed", "response": response})
    assert read(body, content_type="text/event-stream").usage == Usage(3, 4, source="exact")


def test_event_over_the_cap_is_passed_over_and_the_figures_behind_it_read() -> None:
    image = {"type": "response.image_generation_call.partial_image", "partial_image_b64": "x" * 5000}
    body = sse(image) + OPENAI_CHAT.body
    reading = read(body, content_type="text/event-stream", max_event=2000)
    assert reading.usage == OPENAI_CHAT.reading.usage


def test_stream_whose_figures_were_over_the_cap_is_unknown() -> None:
    body = sse(chunk({"content": "abc"}), chunk({"content": "x" * 5000}, "stop", usage=CHAT_USAGE), b"[DONE]")
    usage = read(body, content_type="text/event-stream", max_event=2000).usage
    assert usage is not None
    assert (usage.input, usage.output, usage.source) == (0, 0, "unknown")


@pytest.mark.parametrize("encoding", ["gzip", "compress"])
def test_undecodable_answer_is_unknown(encoding: str) -> None:
    assert read(OPENAI_CHAT.body, content_type="text/event-stream", encoding=encoding).usage == Usage(source="unknown")


def test_bomb_is_unknown() -> None:
    body = gzip.compress(b'{"a":"' + b"x" * 1_000_000 + b'"}')
    assert read(body, encoding="gzip", max_body=10_000).usage == Usage(source="unknown")


def test_events_in_a_json_content_type_are_recognised_by_their_form() -> None:
    assert read(OPENAI_CHAT.body, content_type="application/json") == OPENAI_CHAT.reading


def test_another_dialects_body_is_recognised_by_its_form() -> None:
    for recording in STREAMS:
        if recording.content_type.startswith("text/event-stream"):
            assert read(recording.body, dialect="ollama", content_type="text/event-stream") == recording.reading


class Cursed(bytes):
    """Bytes that a fault of ours is found with."""

    def __getitem__(self, _: object) -> Any:
        raise RuntimeError("fault")


def test_fault_in_metering_is_logged_and_does_not_reach_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    tap = Tap(dialect="openai", content_type="text/event-stream", content_encoding="", request_bytes=1)
    tap.feed(sse(*[chunk({"content": word}) for word in WORDS]))
    tap.feed(Cursed(b"data: {}\n\n"))
    tap.feed(OPENAI_CHAT.body)
    usage = tap.close(complete=True).usage
    assert usage is not None
    assert usage.source == "unknown"
    [record] = caplog.records
    assert record.message.startswith("an answer could not be metered: ")
    assert record.levelname == "WARNING"
    assert not record.exc_info


def test_closing_again_gives_the_same_reading_and_later_bytes_change_nothing() -> None:
    tap = Tap(dialect="gemini", content_type="text/event-stream", content_encoding="", request_bytes=1)
    tap.feed(GEMINI_SSE.body)
    reading = tap.close(complete=True)
    tap.feed(b"data: {}\n\n")
    assert tap.close(complete=False) is reading
    assert reading == GEMINI_SSE.reading


def test_two_megabyte_event_in_small_pieces_is_read() -> None:
    body = sse(chunk({"content": "x" * 2_000_000})) + OPENAI_CHAT.body
    assert read(body, content_type="text/event-stream", size=4096) == OPENAI_CHAT.reading


@given(
    st.sampled_from(["text/event-stream", "application/json", "application/x-ndjson", "", "text/plain", "x/y+json"]),
    st.sampled_from(["", "gzip", "br, zstd"]),
    st.lists(
        st.binary(max_size=40) | st.sampled_from([b"data: ", b"\n\n", b"[", b"{", b'"usage":{', b"}]"]), max_size=12
    ),
    st.booleans(),
)
def test_no_bytes_make_the_tap_raise(content_type: str, encoding: str, chunks: list[bytes], complete: bool) -> None:
    tap = Tap(dialect="openai", content_type=content_type, content_encoding=encoding, request_bytes=4)
    for part in chunks:
        tap.feed(part)
    tap.close(complete=complete)
    assert not tap.faulty
    assert tap.received == sum(map(len, chunks))


@given(st.sampled_from(STREAMS), st.randoms(use_true_random=False), st.integers(1, 4000))
def test_no_change_of_an_answer_is_a_fault_of_the_tap(recording: Recording, noise: Random, size: int) -> None:
    body = bytearray(recording.body)
    for _ in range(noise.randint(1, 12)):
        at = noise.randrange(len(body) + 1)
        match noise.randrange(4):
            case 0:
                body[at : at + 1] = noise.randbytes(1)
            case 1:
                body[at:at] = noise.choice(
                    [b"{", b"[" * 3000, b'"', b"\\", b"null", b"-1e999", b"\xff", b"\n\n", b"0" * 400]
                )
            case 2:
                del body[at : at + noise.randint(1, 30)]
            case _:
                body[at:at] = body[at : at + noise.randint(1, 60)]
    tap = Tap(dialect=recording.dialect, content_type=recording.content_type, content_encoding="", request_bytes=4)
    for start in range(0, len(body), size):
        tap.feed(bytes(body[start : start + size]))
    tap.close(complete=True)
    assert not tap.faulty


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "application/x-ndjson"])
@pytest.mark.parametrize("nest", [b'{"a":', b"[", b'{"choices":[{"message":', b'{"usage":{"a":'])
def test_an_answer_nested_without_end_is_passed_over(content_type: str, nest: bytes) -> None:
    for body in (nest * 50_000, b"data: " + nest * 50_000 + b"\n\n", b'{"usage":1,"choices":' + nest * 50_000):
        tap = Tap(dialect="openai", content_type=content_type, content_encoding="", request_bytes=4)
        tap.feed(body)
        assert tap.close(complete=True).error is None
        assert not tap.faulty
    assert not tap.faulty


def test_answer_is_captured_decoded_and_up_to_a_limit() -> None:
    packed = gzip.compress(OPENAI_CHAT.body)
    for limit, cut in ((1 << 20, False), (100, True)):
        tap = Tap(
            dialect="openai",
            content_type="text/event-stream",
            content_encoding="gzip",
            request_bytes=1,
            capture_max=limit,
        )
        for start in range(0, len(packed), 50):
            tap.feed(packed[start : start + 50])
        assert tap.captured() == Captured(OPENAI_CHAT.body[:limit], cut)
        assert tap.close(complete=True).usage == OPENAI_CHAT.reading.usage, "metering goes on"


@pytest.mark.parametrize("content_type", ["audio/mpeg", "image/png", "application/octet-stream"])
def test_answer_that_says_nothing_is_not_captured(content_type: str) -> None:
    tap = Tap(dialect="openai", content_type=content_type, content_encoding="", request_bytes=1, capture_max=1 << 20)
    tap.feed(b"\xff\xfb" * 1000)
    captured = tap.captured()
    assert captured is None or captured.body == b""


def test_text_that_turns_out_to_be_no_json_is_not_captured() -> None:
    tap = Tap(dialect="openai", content_type="text/plain", content_encoding="", request_bytes=1, capture_max=1 << 20)
    tap.feed(b"WEBVTT\n\n")
    tap.feed(b"00:00 --> 00:01\nHello")
    assert tap.captured() is None


def test_frames_of_bedrock_are_captured_even_if_broken() -> None:
    tap = Tap(dialect="openai", content_type=EVENTSTREAM, content_encoding="", request_bytes=1, capture_max=1 << 20)
    for part in (b"\x00\x00", b"\x01[{"):
        tap.feed(part)
    assert tap.close(complete=True).usage is None
    assert tap.captured() == Captured(b"\x00\x00\x01[{", False)


def test_nothing_is_captured_unless_asked_for() -> None:
    tap = Tap(dialect="openai", content_type="text/event-stream", content_encoding="", request_bytes=1)
    tap.feed(OPENAI_CHAT.body)
    assert tap.captured() is None


@pytest.mark.parametrize("limit", [1 << 20, 100])
def test_what_a_plain_answer_says_is_captured_with_it_unless_it_is_cut(limit: int) -> None:
    body = orjson.dumps(
        {
            "id": "c1",
            "model": "gpt-4o",
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello. " * 20}}
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
        }
    )
    tap = Tap(
        dialect="openai", content_type="application/json", content_encoding="", request_bytes=1, capture_max=limit
    )
    tap.feed(body)
    assert tap.close(complete=True).usage == Usage(input=9, output=12, source="exact")
    captured = tap.captured()
    assert captured is not None
    assert captured.plain == (None if captured.cut else plain_chat(body))
    read = read_answer("openai", "chat", "application/json", captured.body, plain=captured.plain)
    assert read == read_answer("openai", "chat", "application/json", captured.body)
