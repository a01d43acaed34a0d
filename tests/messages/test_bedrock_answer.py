"""Bedrock's Converse answers: whole, and in the frames of a stream, equal to what comes back."""

from __future__ import annotations

from typing import Any

import orjson

from llmqd.messages.eventstream import EVENTSTREAM
from llmqd.messages.message import Reasoning, Text, ToolCall
from tests.messages.answers import read, said, same
from tests.messages.test_answer import frame

CONTENT: list[dict[str, Any]] = [
    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
    {"text": "Let me see."},
    {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Bern"}}},
]
EVENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "Let me "}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "see."}}),
    ("contentBlockStop", {"contentBlockIndex": 1}),
    ("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "weather"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"city":'}}}),
    ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '"Bern"}'}}}),
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1}}),
)


def test_frames_say_what_the_whole_answer_says() -> None:
    body = {"output": {"message": {"role": "assistant", "content": CONTENT}}, "stopReason": "tool_use", "usage": {}}
    whole = read(body, operation="other")
    assert whole.message.parts == (
        Reasoning("hm"),
        Text("Let me see."),
        ToolCall("weather", '{"city":"Bern"}', "t1"),
    )
    assert (whole.finish_reason, whole.function_calls) == ("tool_use", 1)
    raw = b"".join(frame(kind, orjson.dumps(event)) for kind, event in EVENTS)
    assert read(raw, operation="other", content_type=EVENTSTREAM) == whole
    (back,) = said({"messages": [{"role": "assistant", "content": CONTENT[1:]}]}, operation="other")
    assert same(whole.message, back)
