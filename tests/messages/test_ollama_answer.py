"""Ollama's and llama.cpp's own answers: lines joined, whole ones alike, and equal to what comes back."""

from __future__ import annotations

from typing import Any

import orjson

from llmqd.messages.message import Reasoning, Text, ToolCall
from tests.messages.answers import read, said, same
from tests.tap.recordings import sse

CALL = {"function": {"name": "weather", "arguments": {"city": "Bern"}}}
PARTS = (Reasoning("hm"), Text("Let me see."), ToolCall("weather", '{"city":"Bern"}'))


def line(message: dict[str, Any], *, done: bool = False) -> dict[str, Any]:
    end = {"done_reason": "stop", "eval_count": 3} if done else {}
    return {"model": "llama3.2", "message": {"role": "assistant", **message}, "done": done, **end}


def lines(*values: object) -> bytes:
    return b"".join(orjson.dumps(value) + b"\n" for value in values)


def test_streamed_lines_are_the_whole_answer_and_come_back() -> None:
    message = {"content": "Let me see.", "thinking": "hm", "tool_calls": [CALL]}
    whole = read(line(message, done=True), dialect="ollama")
    stream = lines(
        line({"content": "", "thinking": "hm"}),
        line({"content": "Let me "}),
        line({"content": "see.", "tool_calls": [CALL]}),
        line({"content": ""}, done=True),
    )
    for content_type in ("application/x-ndjson", "application/json", ""):
        assert read(stream, dialect="ollama", content_type=content_type) == whole
    assert whole.message.parts == PARTS
    assert (whole.finish_reason, whole.function_calls) == ("stop", 1)
    (back,) = said({"messages": [{"role": "assistant", **message}]}, dialect="ollama")
    assert same(whole.message, back)


def test_generated_text_is_read_whole_and_streamed() -> None:
    pieces = [{"model": "m", "response": word, "thinking": "hm", "done": False} for word in ("Hel", "lo")]
    answer = read(lines(*pieces, {"model": "m", "response": "", "done": True}), dialect="ollama")
    assert answer.message.parts == (Reasoning("hmhm"), Text("Hello"))
    assert read({"model": "m", "response": "Hello", "done": True}, dialect="ollama").message.text == "Hello"


def test_native_answer_of_llamacpp_is_read_whole_and_streamed() -> None:
    events = [{"index": 0, "content": word, "tokens": [1], "stop": False} for word in ("Hel", "lo")]
    end = {"index": 0, "content": "", "stop": True, "stop_type": "eos"}
    answer = read(sse(*events, end), operation="other")
    assert (answer.message.text, answer.finish_reason) == ("Hello", "eos")
    assert read({"content": "Hello", "stop": True, "stop_type": "eos"}, operation="other") == answer
