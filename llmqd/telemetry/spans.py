"""What a call looks like as spans, by OpenTelemetry's conventions for generative AI: names, times and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llmqd.config.telemetry import ATTRIBUTES
from llmqd.usage import PICO

if TYPE_CHECKING:
    from llmqd.call import Attempt, Call, Outcome
    from llmqd.config.model import Upstream

Value = str | int | float | bool | Sequence[str]
Attributes = dict[str, Value]

_OPERATIONS = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "complete": "text_completion",
    "completion": "text_completion",
    "generate_content": "generate_content",
    "embeddings": "embeddings",
    "embed_content": "embeddings",
}
"""`gen_ai.operation.name` of our operations; those that models do not answer have none."""
_OWN_OPERATIONS = frozenset({"transcription", "translation", "speech", "images", "moderation", "realtime"})
"""Inference for which the conventions know no name."""

_PROVIDERS = {
    "aws-bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "azure-openai": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "google-ai-studio": "gcp.gemini",
    "google-vertex-ai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
    "grok": "x_ai",
    "perplexity-ai": "perplexity",
}
"""`gen_ai.provider.name` where it is not the name of the provider here."""

_OVER_EARLY = frozenset({"cut", "failed", "refused", "interrupted"})
"""How a call may end that counts as an error. What the client itself gave up is none."""
_SHORTEST_WAIT = 0.001
"""Seconds from which a wait is a span of its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an upstream is: what its provider is called here, its host and port."""

    provider: str
    host: str
    port: int | None = None

    @classmethod
    def of(cls, upstream: Upstream) -> Place:
        """Of a configured upstream."""
        url = urlsplit(upstream.base_url)
        return cls(upstream.preset.name, url.hostname or "", url.port or {"https": 443, "http": 80}.get(url.scheme))


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a call, in Unix seconds. `client` says that it is a request to another service."""

    name: str
    begin: float
    end: float
    attributes: Attributes
    error: str | None = None
    client: bool = False


def call_span(call: Call, outcome: Outcome, place: Place | None) -> Span:
    """The call as a whole, from its arrival to the end of its answer. What is not known has no attribute."""
    operation = _operation(call)
    model = call.limited_as
    name = f"{operation or call.operation} {model}" if model else operation or f"{call.method} {call.operation}"
    found: dict[str, Value | None] = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": model,
        "gen_ai.request.stream": call.stream or None,
        "gen_ai.conversation.id": call.session.id,
        "gen_ai.agent.name": call.agent,
        "gen_ai.response.model": outcome.response_model,
        "gen_ai.response.id": outcome.provider_id,
        "gen_ai.response.finish_reasons": [outcome.finish_reason] if outcome.finish_reason else None,
        "user.id": call.user,
        "http.request.method": call.method,
        "http.response.status_code": outcome.http_status,
        "llmqd.call.id": call.id,
        "llmqd.status": outcome.status,
        "llmqd.upstream": call.upstream,
        "llmqd.lane": outcome.lane,
        "llmqd.key": call.key,
        "llmqd.priority": call.priority,
        "llmqd.tags": list(call.tags) or None,
        "llmqd.session.source": call.session.source,
        "llmqd.attempts": outcome.attempts,
        "llmqd.queue.wait": _seconds(outcome.queued_ms),
        "llmqd.function_calls": outcome.function_calls or None,
        **_of_place(place),
        **_of_usage(outcome),
    }
    if call.stream and outcome.first_byte_ms is not None and outcome.sent_ms is not None:
        found["gen_ai.response.time_to_first_chunk"] = _seconds(max(outcome.first_byte_ms - outcome.sent_ms, 0.0))
    error = _error(outcome)
    found["error.type"] = error
    begin = call.received_at
    failed = error if outcome.status in _OVER_EARLY or (outcome.http_status or 0) >= 400 else None
    return Span(name, begin, begin + (outcome.total_ms or 0.0) / 1000, _known(found), failed, client=True)


def steps(call: Call, outcome: Outcome, places: Mapping[str, Place]) -> list[Span]:
    """What the call went through: its first wait, and each attempt that was not the last one."""
    found: list[Span] = []
    begin = call.received_at
    waited = _seconds(outcome.queued_ms)
    if waited is not None and waited >= _SHORTEST_WAIT:
        attributes = {"llmqd.lane": outcome.tried[0].lane if outcome.tried else outcome.lane}
        found.append(Span("wait for a turn", begin, begin + waited, _known(attributes)))
    for number, attempt in enumerate(outcome.tried, 1):
        found.append(_attempt_span(f"attempt {number}", begin, attempt, places.get(attempt.upstream)))
    return found


def renamed(attributes: Attributes, names: Mapping[str, str]) -> Attributes:
    """The attributes under the names that they are to have; those that are renamed to nothing are left out."""
    return {new: value for name, value in attributes.items() if (new := names.get(name, name))}


def _attempt_span(name: str, begin: float, attempt: Attempt, place: Place | None) -> Span:
    error = str(attempt.http_status) if attempt.http_status is not None else attempt.verdict
    ended = begin + attempt.ended_ms / 1000
    began = ended if attempt.at_ms is None else begin + attempt.at_ms / 1000
    found: dict[str, Value | None] = {
        "http.response.status_code": attempt.http_status,
        "error.type": error,
        "llmqd.upstream": attempt.upstream,
        "llmqd.lane": attempt.lane,
        "llmqd.attempt.verdict": attempt.verdict,
        "llmqd.attempt.reason": attempt.reason,
        **_of_place(place),
    }
    return Span(name, began, ended, _known(found), attempt.reason, client=attempt.at_ms is not None)


def _of_place(place: Place | None) -> dict[str, Value | None]:
    if place is None:
        return {}
    return {
        "gen_ai.provider.name": _PROVIDERS.get(place.provider, place.provider),
        "server.address": place.host or None,
        "server.port": place.port,
    }


def _of_usage(outcome: Outcome) -> dict[str, Value | None]:
    usage, cost = outcome.usage, outcome.cost
    if usage is None or usage.source == "unknown":
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.input,
        "gen_ai.usage.output_tokens": usage.output,
        "gen_ai.usage.cache_read.input_tokens": usage.cached or None,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_5m + usage.cache_write_1h or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning or None,
        "llmqd.usage.source": usage.source,
        "llmqd.service_tier": usage.service_tier,
        "llmqd.cost.usd": None if cost is None else cost.total / PICO,
    }


def _operation(call: Call) -> str | None:
    known = _OPERATIONS.get(call.operation)
    return known or (call.operation if call.operation in _OWN_OPERATIONS else None)


def _error(outcome: Outcome) -> str | None:
    """The most telling of what there is: a code of our own, the status, or how the call ended."""
    if outcome.error is not None:
        return outcome.error
    if outcome.http_status is not None and outcome.http_status >= 400:
        return str(outcome.http_status)
    return None if outcome.status == "done" else outcome.status


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else round(ms / 1000, 6)


def _known(found: Mapping[str, Value | None]) -> Attributes:
    known = {name: value for name, value in found.items() if value is not None}
    assert known.keys() <= ATTRIBUTES.keys(), known.keys() - ATTRIBUTES.keys()
    return known
