"""Cohere's billed units count, its real tokens stand in where it bills none."""

from __future__ import annotations

from typing import Any

import pytest

from llmqd.providers import cohere
from llmqd.providers.facts import Facts, Stage
from llmqd.usage import Usage

BOTH = {
    "billed_units": {"input_tokens": 5.0, "output_tokens": 418},
    "tokens": {"input_tokens": 71, "output_tokens": 418},
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"id": "1", "finish_reason": "COMPLETE", "usage": BOTH}, Usage(5, 418)),
        ({"usage": BOTH | {"cached_tokens": 64}}, Usage(5, 418, cached=5)),
        ({"usage": {"tokens": {"input_tokens": 71, "output_tokens": 4}, "billed_units": {}}}, Usage(71, 4)),
        ({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": BOTH}}, Usage(5, 418)),
        ({"event_type": "stream-end", "response": {"generation_id": "g", "meta": BOTH}}, Usage(5, 418)),
        ({"embeddings": [], "meta": {"billed_units": {"input_tokens": 12}}}, Usage(12, 0)),
    ],
)
def test_usage_of_every_variant(message: dict[str, Any], expected: Usage) -> None:
    assert cohere.matches(message)
    facts = Facts()
    cohere.read(message, facts)
    assert (facts.stage, facts.usage) == (Stage.FINAL, expected)


def test_stream_events_bring_id_text_and_end() -> None:
    facts = Facts()
    cohere.read({"type": "message-start", "id": "m1", "delta": {"message": {"role": "assistant"}}}, facts)
    cohere.read({"type": "content-delta", "delta": {"message": {"content": {"text": "abc"}}}}, facts)
    assert (facts.provider_id, facts.text_bytes, facts.finished) == ("m1", 3, False)
    cohere.read({"type": "message-end", "delta": {"finish_reason": "MAX_TOKENS", "usage": BOTH}}, facts)
    assert (facts.finish_reason, facts.finished) == ("MAX_TOKENS", True)


def test_rerank_searches_are_no_tokens() -> None:
    facts = Facts()
    cohere.read({"results": [], "meta": {"billed_units": {"search_units": 1}}}, facts)
    assert facts.stage is Stage.NOTHING
