"""Cohere's answers, version 2 and version 1: deltas joined, whole ones alike, and equal to what comes back."""

from __future__ import annotations

from typing import Any

from llmqd.messages.message import Reasoning, Text, ToolCall
from tests.messages.answers import read, said, same
from tests.tap.recordings import sse


def call(number: int) -> dict[str, Any]:
    return {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


MESSAGE = {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [call(0), call(1)]}


def delta(kind: str, message: object, **more: object) -> dict[str, Any]:
    return {"type": kind, "delta": {"message": message}, **more}


def test_streamed_calls_are_the_whole_answer_and_come_back() -> None:
    whole = read({"id": "1", "finish_reason": "TOOL_CALL", "message": MESSAGE}, operation="other")
    assert whole.message.parts == (
        Reasoning("I will look."),
        ToolCall("f", '{"a":1}', "c0"),
        ToolCall("f", '{"a":1}', "c1"),
    )
    events = [{"type": "message-start", "id": "1"} | delta("message-start", {"role": "assistant"})]
    events += [delta("tool-plan-delta", {"tool_plan": piece}) for piece in ("I will", " look.")]
    for number in (0, 1):
        begun = call(number)
        begun["function"] = {"name": "f", "arguments": ""}
        events.append(delta("tool-call-start", {"tool_calls": begun}, index=number))
        for piece in ('{"a"', ":1}"):
            events.append(delta("tool-call-delta", {"tool_calls": {"function": {"arguments": piece}}}, index=number))
        events.append({"type": "tool-call-end", "index": number})
    events.append({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}})
    assert read(sse(*events, named=True), operation="other") == whole
    assert same(whole.message, said({"messages": [MESSAGE]}, operation="other")[0])


def test_text_in_blocks_is_read_whole_and_streamed() -> None:
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello"}]
    whole = read({"id": "1", "finish_reason": "COMPLETE", "message": {"content": content}}, operation="other")
    assert whole.message.parts == (Reasoning("hm"), Text("Hello"))
    events: list[dict[str, Any]] = [{"type": "message-start", "id": "1"}]
    events.append(delta("content-start", {"content": {"type": "thinking", "thinking": ""}}, index=0))
    events.append(delta("content-delta", {"content": {"thinking": "hm"}}, index=0))
    events.append(delta("content-start", {"content": {"type": "text", "text": ""}}, index=1))
    events += [delta("content-delta", {"content": {"text": piece}}, index=1) for piece in ("Hel", "lo")]
    events.append({"type": "message-end", "delta": {"finish_reason": "COMPLETE"}})
    assert read(sse(*events, named=True), operation="other") == whole


def test_version_1_is_read_whole_and_streamed() -> None:
    calls = [{"name": "f", "parameters": {"a": 1}}]
    end = {"text": "Hello", "generation_id": "g1", "finish_reason": "COMPLETE", "tool_calls": calls}
    whole = read(end, operation="other")
    assert whole.message.parts == (Text("Hello"), ToolCall("f", '{"a":1}'))
    events = [
        {"event_type": "stream-start", "generation_id": "g1"},
        *[{"event_type": "text-generation", "text": piece} for piece in ("Hel", "lo")],
        {"event_type": "tool-calls-generation", "tool_calls": calls},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": end},
    ]
    assert read(sse(*events), operation="other") == whole
