"""Every place where OpenAI and the providers made after it report usage is read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from llmqd.providers import openai
from llmqd.providers.facts import Facts, Stage
from llmqd.tap.reader import MessageReader
from llmqd.usage import PICO, Usage


def read(*messages: dict[str, Any]) -> Facts:
    facts = Facts()
    for message in messages:
        openai.read(message, facts)
    return facts


CHAT = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "id": "c1", "model": "m"}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}, Usage(10, 20)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2, "audio_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 3},
            },
            Usage(9, 12, cached=4, cache_write_5m=2, input_audio=1, reasoning=5, output_audio=3),
        ),
        (
            {
                "prompt_tokens": 30,
                "completion_tokens": 2,
                "prompt_cache_hit_tokens": 20,
                "prompt_cache_miss_tokens": 10,
            },
            Usage(30, 2, cached=20),
        ),
        ({"prompt_tokens": 3, "completion_tokens": 4, "queue_time": 0.1, "total_time": 0.2}, Usage(3, 4)),
        ({"prompt_tokens": 8, "completion_tokens": 1, "prompt_audio_seconds": 7}, Usage(8, 1, audio_seconds=7.0)),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, 0)),
        ({"total_tokens": 8}, Usage(8, 0)),
        ({"prompt_tokens": 8, "completion_tokens": 1, "cost": 0.00014}, Usage(8, 1, cost_reported_pico=140_000_000)),
        (
            {
                "prompt_tokens": 8,
                "completion_tokens": 1,
                "cost": 0.01,
                "is_byok": True,
                "cost_details": {"upstream_inference_cost": 0.2},
            },
            Usage(8, 1, cost_reported_pico=210_000_000_000),
        ),
        ({"prompt_tokens": 1, "cost": {"total_cost": 2}}, Usage(1, 0, cost_reported_pico=2 * PICO)),
        (
            {
                "prompt_tokens": 10120,
                "completion_tokens": 1499,
                "total_tokens": 14428,
                "prompt_tokens_details": {"cached_tokens": 128},
                "completion_tokens_details": {"reasoning_tokens": 2809},
                "cost_in_usd_ticks": 232_856_000,
            },
            Usage(10120, 4308, cached=128, reasoning=2809, cost_reported_pico=23_285_600_000),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 12,
                "total_tokens": 30,
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(9, 12, reasoning=5),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 30}, Usage(9, 12)),
        (
            {"prompt_tokens": 5, "completion_tokens": None, "prompt_tokens_details": None},
            Usage(5, 0),
        ),
    ],
)
def test_chat_usage_of_every_variant(usage: dict[str, Any], expected: Usage) -> None:
    facts = read(CHAT | {"usage": usage})
    assert facts.usage == expected
    assert facts.stage is Stage.FINAL
    assert (facts.model, facts.provider_id, facts.finish_reason) == ("m", "c1", "stop")


@pytest.mark.parametrize("more", [{}, {"seed": 1}])
def test_thoughts_of_gemini_stand_in_the_total_alone(more: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}
    body = CHAT | {"model": "models/gemini-2.5-flash", "usage": usage} | more
    reader = MessageReader("openai")
    reader.take_body(orjson.dumps(body))
    assert reader.facts.usage == Usage(20, 603, reasoning=405)


@pytest.mark.parametrize("bad", [None, True, -1, 1.5, 10**30, float("inf"), "12", [], {}])
def test_figure_that_is_no_count_is_as_good_as_missing(bad: object) -> None:
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": bad,
        "prompt_tokens_details": {"cached_tokens": bad, "audio_tokens": bad},
        "completion_tokens_details": bad,
        "prompt_cache_hit_tokens": bad,
        "cost": -1,
    }
    assert read(CHAT | {"usage": usage}).usage == Usage(7, 0)
    assert read(CHAT | {"usage": bad}).stage is Stage.NOTHING


@pytest.mark.parametrize("kind", [[], {}, 3, None])
def test_event_type_that_is_no_name_is_ignored(kind: object) -> None:
    assert not read({"type": kind, "response": {"status": kind}}, {"type": kind, "choices": kind}).finished


def test_groq_reports_in_its_own_member() -> None:
    last = {"choices": [{"delta": {}, "finish_reason": "stop"}], "x_groq": {"id": "r", "usage": {"prompt_tokens": 4}}}
    assert read(last).usage == Usage(4, 0)
    assert read(last).stage is Stage.FINAL


def test_moonshot_reports_inside_the_choice() -> None:
    facts = read({"choices": [{"delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 4}}]})
    assert facts.usage == Usage(4, 0)


def test_llamacpp_timings_stand_in_for_usage() -> None:
    facts = read(
        {
            "choices": [{"delta": {}, "finish_reason": "stop"}],
            "timings": {"prompt_n": 2, "cache_n": 5, "predicted_n": 9},
        }
    )
    assert facts.usage == Usage(7, 9, cached=5)


def test_continuous_usage_is_running_until_the_finish_reason() -> None:
    part = {
        "choices": [{"delta": {"content": "a"}, "finish_reason": None}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 1},
    }
    facts = read(part)
    assert facts.stage is Stage.RUNNING
    openai.read({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 9}}, facts)
    assert (facts.stage, facts.usage) == (Stage.FINAL, Usage(4, 9))


def test_tier_said_earlier_is_kept_and_the_last_one_counts() -> None:
    facts = read(
        {"choices": [], "service_tier": "auto"},
        {"choices": [], "service_tier": "priority"},
        {"choices": [], "usage": {"prompt_tokens": 1}},
    )
    assert facts.usage.service_tier == "priority"


def test_text_of_every_kind_of_delta_is_counted() -> None:
    facts = read(
        {"choices": [{"delta": {"content": "ab", "reasoning_content": "cd"}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "{}"}}]}}]},
        {"choices": [{"text": "é"}]},
        {"type": "response.function_call_arguments.delta", "delta": "xyz"},
    )
    assert facts.text_bytes == 2 + 2 + 2 + 2 + 3


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("response.completed", {"status": "completed"}, "completed"),
        (
            "response.incomplete",
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "max_output_tokens",
        ),
        ("response.failed", {"status": "failed", "error": {"code": "server_error"}}, "failed"),
    ],
)
def test_responses_terminal_events_bring_usage(kind: str, status: dict[str, Any], reason: str) -> None:
    started = {
        "type": "response.in_progress",
        "response": {"id": "r1", "model": "m", "status": "in_progress", "usage": None},
    }
    facts = read(started)
    assert (facts.finished, facts.finish_reason, facts.stage) == (False, None, Stage.NOTHING)
    usage = {"input_tokens": 3, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 4}}
    openai.read({"type": kind, "response": status | {"id": "r1", "usage": usage}}, facts)
    assert (facts.finished, facts.finish_reason, facts.provider_id) == (True, reason, "r1")
    assert facts.usage == Usage(3, 5, reasoning=4)
    assert facts.error == ("server_error" if kind == "response.failed" else None)


def test_plain_and_queued_responses_objects() -> None:
    queued = {"object": "response", "id": "r", "model": "m", "status": "queued", "usage": None}
    assert read(queued).stage is Stage.NOTHING
    assert read(queued).generated
    done = queued | {"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 5}}
    assert read(done).usage == Usage(3, 5)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"object": "list", "data": [], "model": "e", "usage": {"prompt_tokens": 8, "total_tokens": 8}}, Usage(8, 0)),
        (
            {
                "created": 1,
                "data": [{}],
                "usage": {"input_tokens": 50, "input_tokens_details": {"image_tokens": 40}, "output_tokens": 272},
            },
            Usage(50, 272),
        ),
        ({"type": "image_generation.completed", "usage": {"input_tokens": 50, "output_tokens": 272}}, Usage(50, 272)),
        (
            {
                "text": "hi",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "input_token_details": {"audio_tokens": 10},
                    "output_tokens": 45,
                },
            },
            Usage(14, 45, input_audio=10),
        ),
        ({"text": "hi", "usage": {"type": "duration", "seconds": 27}}, Usage(audio_seconds=27.0)),
        ({"text": "hi", "usage": {"type": "duration", "seconds": 2.5}}, Usage(audio_seconds=2.5)),
        (
            {"type": "transcript.text.done", "text": "hi", "usage": {"input_tokens": 14, "output_tokens": 45}},
            Usage(14, 45),
        ),
        ({"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101}}, Usage(14, 101)),
    ],
)
def test_embeddings_images_and_audio(message: dict[str, Any], expected: Usage) -> None:
    facts = read(message)
    assert facts.usage == expected
    assert facts.stage is Stage.FINAL


def test_audio_streams_end_with_their_done_event() -> None:
    assert not read({"type": "speech.audio.delta", "audio": "AAAA"}).finished
    assert read({"type": "speech.audio.done"}).finished
    assert read({"type": "transcript.text.done"}).finished


def test_lists_and_counts_report_nothing() -> None:
    for message in (
        {"object": "list", "data": [{"id": "gpt-4o"}]},
        {"object": "response.input_tokens", "input_tokens": 5},
    ):
        facts = read(message)
        assert (facts.stage, facts.generated) == (Stage.NOTHING, False)
