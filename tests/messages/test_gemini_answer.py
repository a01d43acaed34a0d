"""Gemini's answers: chunks joined, thoughts, calls and media apart, and equal to the contents that come back."""

from __future__ import annotations

from typing import Any

import orjson

from llmqd.messages.message import Media, Message, Reasoning, Text, ToolCall, ToolResult
from tests.messages.answers import read, said, same
from tests.tap.recordings import sse

PARTS: list[dict[str, Any]] = [
    {"text": "Look it ", "thought": True},
    {"text": "up.", "thought": True},
    {"text": "Let me "},
    {"text": "see."},
    {"functionCall": {"name": "weather", "args": {"city": "Zürich"}, "id": "f1"}, "thoughtSignature": "c2ln"},
    {"functionCall": {"name": "time", "args": {}}},
]
SPOKEN = (
    Reasoning("Look it up."),
    Text("Let me see."),
    ToolCall("weather", '{"city":"Zürich"}', "f1"),
    ToolCall("time", "{}"),
)


def body(parts: list[dict[str, Any]], reason: str | None = "STOP") -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    candidate |= {"finishReason": reason} if reason else {}
    return {"candidates": [candidate], "responseId": "g1", "modelVersion": "gemini-2.5-pro"}


def test_whole_answer_comes_back_as_a_content() -> None:
    answer = read(body(PARTS), dialect="gemini")
    assert answer.message == Message("assistant", SPOKEN)
    assert (answer.provider_id, answer.finish_reason, answer.function_calls) == ("g1", "STOP", 2)
    question = {"role": "user", "parts": [{"text": "Weather?"}]}
    for parts in (PARTS, PARTS[2:]):
        contents = [question, {"role": "model", "parts": parts}]
        assert same(answer.message, said({"contents": contents}, dialect="gemini")[1])


def test_streamed_parts_follow_each_other() -> None:
    chunks = [body([part], None) for part in PARTS] + [body([], "STOP")]
    expected = read(body(PARTS), dialect="gemini")
    assert read(sse(*chunks), dialect="gemini") == expected
    array = orjson.dumps(chunks)
    assert read(array, dialect="gemini", content_type="application/json") == expected
    contents = [{"role": "model", "parts": [part]} for part in PARTS]
    assert same(expected.message, said({"contents": contents}, dialect="gemini")[0]), "as the SDK's chats send it back"


def test_media_are_kept_up_to_a_size() -> None:
    small = {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}
    large = {"inlineData": {"mimeType": "image/png", "data": "A" * 4_000_000}}
    file = {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://bucket/film"}}
    assert read(body([small, large, file]), dialect="gemini").message.parts == (
        Media("image/png", data="iVBO", size=3),
        Media("image/png", size=3_000_000),
        Media("video/mp4", url="gs://bucket/film"),
    )


def test_code_that_ran_is_a_call_and_its_result() -> None:
    parts = [
        {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
    ]
    answer = read(body(parts), dialect="gemini")
    assert answer.message.parts == (ToolCall("code_execution", "print(1)"), ToolResult("1\n"))
    assert answer.function_calls == 1


def test_blocked_prompt_is_no_message_but_says_why() -> None:
    raw = orjson.dumps({"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "g1"})
    stream = b"data: " + raw + b"\n\n" + b"data: " + orjson.dumps(body([{"text": "x"}], None)) + b"\n\n"
    assert read(stream, dialect="gemini").finish_reason == "SAFETY"


def test_arguments_that_are_streamed_are_put_where_they_belong() -> None:
    def piece(path: str, more: bool = False, **value: object) -> dict[str, Any]:
        return {"jsonPath": path, **value, **({"willContinue": True} if more else {})}

    calls: list[dict[str, Any]] = [
        {"name": "book", "id": "f1", "willContinue": True},
        {"partialArgs": [piece("$.city", True, stringValue="New ")], "willContinue": True},
        {"partialArgs": [piece("$.city", stringValue="York")], "willContinue": True},
        {"partialArgs": [piece("$.days[0].count", numberValue=3), piece("$.days[1]", boolValue=True)]}
        | {"willContinue": True},
        {"partialArgs": [piece("$.none", nullValue="NULL_VALUE"), piece("$.days[9]", stringValue="too far")]}
        | {"willContinue": True},
        {"partialArgs": [piece("nonsense", stringValue="x"), {"jsonPath": 3}], "willContinue": True},
        {},
        {"name": "second", "willContinue": True},
        {"partialArgs": [piece("$['a b']", stringValue="c")]},
    ]
    answer = read(sse(*[body([{"functionCall": call}], None) for call in calls]), dialect="gemini")
    assert answer.message.parts == (
        ToolCall("book", '{"city":"New York","days":[{"count":3},true],"none":null}', "f1"),
        ToolCall("second", '{"a b":"c"}'),
    )


def test_further_candidates_are_kept_apart() -> None:
    first = body([{"text": "one"}])
    first["candidates"].append({"content": {"parts": [{"text": "two"}]}, "index": 1, "finishReason": "MAX_TOKENS"})
    answer = read(first, dialect="gemini")
    assert (answer.message.text, [other.text for other in answer.others]) == ("one", ["two"])
    assert answer.finish_reason == "STOP"
