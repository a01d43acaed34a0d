"""Answers behind a head that is out already: what fits passes, all else becomes one event that an SDK can read."""

from __future__ import annotations

import zlib

import brotli  # type: ignore[import-untyped]
import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from llmqd.call import Call, Dialect
from llmqd.web.heartbeat import StreamForm
from llmqd.web.late_answer import late_code, late_edits, late_error
from tests.calls import a_call

FORM = StreamForm("text/event-stream", b"\n", frozenset({"text/event-stream", ""}))
SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
OPERATIONS: dict[Dialect, str] = {
    "openai": "chat",
    "anthropic": "messages",
    "gemini": "generate_content",
    "ollama": "chat",
}


def call_of(dialect: Dialect, operation: str | None = None) -> Call:
    return a_call(dialect=dialect, operation=operation or OPERATIONS[dialect])


def told(call: Call, status: int, body: bytes, headers: dict[str, str] = JSON, size: int = 1 << 20) -> bytes:
    """What the client sees of an answer that comes in pieces of `size`."""
    edits = late_edits(call, "up", status, headers, FORM)
    out = b""
    for start in range(0, len(body), size):
        chunk = body[start : start + size]
        for edit in edits:
            chunk = edit.feed(chunk)
        out += chunk
    rest = b""
    for edit in edits:
        rest = edit.feed(rest) + edit.flush()
    return out + rest


def error_in(stream: bytes) -> dict[str, object]:
    data = stream.removeprefix(b"event: error\n").removeprefix(b"data: ")
    found: dict[str, object] = orjson.loads(data)
    inner = found.get("error")
    return inner if isinstance(inner, dict) else found


def test_a_stream_passes_as_it_is() -> None:
    assert late_edits(call_of("openai"), "up", 200, SSE, FORM) == []
    assert late_edits(call_of("openai"), "up", 200, {}, FORM) == []
    assert late_edits(call_of("openai"), "up", 200, SSE | {"Content-Encoding": "identity"}, FORM) == []


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", lambda data: zlib.compress(data, wbits=31)),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("ZSTD", lambda data: zstandard.ZstdCompressor().compress(data)),
    ],
)
def test_what_is_encoded_all_the_same_is_decoded(encoding: str, encode: object, size: int) -> None:
    assert callable(encode)
    stream = b"data: {}\n\n" * 50
    assert told(call_of("openai"), 200, encode(stream), SSE | {"Content-Encoding": encoding}, size) == stream


@pytest.mark.parametrize("encoding", ["gzip", "compress"])
def test_what_cannot_be_decoded_ends_with_an_error(encoding: str) -> None:
    error = error_in(told(call_of("anthropic"), 200, b"no such thing", SSE | {"Content-Encoding": encoding}))
    assert error["code"] == "upstream_error"
    assert encoding in str(error["message"])


def test_an_encoded_refusal_is_decoded_before_it_is_told() -> None:
    body = orjson.dumps({"error": {"message": "bad key", "type": "t", "code": "c"}})
    stream = told(call_of("openai"), 401, zlib.compress(body, wbits=31), JSON | {"Content-Encoding": "gzip"})
    assert stream == b"data: " + body + b"\n\n"


@pytest.mark.parametrize("dialect", OPERATIONS)
@pytest.mark.parametrize(
    "body",
    [b"", b"Bad Gateway", b"[]", b"null", b'{"detail":"no"}', b'{"error":{}}', b'{"error":{"message":7}}', b"\xff\xfe"],
)
def test_a_refusal_in_no_known_shape_is_told_in_the_dialect_s(dialect: Dialect, body: bytes) -> None:
    stream = told(call_of(dialect), 502, body)
    expected = late_error(call_of(dialect), 502, "upstream_error", str(message_in(stream)))
    assert stream == expected
    assert str(message_in(stream)).startswith("up answered with HTTP 502")


def message_in(stream: bytes) -> object:
    found = error_in(stream)
    return found.get("message", found.get("error"))


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("anthropic", b'{"error":{"message":"m","type":"t","code":"c"}}'),
        ("gemini", b'{"error":{"message":"m","type":"t","code":"c"}}'),
        ("ollama", b'{"error":{"message":"m","type":"t","code":"c"}}'),
        ("openai", b'{"object":"error","message":"m","type":"t"}'),
        ("openai", b'{"error":"m"}'),
    ],
)
def test_another_dialect_s_refusal_keeps_its_message(dialect: Dialect, body: bytes) -> None:
    assert message_in(told(call_of(dialect), 400, body)) == "up answered with HTTP 400: m"


def test_google_s_error_comes_first_in_its_event_even_from_an_array() -> None:
    body = b'[{"at":1,"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]'
    stream = told(call_of("gemini"), 429, body)
    assert stream == b'data: {"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}\n\n'


def test_the_responses_api_has_an_event_of_its_own() -> None:
    stream = late_error(call_of("openai", "responses"), 429, "deadline_exceeded", "too late")
    assert stream.startswith(b"event: error\ndata: ")
    assert stream.endswith(b"\n\n")
    assert error_in(stream) == {
        "type": "error",
        "code": "deadline_exceeded",
        "message": "too late",
        "param": None,
        "sequence_number": 0,
    }


def test_a_refusal_that_names_only_a_type_has_that_for_its_code() -> None:
    body = b'{"error":{"message":"m","type":"server_error","code":null}}'
    assert error_in(told(call_of("openai", "responses"), 500, body))["code"] == "server_error"


def test_an_error_that_came_with_status_200_stays_that_error() -> None:
    body = b'{"error":{"message":"over","type":"t","code":"c"}}'
    assert told(call_of("openai"), 200, body) == b"data: " + body + b"\n\n"


def test_an_answer_in_one_piece_is_an_error_but_for_google() -> None:
    assert late_code(200, "application/json", FORM, call_of("openai")) == "upstream_not_streaming"
    assert late_code(200, "text/html", FORM, call_of("gemini")) == "upstream_not_streaming"
    assert late_code(200, "application/json", FORM, call_of("gemini")) is None
    assert late_code(200, "text/event-stream", FORM, call_of("openai")) is None
    assert late_code(500, "application/json", FORM, call_of("openai")) is None
    error = error_in(told(call_of("gemini"), 200, b"<html>", {"Content-Type": "text/html"}))
    assert error["details"] == [{"reason": "upstream_not_streaming"}]


def test_no_more_is_kept_than_can_be_told() -> None:
    body = b'{"error":{"message":"' + b"x" * (20 << 20) + b'"}}'
    stream = told(call_of("openai"), 500, body, size=1 << 16)
    assert len(stream) < 1000


@given(st.binary(max_size=200), st.sampled_from(list(OPERATIONS)), st.sampled_from([200, 204, 301, 404, 529]))
def test_whatever_comes_every_line_can_be_read(body: bytes, dialect: Dialect, status: int) -> None:
    stream = told(call_of(dialect), status, body)
    for line in stream.splitlines():
        if line and not line.startswith(b"event: "):
            orjson.loads(line.removeprefix(b"data: "))
    assert stream.endswith(b"\n") or stream == b""
