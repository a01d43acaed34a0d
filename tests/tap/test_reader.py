"""Only messages that say something new are parsed, and nothing that they say is lost by that."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.call import Dialect
from llmqd.providers.facts import Stage
from llmqd.tap.reader import MessageReader, parse
from llmqd.tap.sse import SseSplitter
from tests.tap.recordings import CHAT_USAGE, STREAMS, WORDS, Recording, chunk

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
KEYS = (
    "usage", "usageMetadata", "type", "message", "response", "choices", "delta", "error", "model", "id", "object",
    "candidates", "content", "parts", "text", "finish_reason", "status", "service_tier", "x_groq", "meta", "done",
    "billed_units", "tokens", "timings", "stop", "output", "cache_creation", "iterations", "prompt_eval_count",
    "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens", "cost", "cost_details",
    "prompt_tokens_details", "cached_tokens", "promptTokenCount", "promptTokensDetails", "inputTokens",
    "cacheDetails", "tokens_predicted", "tokens_evaluated", "event_type", "tool_usage", "seconds", "is_byok",
    "tool_calls",
)  # fmt: skip
TYPES = (
    "message", "message_start", "message_delta", "content_block_delta", "response.completed", "response.x.delta",
    "message-end", "error", "duration", "transcript.text.done",
)  # fmt: skip
HOSTILE = st.recursive(
    ANY_JSON | st.sampled_from(TYPES),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(st.sampled_from(KEYS), children, max_size=5),
    max_leaves=20,
)


@settings(max_examples=500)
@given(st.sampled_from(["openai", "anthropic", "gemini", "ollama"]), st.lists(HOSTILE, max_size=4))
def test_no_json_makes_the_reader_raise_or_count_below_zero(dialect: Dialect, messages: list[object]) -> None:
    reader = MessageReader(dialect)
    for message in messages:
        # The standard library's encoder, because it also writes numbers that no provider should.
        reader.take(json.dumps(message).encode())
    usage = reader.facts.usage
    numbers = (usage.input, usage.output, usage.cached, usage.cache_write_5m, usage.cache_write_1h, usage.reasoning)
    assert all(type(number) is int and number >= 0 for number in numbers)


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_no_bytes_make_the_reader_raise(chunks: list[bytes]) -> None:
    reader = MessageReader("openai")
    reader.take(orjson.dumps(chunk({"content": "a"})))
    for data in chunks:
        reader.take(data)


def said(words: str) -> bytes:
    return orjson.dumps(chunk({"content": words}))


@given(st.lists(st.text(max_size=30).filter(lambda text: '"' not in text and "\\" not in text)))
def test_text_is_counted_alike_whether_parsed_or_passed_over(words: list[str]) -> None:
    passing, parsing = MessageReader("openai"), MessageReader("openai")
    passing.take(orjson.dumps(chunk({"content": "a"})))
    parsing.take(orjson.dumps(chunk({"content": "a"})))
    for word in words:
        data = orjson.dumps(chunk({"content": word}))
        passing.take(data)
        parsing.take(data.replace(b'"content":', b'"content" :'))
    written = sum(len(orjson.dumps(word)) - len(orjson.dumps("")) for word in words)
    assert passing.facts.text_bytes == 1 + written
    assert parsing.facts.text_bytes == 1 + sum(len(word.encode()) for word in words)


PLAIN = chunk({"content": "a few words"})
LOOKED_AT = [
    chunk({}) | {"usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}},
    PLAIN | {"usage": None},
    chunk({"content": ""}) | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
    chunk({"content": "x", "tool_calls": []}),
    chunk({"content": 'say "content":"twice"', "reasoning_content": "y"}),
    chunk({"role": "assistant"}),
    {"error": {"message": "overloaded", "type": "overloaded_error", "code": 529}},
]
BYTES = st.sampled_from([b"[DONE]", b"", b"nothing", b'{"delta":{"content":"cut off', b'{"content":"two\nlines"}'])
MESSAGES = st.lists(
    st.one_of(
        st.just(orjson.dumps(PLAIN)), st.sampled_from(LOOKED_AT).map(orjson.dumps), BYTES, st.text(max_size=9).map(said)
    ),
    max_size=40,
)


@settings(max_examples=500)
@given(MESSAGES, st.sampled_from(["openai", "anthropic"]))
def test_messages_that_come_together_say_the_same_as_one_by_one(messages: list[bytes], dialect: Dialect) -> None:
    together, singly = MessageReader(dialect), MessageReader(dialect)
    together.take_all(messages)
    for message in messages:
        singly.take(message)
    assert together.facts == singly.facts


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("recording", STREAMS, ids=lambda each: each.dialect)
def test_whole_streams_say_the_same_together(recording: Recording, times: int) -> None:
    messages = [data for _, data in SseSplitter(1 << 20).feed(recording.body)] or recording.body.split(b"\n")
    messages = messages[:-1] * times + messages[-1:]
    together, singly = MessageReader(recording.dialect), MessageReader(recording.dialect)
    together.take_all(messages)
    for message in messages:
        singly.take(message)
    assert together.facts == singly.facts


def test_escaped_quotes_do_not_end_the_text() -> None:
    reader = MessageReader("openai")
    reader.take(orjson.dumps(chunk({"content": "a"})))
    reader.take(orjson.dumps(chunk({"content": 'say "hi" to her'})))
    assert reader.facts.text_bytes == 1 + len('say \\"hi\\" to her')


@pytest.mark.parametrize("spaced", [False, True])
def test_usage_beside_text_is_read(spaced: bool) -> None:
    reader = MessageReader("openai")
    for word in WORDS:
        reader.take(_json(chunk({"content": word}, usage=None), spaced))
    reader.take(_json(chunk({"content": "end"}, "length", usage=CHAT_USAGE), spaced))
    assert (reader.facts.usage.input, reader.facts.usage.output) == (19, 10)
    assert reader.facts.finish_reason == "length"
    assert reader.facts.stage is Stage.FINAL


def test_finish_reason_beside_text_is_read() -> None:
    reader = MessageReader("openai")
    reader.take(orjson.dumps(chunk({"content": "a"})))
    reader.take(orjson.dumps(chunk({"content": "b"})))
    reader.take(orjson.dumps(chunk({"content": "c"}, "stop")))
    assert reader.facts.finish_reason == "stop"


@pytest.mark.parametrize(
    ("piece", "last"),
    [
        ({"model": "m", "response": "a", "done": False}, {"done": True, "prompt_eval_count": 5, "eval_count": 9}),
        ({"content": "a", "stop": False}, {"stop": True, "tokens_evaluated": 5, "tokens_predicted": 9}),
    ],
)
@pytest.mark.parametrize("spaced", [False, True])
def test_an_end_that_gives_no_reason_is_read(piece: dict[str, Any], last: dict[str, Any], spaced: bool) -> None:
    reader = MessageReader("ollama")
    for _ in range(10):
        reader.take(_json(piece, spaced))
    reader.take(_json({**piece, **last}, spaced))
    assert (reader.facts.stage, reader.facts.usage.input, reader.facts.usage.output) == (Stage.FINAL, 5, 9)


def test_second_usage_in_an_event_is_not_hidden_by_a_null_one() -> None:
    reader = MessageReader("openai")
    reader.take(orjson.dumps(chunk({"content": "a"})))
    reader.take(orjson.dumps(chunk({"content": "b"}, x_groq={"usage": CHAT_USAGE}, usage=None)))
    assert reader.facts.usage.input == 19


def test_first_model_that_is_not_empty_is_kept() -> None:
    reader = MessageReader("openai")
    for model in ("", "one", "two"):
        reader.take(orjson.dumps(chunk({"content": "a"}) | {"model": model}))
    assert reader.facts.model == "one"


def test_error_events_of_every_dialect_are_named() -> None:
    for dialect, event, kind in (
        ("openai", {"error": {"message": "m", "type": "server_error", "code": "upstream_error"}}, "upstream_error"),
        ("openai", {"error": {"message": "m", "type": "server_error", "code": None}}, "server_error"),
        ("openai", {"type": "error", "code": "rate_limit", "message": "m", "sequence_number": 3}, "rate_limit"),
        ("openai", {"type": "response.failed", "response": {"status": "failed", "error": {"code": "boom"}}}, "boom"),
        ("openai", {"x_groq": {"error": {"type": "tool"}}, "choices": []}, "tool"),
        ("anthropic", {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, "overloaded_error"),
        ("gemini", {"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}, "UNAVAILABLE"),
        ("gemini", {"error": {"code": 503}}, "503"),
        ("ollama", {"error": "model runner has stopped"}, "error"),
    ):
        reader = MessageReader(dialect)  # type: ignore[arg-type]
        reader.take(orjson.dumps(event))
        assert reader.facts.error == kind


def test_large_message_is_read_without_its_large_members() -> None:
    big = "x" * 200_000
    message = parse(orjson.dumps({"data": [big], "response": {"output": big, "usage": {"input_tokens": 3}}, "id": "a"}))
    assert message == {"data": None, "response": {"output": None, "usage": {"input_tokens": 3}}, "id": "a"}


@pytest.mark.parametrize("data", [b"", b"{", b"[DONE", b'{"a":', b'{"a":"' + b"x" * 100_000, b"\xff", b"{" * 100_000])
def test_what_is_no_json_gives_none(data: bytes) -> None:
    assert parse(data) is None


def _json(message: object, spaced: bool) -> bytes:
    data = orjson.dumps(message)
    return data.replace(b'":', b'": ') if spaced else data
