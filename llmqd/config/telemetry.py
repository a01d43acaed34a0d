"""The settings of `[telemetry]`: where traces of calls go, and what they say."""

# ruff: noqa: RUF009 - setting() makes a dataclass field, as dataclasses.field() does

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from llmqd.config.faults import nearest
from llmqd.config.kinds import Choice, Duration, FilePath, Flag, Integer, Number, Text
from llmqd.config.net_kinds import HeaderName, Headers, Url
from llmqd.config.secret import Secret
from llmqd.config.setting import setting

ATTRIBUTES: Mapping[str, str] = {
    "gen_ai.operation.name": "chat, text_completion, generate_content, embeddings, or what llmqd calls it",
    "gen_ai.provider.name": "the provider of the upstream, as the conventions call it",
    "gen_ai.request.model": "the model that the upstream was asked for",
    "gen_ai.request.stream": "true for a stream",
    "gen_ai.conversation.id": "the session",
    "gen_ai.agent.name": "the agent",
    "gen_ai.response.model": "the model that answered",
    "gen_ai.response.id": "the provider's id of its answer",
    "gen_ai.response.finish_reasons": "why the answer ended, a list of one",
    "gen_ai.response.time_to_first_chunk": "of a stream: seconds from the request upstream to the first byte",
    "gen_ai.usage.input_tokens": "all input, cached input included",
    "gen_ai.usage.output_tokens": "all output, reasoning included",
    "gen_ai.usage.cache_read.input_tokens": "input read from the provider's cache",
    "gen_ai.usage.cache_creation.input_tokens": "input written to the provider's cache",
    "gen_ai.usage.reasoning.output_tokens": "output that was reasoning",
    "user.id": "the user",
    "server.address": "the host of the upstream",
    "server.port": "its port",
    "http.request.method": "the method of the call",
    "http.response.status_code": "the status that the upstream answered, or llmqd where it refused the call",
    "error.type": "llmqd's error code, else the status from 400 on, else how the call ended",
    "llmqd.call.id": "the call in the ledger, `X-LLMQD-Request-Id`",
    "llmqd.status": "how the call ended, as in the ledger",
    "llmqd.upstream": "the name of the upstream",
    "llmqd.lane": "the lane: upstream and key",
    "llmqd.key": "the name of the client key",
    "llmqd.priority": "0 (first) to 9",
    "llmqd.tags": "the tags, a list",
    "llmqd.session.source": "how the session was recognised",
    "llmqd.attempts": "how often the call was sent upstream",
    "llmqd.queue.wait": "seconds that it waited for its turn",
    "llmqd.function_calls": "calls of tools in the answer",
    "llmqd.usage.source": "exact or estimated",
    "llmqd.service_tier": "the service tier, as the provider says it",
    "llmqd.cost.usd": "the cost in US dollars, where the price is known",
    "llmqd.attempt.verdict": "of an attempt: wait, slower, retry or permanent",
    "llmqd.attempt.reason": "of an attempt: what the upstream said",
}
"""Every attribute and what it says."""

_REQUIRED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class AttributeNames:
    """A table from names of attributes to those that they are to have instead; an empty one leaves it out."""

    noun: str = "table of names"

    def read(self, value: object) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict):
            raise ValueError('must be a table, for example { "gen_ai.provider.name" = "gen_ai.system" }')
        given: list[str] = []
        for name, new in value.items():
            if name not in ATTRIBUTES:
                raise ValueError(f'no attribute is named "{name}"{nearest(name, ATTRIBUTES)}')
            if not isinstance(new, str) or (new and not _NAME.fullmatch(new)):
                raise ValueError(f'{name}: a name has letters, digits, dots, hyphens and _; "" leaves it out')
            given.append(new)
        names = [new for new in (*given, *(name for name in ATTRIBUTES if name not in value)) if new]
        if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
            raise ValueError(f'two attributes would be named "{twice}"')
        return tuple(value.items())

    def show(self, value: tuple[tuple[str, str], ...]) -> object:
        return dict(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """OpenTelemetry: a trace of each call, by the GenAI conventions. It needs the packages of the extra llmqd[otel]."""

    endpoint: str | None = setting(
        Url(),
        None,
        "Base URL of an OTLP/HTTP receiver; traces go to /v1/traces there (docs/opentelemetry.md). Unset: no traces.",
        example="http://127.0.0.1:4318",
    )
    headers: tuple[tuple[str, Secret], ...] = setting(
        Headers(HeaderName(taken=("host", "content-length", "content-type", "content-encoding"))),
        {},
        'Headers for the receiver; values may be secrets: { Authorization = "env:OTLP_TOKEN" }.',
    )
    ca_file: Path | None = setting(
        FilePath(),
        None,
        "Certificates (PEM) to trust for the receiver instead of the system's.",
        example="/etc/ssl/certs/ca-certificates.crt",
    )
    service_name: str = setting(Text(), "llmqd", "What the traces say that they come from (service.name).")
    sample: float = setting(
        Number(least=0, most=1),
        1,
        "Share of the calls that are traced. A client that sends a traceparent decides by itself, in either direction.",
    )
    propagate: str = setting(
        Choice(("pass", "span", "none")),
        "pass",
        "What the upstream gets as trace context: pass, the client's own headers, untouched; span, that of llmqd's\n"
        "span, so that a traced upstream continues the trace; none, nothing.",
    )
    steps: bool = setting(
        Flag(),
        True,
        "Whether the wait for a turn and each attempt that failed are spans of their own in the call's.",
    )
    attributes: tuple[tuple[str, str], ...] = setting(
        AttributeNames(),
        {},
        "Other names for attributes, for receivers that know older ones:\n"
        '{ "gen_ai.provider.name" = "gen_ai.system" }; "" leaves an attribute out.',
    )
    export_every: float = setting(
        Duration(least=0.01), "2s", "How long a trace waits for others, to be sent together with them."
    )
    max_batch: int = setting(Integer(least=1, most=100_000), 500, "Calls that are sent together at most.")
    max_pending: int = setting(
        Integer(least=1, most=10_000_000),
        10_000,
        "Calls that may wait to be sent; beyond it the newest are dropped and counted.",
    )
    timeout: float = setting(
        Duration(least=0.01),
        "10s",
        "Longest time for sending once, repetitions included; what has not gone then is dropped and counted.",
    )
    compression: bool = setting(Flag(), True, "Whether what is sent is compressed (gzip).")


def missing_packages() -> str | None:
    """What keeps traces from being sent, as a sentence; None where the packages are there. Imports none of them."""
    for name in _REQUIRED:
        try:
            found = find_spec(name)
        except (ImportError, ValueError):
            found = None
        if found is None:
            return f"the package {name.rpartition('.')[0]} is not installed; install llmqd[otel], for example with pip"
    return None
