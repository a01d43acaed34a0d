"""Answers of the Messages API: blocks whole and in deltas alike, and equal to what clients send back."""

from __future__ import annotations

from typing import Any

import orjson

from llmqd.messages.message import Message, Reasoning, Text, ToolCall, ToolResult
from tests.messages.answers import anthropic_stream, read, said, same

INPUT = {"city": "Zürich", "days": 3}
BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Look it up.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "xxx"},
    {"type": "text", "text": "Let me see."},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": INPUT},
    {"type": "tool_use", "id": "toolu_2", "name": "time", "input": {}},
]


def whole(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": blocks}
    return message | {"stop_reason": "end_turn", "stop_sequence": None}


def streamed() -> bytes:
    written = orjson.dumps(INPUT).decode()
    thinking = [{"type": "thinking_delta", "thinking": piece} for piece in ("Look ", "it up.")]
    return anthropic_stream(
        [
            ({"type": "thinking", "thinking": "", "signature": ""}, [*thinking, {"type": "signature_delta"}]),
            (BLOCKS[1], []),
            ({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in ("Let me", " see.")]),
            (
                BLOCKS[3] | {"input": {}},
                [{"type": "input_json_delta", "partial_json": piece} for piece in ("", written[:7], written[7:])],
            ),
            (BLOCKS[4], [{"type": "input_json_delta", "partial_json": ""}]),
        ]
    )


def test_whole_answer_comes_back_as_blocks() -> None:
    answer = read(whole(BLOCKS), dialect="anthropic")
    assert answer.message == Message(
        "assistant",
        (
            Reasoning("Look it up."),
            Text("Let me see."),
            ToolCall("weather", '{"city":"Zürich","days":3}', "toolu_1"),
            ToolCall("time", "{}", "toolu_2"),
        ),
    )
    assert (answer.provider_id, answer.finish_reason, answer.function_calls) == ("msg_1", "end_turn", 2)
    for blocks in (BLOCKS, BLOCKS[2:]):
        (message,) = said({"messages": [{"role": "assistant", "content": blocks}]}, dialect="anthropic")
        assert same(answer.message, message)


def test_streamed_answer_is_the_whole_one() -> None:
    assert read(streamed(), dialect="anthropic") == read(whole(BLOCKS), dialect="anthropic")


def test_words_cut_up_by_citations_are_one_text() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "text", "text": "The sky is "},
        {"type": "text", "text": "blue", "citations": [{}]},
    ]
    answer = read(whole(blocks), dialect="anthropic")
    assert answer.message.parts == (Text("The sky is blue"),)
    (message,) = said({"messages": [{"role": "assistant", "content": "The sky is blue"}]}, dialect="anthropic")
    assert same(answer.message, message)


def test_tools_at_the_provider_and_their_results_are_parts() -> None:
    result = {"type": "web_search_result", "url": "https://example.org", "title": "Blue"}
    blocks: list[dict[str, Any]] = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "sky"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [result]},
        {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "echo", "server_name": "s", "input": {"a": 1}},
        {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": [{"type": "text", "text": "1"}]},
    ]
    streamed = anthropic_stream([(block, []) for block in blocks])
    answer = read(streamed, dialect="anthropic")
    call, found, mcp, echoed = answer.message.parts
    assert call == ToolCall("web_search", '{"query":"sky"}', "srvtoolu_1")
    assert isinstance(found, ToolResult)
    assert found.id == "srvtoolu_1"
    assert mcp == ToolCall("echo", '{"a":1}', "mcptoolu_1")
    assert echoed == ToolResult("1", "mcptoolu_1")
    assert answer.function_calls == 2
    (message,) = said({"messages": [{"role": "assistant", "content": blocks}]}, dialect="anthropic")
    assert same(answer.message, message)


def test_compaction_is_words() -> None:
    start = {"type": "compaction", "content": None}
    deltas = [{"type": "compaction_delta", "content": piece} for piece in ("So ", "far.")]
    assert read(anthropic_stream([(start, deltas)]), dialect="anthropic").message.text == "So far."


def test_cut_stream_keeps_the_arguments_that_came() -> None:
    raw = streamed()
    answer = read(raw[: raw.index(b"event: content_block_stop", raw.index(b"toolu_1"))], dialect="anthropic")
    assert isinstance(answer.message.parts[-1], ToolCall)
    assert answer.finish_reason is None


def test_delta_without_its_block_is_read_by_its_kind() -> None:
    raw = anthropic_stream([])
    delta = b'data: {"type":"content_block_delta","index":3,"delta":{"type":"%b","%b":"x"}}\n\n'
    raw += delta % (b"text_delta", b"text") + delta % (b"input_json_delta", b"partial_json")
    assert read(raw, dialect="anthropic").message.parts == (Text("x"),)


def test_text_completion_of_the_older_api() -> None:
    events = b'event: completion\ndata: {"type":"completion","id":"c1","completion":"%b","stop_reason":null}\n\n'
    answer = read(events % b" Hel" + events % b"lo", dialect="anthropic", operation="complete")
    assert (answer.message.text, answer.provider_id) == (" Hello", "c1")
