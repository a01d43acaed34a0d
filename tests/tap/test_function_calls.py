"""Calls of tools are counted by the structure of an answer, also where its events are passed over unparsed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from llmqd.call import Dialect
from llmqd.messages.answer import read_answer
from tests.messages import (
    test_anthropic_answer,
    test_bedrock_answer,
    test_chat_answer,
    test_gemini_answer,
    test_responses_answer,
)
from tests.messages.answers import OPERATIONS, anthropic_stream, chat_stream
from tests.tap.recordings import STREAMS, chunk, gemini_chunk, sse
from tests.tap.test_tap import read

SSE = "text/event-stream"
WORDS = [{"content": "word "}] * 20


def calls(body: bytes, *, dialect: Dialect = "openai", content_type: str = SSE, complete: bool = True) -> int:
    return read(body, dialect=dialect, content_type=content_type, complete=complete).function_calls


def begun(index: int, *, name: object = "f", arguments: object = "", call_id: object = None) -> dict[str, Any]:
    call_id = call_id if call_id is not None else f"call_{index}"
    return {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def more(index: int, arguments: str = '{"a": ') -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def spaced(body: bytes) -> bytes:
    return body.replace(b'":', b'": ')


@pytest.mark.parametrize("write", [bytes, spaced])
def test_calls_behind_words_and_behind_each_other_are_counted(write: Any) -> None:
    deltas: list[dict[str, Any]] = list(WORDS)
    for index in range(3):
        deltas += [{"tool_calls": [begun(index)]}, *[more(index) for _ in range(5)]]
    assert calls(write(chat_stream(deltas))) == 3
    assert calls(write(chat_stream(deltas[: len(WORDS) + 8], None)), complete=False) == 2


@pytest.mark.parametrize("write", [bytes, spaced])
def test_call_in_an_event_that_also_has_text_is_counted(write: Any) -> None:
    beside = {"content": "", "tool_calls": [begun(0, arguments="{}"), begun(1, arguments="{}")]}
    assert calls(write(chat_stream([*WORDS, beside]))) == 2
    assert calls(write(chat_stream([*WORDS, {"content": "", "function_call": {"name": "f"}}]))) == 1


def test_words_about_calls_and_empty_calls_are_none() -> None:
    texts = ['"tool_calls":[{"id":"x"}]', "tool_call", '{"name":"f"}', "function_call: none"]
    nothing: list[object] = [None, []]
    empty = [{"content": "x", "tool_calls": value, "function_call": None} for value in nothing] * 10
    assert calls(chat_stream([*WORDS, *[{"content": text} for text in texts], *empty])) == 0


def test_calls_that_all_bear_the_index_0_are_told_apart_by_their_ids() -> None:
    deltas = [{"tool_calls": [begun(0, call_id=f"c{number}", arguments="{}")]} for number in range(3)]
    assert calls(chat_stream([*WORDS, *deltas, more(0), {"tool_calls": [begun(0, call_id="c2")]}])) == 3


def test_calls_of_several_choices_are_all_counted() -> None:
    events = [
        chunk({}) | {"choices": [{"index": index, "delta": {"tool_calls": [begun(0, call_id="c")]}}]}
        for index in (0, 1, 0)
    ]
    assert calls(sse(*events, b"[DONE]")) == 2


def test_calls_of_the_other_dialects_are_counted() -> None:
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {"text": "x"}}
    texts = [{"type": "text_delta", "text": "word "}] * 20
    stream = anthropic_stream([({"type": "text", "text": ""}, texts), (tool, []), (tool | {"input": {}}, [])])
    assert calls(stream, dialect="anthropic") == 2
    responses = sse(*test_responses_answer.events(), test_responses_answer.last(test_responses_answer.OUTPUT))
    assert calls(responses) == 2
    assert calls(sse(*test_responses_answer.events()), complete=False) == 2
    parts = [{"text": "x"}, {"functionCall": {"name": "f", "args": {}}}]
    both = gemini_chunk("x", 1) | {"candidates": [{"content": {"parts": parts}}]}
    without = {key: value for key, value in both.items() if key != "usageMetadata"}
    assert calls(sse(*[gemini_chunk("x", 1)] * 12, both, without), dialect="gemini") == 2
    line = {"model": "m", "message": {"content": "word "}, "done": False}
    last = {"message": {"content": "", "tool_calls": [{"function": {"name": "f"}}] * 2}}
    body = b"".join(orjson.dumps(one) + b"\n" for one in [*[line] * 20, line | last, line | {"done": True}])
    assert calls(body, dialect="ollama", content_type="application/x-ndjson") == 2
    events: list[dict[str, Any]] = [
        {"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": begun(index)}}}
        for index in (0, 1)
    ]
    assert calls(sse(*events)) == 2


WHOLE: tuple[tuple[Dialect, dict[str, Any]], ...] = (
    ("openai", test_chat_answer.whole({"tool_calls": [test_chat_answer.call(str(number)) for number in range(3)]})),
    ("openai", test_responses_answer.response(test_responses_answer.OUTPUT)),
    ("anthropic", test_anthropic_answer.whole(test_anthropic_answer.BLOCKS)),
    ("gemini", test_gemini_answer.body(test_gemini_answer.PARTS)),
    ("ollama", {"message": {"tool_calls": [{"function": {"name": "f"}}]}, "done": True}),
    (
        "openai",
        {
            "output": {"message": {"content": test_bedrock_answer.CONTENT}},
            "stopReason": "x",
            "usage": {"inputTokens": 1},
        },
    ),
    (
        "openai",
        {"finish_reason": "TOOL_CALL", "message": {"tool_calls": [begun(0), begun(1)]}, "usage": {"billed_units": {}}},
    ),
)


@pytest.mark.parametrize(("dialect", "body"), WHOLE)
def test_whole_answers_are_counted_as_they_are_read(dialect: Dialect, body: dict[str, Any]) -> None:
    raw = orjson.dumps(body)
    operation = "responses" if body.get("object") == "response" else OPERATIONS[dialect]
    answer = read_answer(dialect, operation, "application/json", raw)
    assert answer is not None
    assert calls(raw, dialect=dialect, content_type="application/json") == answer.function_calls > 0


@pytest.mark.parametrize(("dialect", "body"), WHOLE[:4])
def test_large_answers_are_counted_too(dialect: Dialect, body: dict[str, Any]) -> None:
    """Of a large body only small members are parsed."""
    text = orjson.dumps(body)
    for name in (b'"arguments":"', b'"text":"', b'"city":"', b'"thinking":"'):
        text = text.replace(name, name + b"x" * 70_000)
    assert len(text) > 70_000
    whole = calls(orjson.dumps(body), dialect=dialect, content_type="application/json")
    assert calls(text, dialect=dialect, content_type="application/json") == whole > 0


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.name)
def test_answers_in_words_hold_no_call(recording: Any) -> None:
    assert calls(recording.body, dialect=recording.dialect, content_type=recording.content_type) == 0


def test_more_calls_than_can_be_are_not_kept() -> None:
    deltas = [{"tool_calls": [begun(index)]} for index in range(12_000)]
    assert calls(chat_stream(deltas)) == 10_000
