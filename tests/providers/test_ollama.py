"""Ollama's figures are in the last line."""

from __future__ import annotations

from llmqd.providers import ollama
from llmqd.providers.facts import Facts, Stage
from llmqd.usage import Usage


def test_last_line_brings_everything() -> None:
    facts = Facts()
    ollama.read({"model": "llama3.2", "message": {"content": "ab", "thinking": "c"}, "done": False}, facts)
    assert (facts.stage, facts.text_bytes, facts.finished) == (Stage.NOTHING, 3, False)
    ollama.read(
        {"model": "llama3.2", "done": True, "done_reason": "stop", "prompt_eval_count": 26, "eval_count": 298}, facts
    )
    assert (facts.stage, facts.usage) == (Stage.FINAL, Usage(26, 298))
    assert (facts.model, facts.finish_reason, facts.finished) == ("llama3.2", "stop", True)


def test_input_left_out_for_a_cached_prompt_leaves_the_report_open() -> None:
    facts = Facts()
    ollama.read({"response": "abc", "done": True, "eval_count": 3}, facts)
    assert (facts.stage, facts.known_output, facts.finished) == (Stage.NOTHING, 3, True)


def test_embedding_costs_its_input() -> None:
    facts = Facts()
    message = {"model": "all-minilm", "embeddings": [[0.1]], "prompt_eval_count": 8}
    assert ollama.matches(message)
    ollama.read(message, facts)
    assert (facts.stage, facts.usage) == (Stage.FINAL, Usage(8, 0))


def test_wrong_types_are_ignored() -> None:
    facts = Facts()
    ollama.read({"done": True, "prompt_eval_count": True, "eval_count": -1, "message": [], "response": 3}, facts)
    assert (facts.stage, facts.known_output, facts.usage) == (Stage.NOTHING, None, Usage())
