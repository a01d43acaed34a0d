"""Answers of the Responses API: from the last event, else from items and deltas, equal to the items sent back."""

from __future__ import annotations

from typing import Any

import pytest

from llmqd.messages.message import Media, Message, Reasoning, Text, ToolCall, ToolResult
from tests.messages.answers import read, said, same
from tests.tap.recordings import sse

TEXT = {"type": "output_text", "text": "It is sunny.", "annotations": []}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Look it up."}]}
SPOKEN = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [TEXT]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Bern"}'}
CUSTOM = {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_2", "name": "sql", "input": "select 1"}
OUTPUT: list[dict[str, Any]] = [REASONING, SPOKEN, CALL, CUSTOM]
PARTS = (
    Reasoning("Look it up."),
    Text("It is sunny."),
    ToolCall("weather", '{"city":"Bern"}', "call_1"),
    ToolCall("sql", "select 1", "call_2"),
)


def response(output: list[dict[str, Any]], status: str = "completed", **more: object) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": status, "model": "gpt-5", "output": output} | more


def events() -> list[dict[str, Any]]:
    """The stream of OUTPUT up to its last event."""
    listed: list[dict[str, Any]] = [{"type": "response.created", "response": response([], "in_progress")}]
    pieces: tuple[tuple[str, dict[str, Any], list[str]], ...] = (
        ("response.reasoning_summary_text.delta", {"summary_index": 0}, ["Look ", "it up."]),
        ("response.output_text.delta", {"content_index": 0}, ["It is", " sunny."]),
        ("response.function_call_arguments.delta", {}, ['{"city"', ':"Bern"}']),
        ("response.custom_tool_call_input.delta", {}, ["select", " 1"]),
    )
    empty: tuple[dict[str, Any], ...] = ({"summary": []}, {"content": []}, {"arguments": ""}, {"input": ""})
    for index, (item, (kind, place, deltas)) in enumerate(zip(OUTPUT, pieces, strict=True)):
        at = {"output_index": index}
        listed.append({"type": "response.output_item.added", **at, "item": item | empty[index]})
        listed += [{"type": kind, **at, "item_id": item["id"], **place, "delta": piece} for piece in deltas]
        listed.append({"type": "response.output_item.done", **at, "item": item})
    return listed


def last(output: list[dict[str, Any]], kind: str = "completed", **more: object) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": response(output, kind, **more)}


def test_whole_response_comes_back_as_items() -> None:
    answer = read(response(OUTPUT), operation="responses")
    assert answer.message == Message("assistant", PARTS)
    assert (answer.provider_id, answer.finish_reason, answer.function_calls) == ("resp_1", "completed", 2)
    assert answer.item_id == "ct_1"
    question = {"role": "user", "content": "Weather?"}
    for items in (OUTPUT, OUTPUT[1:]):
        assert same(answer.message, said({"input": [question, *items]}, operation="responses")[1])


def test_last_event_says_it_all() -> None:
    stream = sse(*events(), last(OUTPUT), named=True)
    assert read(stream, operation="responses") == read(response(OUTPUT), operation="responses")


def test_last_event_with_an_empty_output_leaves_the_items() -> None:
    stream = sse(*events(), last([]), named=True)
    assert read(stream, operation="responses") == read(response(OUTPUT), operation="responses")


@pytest.mark.parametrize("done", [True, False])
def test_cut_stream_says_what_its_items_and_deltas_say(done: bool) -> None:
    kept = [event for event in events() if done or not event["type"].endswith("done")]
    answer = read(sse(*kept, named=True), operation="responses")
    assert answer.message.parts == PARTS
    assert (answer.provider_id, answer.finish_reason) == ("resp_1", None)
    assert read(sse(*kept[:4]), operation="responses").message.parts == PARTS[:1]


def test_deltas_without_an_item_are_a_message() -> None:
    deltas = [{"type": "response.refusal.delta", "delta": piece} for piece in ("I can't ", "do that.")]
    answer = read(sse(*deltas, named=True), operation="responses")
    assert answer.message.text == "I can't do that."
    refusal = {"type": "refusal", "refusal": "I can't do that."}
    assert read(response([SPOKEN | {"content": [refusal]}]), operation="responses").message == answer.message


def test_incomplete_response_says_why() -> None:
    body = response([SPOKEN], "incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert read(body, operation="responses").finish_reason == "max_output_tokens"


def test_tools_at_the_provider_are_calls() -> None:
    items: list[dict[str, Any]] = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"type": "code_interpreter_call", "id": "ci_1", "code": "print(1)", "outputs": []},
        {"type": "image_generation_call", "id": "ig_1", "result": "iVBO", "output_format": "png", "prompt": "a cat"},
        {"type": "mcp_list_tools", "id": "ml_1", "tools": []},
        {"type": "compaction", "id": "cm_1", "encrypted_content": "x"},
    ]
    answer = read(response(items), operation="responses")
    assert answer.message.parts == (
        ToolCall("web_search", '{"type":"search","query":"x"}', "ws_1"),
        ToolCall("code_interpreter", "print(1)", "ci_1"),
        ToolCall("image_generation", "a cat", "ig_1"),
        Media("image/png", data="iVBO", size=3),
    )
    assert same(answer.message, said({"input": items}, operation="responses")[0])


def test_open_weights_reasoning_is_read_too() -> None:
    item = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    assert read(response([item, SPOKEN]), operation="responses").message.parts[0] == Reasoning("hm")


def test_what_tools_at_the_provider_gave_back_is_said_too() -> None:
    output: list[dict[str, Any]] = [
        {"type": "mcp_call", "id": "m", "name": "roll", "arguments": "{}", "output": "four"},
        {"type": "mcp_call", "id": "e", "name": "roll", "arguments": "{}", "error": "no dice", "output": None},
        {"type": "code_interpreter_call", "id": "c", "code": "1+1", "outputs": [{"type": "logs", "logs": "2"}]},
        {"type": "file_search_call", "id": "f", "queries": ["q"], "results": [{"filename": "a", "text": "b"}]},
    ]
    answer = read(response(output), operation="responses")
    assert answer.message.parts == (
        ToolCall("roll", "{}", "m"),
        ToolResult("four", "m"),
        ToolCall("roll", "{}", "e"),
        ToolResult("no dice", "e"),
        ToolCall("code_interpreter", "1+1", "c"),
        ToolResult("2", "c"),
        ToolCall("file_search", '["q"]', "f"),
        ToolResult("b", "f"),
    )
    assert answer.message.parts == said({"input": output}, operation="responses")[0].parts


def test_passages_of_reasoning_are_lines_of_their_own_and_open_models_thoughts_come_back() -> None:
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}],
        "content": [{"type": "reasoning_text", "text": "three"}],
    }
    answer = read(response([item]), operation="responses")
    assert answer.message.parts == (Reasoning("one\ntwo\nthree"),)
    assert answer.message == said({"input": [item]}, operation="responses")[0]
