"""Gemini's thoughts are added to the output and its tool prompts to the input; the last report counts."""

from __future__ import annotations

from typing import Any

import pytest

from llmqd.providers import gemini
from llmqd.providers.facts import Facts, Stage
from llmqd.usage import Usage


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"promptTokenCount": 8, "candidatesTokenCount": 20, "totalTokenCount": 28}, Usage(8, 20)),
        (
            {
                "promptTokenCount": 8,
                "cachedContentTokenCount": 5,
                "candidatesTokenCount": 20,
                "thoughtsTokenCount": 30,
                "toolUsePromptTokenCount": 7,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 6}, {"modality": "AUDIO", "tokenCount": 2}],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}],
                "serviceTier": "FLEX",
            },
            Usage(15, 50, cached=5, input_audio=2, reasoning=30, output_audio=4, service_tier="flex"),
        ),
        ({"promptTokenCount": 8, "responseTokenCount": 3}, Usage(8, 3)),
        ({"promptTokenCount": 8}, Usage(8, 0)),
        ({"totalTokenCount": 30, "candidatesTokenCount": 10, "thoughtsTokenCount": 5}, Usage(15, 15, reasoning=5)),
        ({"promptTokenCount": 8, "candidatesTokenCount": "x", "promptTokensDetails": [3, None]}, Usage(8, 0)),
    ],
)
def test_usage_of_every_variant(figures: dict[str, Any], expected: Usage) -> None:
    assert gemini.usage_of(figures) == expected


def test_object_without_figures_is_no_usage() -> None:
    assert gemini.usage_of({"trafficType": "ON_DEMAND"}) is None


def test_last_chunk_counts_even_behind_the_finish_reason() -> None:
    facts = Facts()
    first = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}], "modelVersion": "g", "responseId": "r"}
    gemini.read(first | {"usageMetadata": {"promptTokenCount": 8}}, facts)
    assert (facts.stage, facts.usage, facts.text_bytes) == (Stage.RUNNING, Usage(8, 0), 2)
    gemini.read(
        {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 2}},
        facts,
    )
    assert (facts.stage, facts.usage) == (Stage.FINAL, Usage(8, 2))
    gemini.read({"usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 3}}, facts)
    assert facts.usage == Usage(8, 3)
    assert (facts.model, facts.provider_id, facts.finish_reason, facts.finished) == ("g", "r", "STOP", False)


def test_blocked_prompt_is_final_with_its_reason() -> None:
    facts = Facts()
    gemini.read({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 8}}, facts)
    assert (facts.stage, facts.finish_reason) == (Stage.FINAL, "SAFETY")


def test_marks_tell_the_format() -> None:
    assert gemini.matches({"candidates": []})
    assert not gemini.matches({"totalTokens": 4})
