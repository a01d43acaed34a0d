from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmqd.call import Attempt, Record
from llmqd.config.model import Upstream
from llmqd.config.telemetry import ATTRIBUTES
from llmqd.providers.presets import PRESETS
from llmqd.telemetry.spans import Attributes, Place, Span, call_span, renamed, steps
from llmqd.usage import Cost, Usage
from tests.store.records import answer, make_record

OPENAI = Place("openai", "api.openai.com", 443)


def span(record: Record, place: Place | None = OPENAI) -> Span:
    return call_span(record.call, record.outcome, place)


def full() -> Record:
    record = make_record(
        "s1", stream=True, agent="coder", user="ann", tags=("a", "b"), key="team", received_at=1000.0, priority=3
    )
    return answer(
        record, queued_ms=250.0, sent_ms=300.0, first_byte_ms=800.0, total_ms=2000.0, finish_reason="stop",
        response_model="gpt-4o-mini-2024", provider_id="chatcmpl-1", function_calls=2,
        usage=Usage(input=100, output=20, cached=60, cache_write_5m=5, reasoning=7, source="exact"),
        cost=Cost(total=2_500_000_000),
    )  # fmt: skip


def test_a_call_says_what_the_conventions_ask_for() -> None:
    record = full()
    found = span(record)
    assert (found.name, found.begin, found.end, found.error, found.client) == (
        "chat gpt-4o-mini", 1000.0, 1002.0, None, True,
    )  # fmt: skip
    assert found.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": "s1",
        "gen_ai.agent.name": "coder",
        "gen_ai.response.model": "gpt-4o-mini-2024",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_creation.input_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 7,
        "user.id": "ann",
        "server.address": "api.openai.com",
        "server.port": 443,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "llmqd.call.id": record.call.id,
        "llmqd.status": "done",
        "llmqd.upstream": "openai",
        "llmqd.lane": "openai/default",
        "llmqd.key": "team",
        "llmqd.priority": 3,
        "llmqd.tags": ["a", "b"],
        "llmqd.session.source": "header",
        "llmqd.attempts": 1,
        "llmqd.queue.wait": 0.25,
        "llmqd.function_calls": 2,
        "llmqd.usage.source": "exact",
        "llmqd.cost.usd": 0.0025,
    }


@pytest.mark.parametrize(
    ("operation", "dialect", "name"),
    [
        ("messages", "anthropic", "chat"), ("responses", "openai", "chat"), ("completion", "openai", "text_completion"),
        ("generate_content", "gemini", "generate_content"), ("embed_content", "gemini", "embeddings"),
        ("speech", "openai", "speech"),
    ],
)  # fmt: skip
def test_operations_have_the_names_of_the_conventions(operation: str, dialect: Any, name: str) -> None:
    found = span(answer(make_record(operation=operation, dialect=dialect)))
    assert found.attributes["gen_ai.operation.name"] == name
    assert found.name == f"{name} gpt-4o-mini"


def test_what_no_model_answers_is_no_inference() -> None:
    found = span(answer(make_record(operation="models", method="GET", model=None), usage=None, cost=None))
    assert found.name == "GET models"
    assert "gen_ai.operation.name" not in found.attributes


def test_what_is_not_known_has_no_attribute() -> None:
    record = answer(make_record(), usage=Usage(source="unknown"), cost=None)
    found = span(record, None)
    names = {"gen_ai.usage.input_tokens", "llmqd.cost.usd", "gen_ai.conversation.id", "server.address", "user.id"}
    assert not names & found.attributes.keys()


@pytest.mark.parametrize(
    ("outcome", "kind", "failed"),
    [
        ({"http_status": 404}, "404", True),
        ({"status": "cut", "error": "upstream_cut"}, "upstream_cut", True),
        ({"status": "interrupted"}, "interrupted", True),
        ({"status": "refused", "http_status": 429, "error": "queue_full"}, "queue_full", True),
        ({"status": "cancelled"}, "cancelled", False),
        ({"status": "abandoned", "http_status": None}, "abandoned", False),
        ({"error": "content_filter"}, "content_filter", False),
    ],
)
def test_an_error_has_a_type_and_what_the_client_gave_up_is_none(
    outcome: dict[str, Any], kind: str, *, failed: bool
) -> None:
    found = span(answer(make_record(), **outcome))
    assert found.attributes["error.type"] == kind
    assert found.error == (kind if failed else None)


@pytest.mark.parametrize(
    ("preset", "name"),
    [("gemini", "gcp.gemini"), ("azure", "azure.ai.openai"), ("xai", "x_ai"), ("groq", "groq"), ("vllm", "vllm")],
)
def test_providers_have_the_names_of_the_conventions(preset: str, name: str) -> None:
    assert span(answer(make_record()), Place(preset, "host")).attributes["gen_ai.provider.name"] == name


def test_the_place_of_an_upstream() -> None:
    preset = PRESETS["anthropic"]
    upstream = Upstream(name="a", base_url="https://api.example.org/x", preset=preset)
    assert Place.of(upstream) == Place("anthropic", "api.example.org", 443)
    plain = Upstream(name="b", base_url="http://127.0.0.1:11434", preset=preset)
    assert Place.of(plain) == Place("anthropic", "127.0.0.1", 11434)


def test_the_wait_and_each_failed_attempt_are_steps() -> None:
    record = full()
    record.outcome.tried = (
        Attempt("openai", "openai/a", "wait", "HTTP 429: slow", 250.0, 300.0, 429),
        Attempt("groq", "groq", "permanent", "the queue is full", None, 310.0),
    )
    waited, first, second = steps(record.call, record.outcome, {"openai": OPENAI})
    assert (waited.name, waited.begin, waited.end, waited.client) == ("wait for a turn", 1000.0, 1000.25, False)
    assert waited.attributes == {"llmqd.lane": "openai/a"}
    assert (first.name, first.begin, first.end, first.error, first.client) == (
        "attempt 1", 1000.25, 1000.3, "HTTP 429: slow", True,
    )  # fmt: skip
    assert first.attributes["server.address"] == "api.openai.com"
    assert (first.attributes["error.type"], first.attributes["llmqd.attempt.verdict"]) == ("429", "wait")
    assert (second.begin, second.end, second.client) == (1000.31, 1000.31, False)
    assert second.attributes["error.type"] == "permanent"


def test_a_call_that_did_not_wait_has_no_steps() -> None:
    record = answer(make_record(), queued_ms=0.4)
    assert steps(record.call, record.outcome, {}) == []


def test_attributes_get_other_names_or_none() -> None:
    given: Attributes = {"gen_ai.provider.name": "openai", "llmqd.cost.usd": 1.0, "user.id": "ann"}
    names = {"gen_ai.provider.name": "gen_ai.system", "user.id": ""}
    assert renamed(given, names) == {"gen_ai.system": "openai", "llmqd.cost.usd": 1.0}


def test_the_page_has_every_attribute_and_what_it_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "opentelemetry.md").read_text()
    table = page.partition("| attribute | what it says |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert {name.strip("`"): said for name, said in rows} == ATTRIBUTES
