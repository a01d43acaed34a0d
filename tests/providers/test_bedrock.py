"""Bedrock's cache counts are added to the input."""

from __future__ import annotations

from llmqd.providers import bedrock
from llmqd.providers.facts import Facts, Stage
from llmqd.usage import Usage


def test_converse_answer_is_read() -> None:
    message = {
        "output": {"message": {"content": [{"text": "Hi"}]}},
        "stopReason": "end_turn",
        "usage": {
            "inputTokens": 30,
            "outputTokens": 628,
            "totalTokens": 1758,
            "cacheReadInputTokens": 1000,
            "cacheWriteInputTokens": 100,
            "cacheDetails": [{"ttl": "5m", "inputTokens": 60}, {"ttl": "1h", "inputTokens": 40}],
        },
    }
    assert bedrock.matches(message)
    facts = Facts()
    bedrock.read(message, facts)
    assert facts.usage == Usage(1130, 628, cached=1000, cache_write_5m=60, cache_write_1h=40)
    assert (facts.stage, facts.finish_reason) == (Stage.FINAL, "end_turn")


def test_wrong_types_are_ignored() -> None:
    facts = Facts()
    bedrock.read({"usage": {"inputTokens": "3", "outputTokens": None, "cacheDetails": 4}}, facts)
    assert facts.stage is Stage.NOTHING
