"""llama.cpp's native figures, and its timings."""

from __future__ import annotations

from llmqd.providers import llamacpp
from llmqd.providers.facts import Facts, Stage
from llmqd.usage import Usage


def test_last_event_brings_the_figures() -> None:
    facts = Facts()
    llamacpp.read({"content": "ab", "stop": False, "tokens_predicted": 1, "tokens_evaluated": 12}, facts)
    assert (facts.stage, facts.text_bytes) == (Stage.NOTHING, 2)
    last = {"content": "", "stop": True, "stop_type": "eos", "tokens_predicted": 20, "tokens_evaluated": 12}
    llamacpp.read(last | {"model": "q", "timings": {"prompt_n": 2, "cache_n": 10, "predicted_n": 20}}, facts)
    assert (facts.stage, facts.usage) == (Stage.FINAL, Usage(12, 20, cached=10))
    assert (facts.model, facts.finish_reason, facts.finished) == ("q", "eos", True)


def test_timings_stand_in_for_the_figures() -> None:
    facts = Facts()
    llamacpp.read({"stop": True, "timings": {"prompt_n": 2, "cache_n": 10, "predicted_n": 20}}, facts)
    assert facts.usage == Usage(12, 20, cached=10)


def test_timings_without_both_sides_are_no_usage() -> None:
    assert llamacpp.usage_of({"timings": {"prompt_n": 2}}) is None
    assert llamacpp.usage_of({"timings": "fast"}) is None


def test_cached_never_exceeds_the_input() -> None:
    facts = Facts()
    llamacpp.read({"stop": True, "tokens_predicted": 20, "tokens_evaluated": 12, "tokens_cached": 31}, facts)
    assert facts.usage == Usage(12, 20, cached=12)


def test_openai_answers_are_not_taken_for_native_ones() -> None:
    assert not llamacpp.matches({"choices": [], "stop": True})
    assert llamacpp.matches({"content": "a", "stop": False})
