"""Anthropic's counts are added up to totals, and a stream's two reports are merged field by field."""

from __future__ import annotations

from typing import Any

import pytest

from llmqd.providers import anthropic
from llmqd.providers.facts import Facts, Stage
from llmqd.usage import Usage


def read(*messages: dict[str, Any]) -> Facts:
    facts = Facts()
    for message in messages:
        anthropic.read(message, facts)
    return facts


def start(**usage: object) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": usage}}


def delta(reason: str | None, **usage: object) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 10, "output_tokens": 25}, Usage(10, 25)),
        (
            {
                "input_tokens": 10,
                "cache_creation_input_tokens": 100,
                "cache_read_input_tokens": 1000,
                "output_tokens": 5,
            },
            Usage(1110, 5, cached=1000, cache_write_5m=100),
        ),
        (
            {
                "input_tokens": 10,
                "cache_creation_input_tokens": 100,
                "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70},
                "output_tokens": 5,
                "output_tokens_details": {"thinking_tokens": 4},
                "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
                "service_tier": "priority",
            },
            Usage(110, 5, cache_write_5m=30, cache_write_1h=70, reasoning=4, web_searches=2, service_tier="priority"),
        ),
        (
            {"input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 70}, "output_tokens": 5},
            Usage(71, 5, cache_write_1h=70),
        ),
        (
            {
                "input_tokens": 100,
                "output_tokens": 50,
                "iterations": [
                    {"type": "compaction", "input_tokens": 5000, "output_tokens": 300},
                    {"type": "message", "input_tokens": 100, "output_tokens": 50},
                ],
            },
            Usage(5100, 350),
        ),
        (
            {"input_tokens": 1, "output_tokens": 2, "speed": "fast", "service_tier": "standard"},
            Usage(1, 2, service_tier="fast"),
        ),
        (
            {"input_tokens": 1, "output_tokens": True, "cache_read_input_tokens": -5, "cache_creation": []},
            Usage(1, 0),
        ),
    ],
)
def test_plain_message_of_every_variant(usage: dict[str, Any], expected: Usage) -> None:
    facts = read({"type": "message", "id": "msg_1", "model": "claude", "stop_reason": "end_turn", "usage": usage})
    assert facts.usage == expected
    assert facts.stage is Stage.FINAL
    assert (facts.model, facts.provider_id, facts.finish_reason) == ("claude", "msg_1", "end_turn")


def test_message_start_gives_the_input_only() -> None:
    facts = read(start(input_tokens=25, output_tokens=1))
    assert (facts.stage, facts.usage, facts.finished) == (Stage.INPUT, Usage(25, 1), False)


def test_later_counts_replace_and_missing_or_null_ones_do_not() -> None:
    split = {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4}
    begun = start(
        input_tokens=25, cache_creation_input_tokens=5, cache_creation=split, service_tier="standard", output_tokens=1
    )
    facts = read(begun, delta(None, output_tokens=7, input_tokens=None, cache_read_input_tokens=9))
    assert facts.stage is Stage.RUNNING
    assert facts.usage == Usage(39, 7, cached=9, cache_write_5m=1, cache_write_1h=4, service_tier="standard")
    anthropic.read(delta("tool_use", output_tokens=12, input_tokens=30), facts)
    anthropic.read({"type": "message_stop"}, facts)
    assert facts.usage == Usage(44, 12, cached=9, cache_write_5m=1, cache_write_1h=4, service_tier="standard")
    assert (facts.stage, facts.finish_reason, facts.finished) == (Stage.FINAL, "tool_use", True)


def test_an_input_does_not_become_nothing_again() -> None:
    begun = start(input_tokens=25, cache_read_input_tokens=9, output_tokens=1)
    facts = read(begun, delta("end_turn", input_tokens=0, cache_read_input_tokens=0, output_tokens=0))
    assert facts.usage == Usage(34, 0, cached=9)


def test_text_thinking_and_tool_input_are_counted() -> None:
    facts = read(
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "ab"}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "cde"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "ping"},
    )
    assert facts.text_bytes == 6


def test_token_count_is_no_usage() -> None:
    assert read({"input_tokens": 12}).stage is Stage.NOTHING


def test_types_tell_the_format() -> None:
    assert anthropic.matches({"type": "message"})
    assert not anthropic.matches({"type": "response.created"})
    assert not anthropic.matches({"type": ["message"]})
