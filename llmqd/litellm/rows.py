"""What a row of LiteLLM_SpendLogs says, as a record of the ledger. Pure: no database, no clock.

How LiteLLM writes its rows: litellm/proxy/spend_tracking/spend_tracking_utils.py. Old versions lack columns, so a row
may lack any but its id and its time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import orjson

from llmqd.call import NO_SESSION, Call, Dialect, Outcome, Record, SessionRef
from llmqd.usage import PICO, Cost, Usage

LANE = "litellm"
"""What stands in the place of a lane: no lane of ours has sent these calls."""

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_LONGEST_NAME = 256
_LARGEST_INT = 2**62

_KINDS: tuple[tuple[str, tuple[str, str, Dialect]], ...] = (
    ("anthropic_messages", ("/v1/messages", "messages", "anthropic")),
    ("text_completion", ("/v1/completions", "completion", "openai")),
    ("completion", ("/v1/chat/completions", "chat", "openai")),
    ("responses", ("/v1/responses", "responses", "openai")),
    ("generate_content", ("/v1beta/models:generateContent", "generate_content", "gemini")),
    ("embedding", ("/v1/embeddings", "embeddings", "openai")),
    ("image", ("/v1/images/generations", "images", "openai")),
    ("transcription", ("/v1/audio/transcriptions", "transcription", "openai")),
    ("speech", ("/v1/audio/speech", "speech", "openai")),
    ("moderation", ("/v1/moderations", "moderation", "openai")),
    ("realtime", ("/v1/realtime", "realtime", "openai")),
)
"""By what `call_type` contains, the first that fits: most exist with an `a` before them as well (asynchronous)."""


@dataclass(frozen=True, slots=True)
class SpendLog:
    """One row: its record, and of what was said the `request` body and the `response`, empty where not stored.

    `own_session` says that the session's id was most probably made up by LiteLLM for this one call: it does that for
    every call that names none. `ended` is in Unix seconds.
    """

    record: Record
    request: Mapping[str, Any]
    response: Any
    own_session: bool
    ended: float


def call_id(request_id: str, started: float) -> str:
    """The id of a call in the ledger: by time as all are, and always the same for the same row."""
    digest = int.from_bytes(blake2b(request_id.encode(), digest_size=10).digest(), "big")
    value = (max(0, int(started * 1000)) << 80 | digest) & (1 << 130) - 1
    return "".join([_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5)])


def seconds(moment: datetime) -> float:
    """Unix seconds. A time without a zone is in UTC, as Prisma writes them."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def spend_log(row: Mapping[str, Any]) -> SpendLog:
    """Reads a row, by the names of its columns. Raises ValueError where it has no id or no time."""
    request_id, start = row.get("request_id"), row.get("startTime")
    if not isinstance(request_id, str) or not isinstance(start, datetime):
        raise ValueError("a row without request_id or startTime")
    started = seconds(start)
    end = row.get("endTime")
    ended = max(started, seconds(end)) if isinstance(end, datetime) else started
    metadata, request = _object(row.get("metadata")), _request(row)
    extra = _object(metadata.get("spend_logs_metadata"))
    path, operation, dialect = _kind(_text(row.get("call_type")))
    first, streamed = _first_ms(row, started, ended, request)
    session, own_session = _session(row, request)
    call = Call(
        id=call_id(request_id, started),
        received_at=started,
        arrived=0.0,
        method="POST",
        path=path,
        dialect=dialect,
        operation=operation,
        upstream=_text(row.get("custom_llm_provider")) or "litellm",
        model=_text(row.get("model")) or _text(row.get("model_group")),
        stream=streamed,
        session=session,
        agent=_first(extra, "agent_name", "agent") or _text(metadata.get("agent_name")) or _text(row.get("agent_id")),
        user=_text(row.get("end_user")) or _first(extra, "user_id", "user") or _text(row.get("user")),
        conversation=_first(extra, "conversation_name", "conversation", "conversation_id")
        or _text(metadata.get("conversation_name")),
        tags=_tags(row.get("request_tags")),
        client=_text(metadata.get("user_api_key_alias")) or _text(row.get("api_key")),
    )
    outcome = _outcome(row, metadata, request_id)
    outcome.total_ms, outcome.first_byte_ms = round((ended - started) * 1000, 3), first
    return SpendLog(Record(call, outcome), request, _json(row.get("response")), own_session, ended)


def _outcome(row: Mapping[str, Any], metadata: Mapping[str, Any], request_id: str) -> Outcome:
    failed = "failure" in (row.get("status"), metadata.get("status"))
    error = _object(metadata.get("error_information"))
    usage = _usage(row, metadata, failed=failed)
    outcome = Outcome(
        status="failed" if failed else "done",
        http_status=_status(error.get("error_code")) if failed else 200,
        error=(_first(error, "error_class", "error_message") or "failure") if failed else None,
        lane=LANE,
        attempts=1,
        response_model=_text(row.get("model")),
        provider_id=request_id,
        usage=usage,
    )
    if usage is not None:
        outcome.cost = _cost(row.get("spend"), _object(metadata.get("cost_breakdown")))
    return outcome


def _usage(row: Mapping[str, Any], metadata: Mapping[str, Any], *, failed: bool) -> Usage | None:
    prompt, completion = _count(row.get("prompt_tokens")), _count(row.get("completion_tokens"))
    if failed and not prompt and not completion:
        return None
    figures = {**_object(metadata.get("usage_object")), **_object(metadata.get("additional_usage_values"))}
    details, out = _object(figures.get("prompt_tokens_details")), _object(figures.get("completion_tokens_details"))
    cached = _count(figures.get("cache_read_input_tokens")) or _count(details.get("cached_tokens"))
    written = _count(figures.get("cache_creation_input_tokens")) or _count(details.get("cache_creation_tokens"))
    if row.get("cache_hit") in ("True", "true", True):
        cached, written = prompt, 0  # LiteLLM itself had the whole answer
    cached = min(cached, prompt)
    return Usage(
        input=prompt,
        output=completion,
        cached=cached,
        cache_write_5m=min(written, prompt - cached),
        reasoning=min(_count(out.get("reasoning_tokens")), completion),
        source="exact",
    )


def _cost(spend: object, breakdown: Mapping[str, Any]) -> Cost | None:
    total = _pico(spend)
    if total is None:
        return None
    paid_in, paid_out = _pico(breakdown.get("input_cost")), _pico(breakdown.get("output_cost"))
    fits = (paid_in or 0) + (paid_out or 0) <= total
    return Cost(total, input=paid_in, output=paid_out) if fits else Cost(total)


def _session(row: Mapping[str, Any], request: Mapping[str, Any]) -> tuple[SessionRef, bool]:
    """The session, and whether its id is most probably made up by LiteLLM: a uuid4 that the body does not name."""
    named = _text(row.get("session_id"))
    metadata = _object(request.get("metadata"))
    given = [request.get("litellm_session_id"), request.get("litellm_trace_id")]
    given += [metadata.get("session_id"), metadata.get("trace_id")]
    if named is None:
        named = next((text for one in given if (text := _text(one))), None)
        return (NO_SESSION, False) if named is None else (SessionRef(named, "body"), False)
    return SessionRef(named, "body"), bool(_UUID.fullmatch(named.lower())) and named not in given


def _request(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body of the request: in `proxy_server_request`; of realtime sessions in `messages` alone."""
    stored = _object(row.get("proxy_server_request"))
    request = stored if "body" not in stored or "messages" in stored else _object(stored["body"])
    messages = _json(row.get("messages"))
    if isinstance(messages, list) and messages and not request.keys() & {"messages", "input", "contents", "prompt"}:
        return {**request, "messages": messages}
    return request


def _first_ms(
    row: Mapping[str, Any], started: float, ended: float, request: Mapping[str, Any]
) -> tuple[float | None, bool]:
    """Milliseconds to the first token, and whether the answer streamed: else LiteLLM writes its end there."""
    began = row.get("completionStartTime")
    at = seconds(began) if isinstance(began, datetime) else ended
    early = started <= at < ended
    streamed = request.get("stream") is True or early
    return (round((at - started) * 1000, 3) if early else None), streamed


def _kind(call_type: str | None) -> tuple[str, str, Dialect]:
    name = (call_type or "acompletion").lower()
    return next((kind for part, kind in _KINDS if part in name), (f"/{name[:_LONGEST_NAME]}", "other", "openai"))


def _tags(value: object) -> tuple[str, ...]:
    tags = _json(value)
    return tuple(dict.fromkeys(text for tag in tags if (text := _text(tag)))) if isinstance(tags, list) else ()


def _status(code: object) -> int | None:
    try:
        status = int(str(code))
    except ValueError:
        return None
    return status if 300 <= status <= 599 else None


def _json(value: object) -> Any:
    """A JSON column: text as the driver gives it, and sometimes a text within, where a writer has packed it twice."""
    for _ in range(2):
        if not isinstance(value, str | bytes):
            return value
        try:
            value = orjson.loads(value)
        except ValueError:
            return None
    return value


def _object(value: object) -> Mapping[str, Any]:
    found = _json(value)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    """A name, without what the ledger cannot hold; None for an empty one."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode().strip()[:_LONGEST_NAME] or None


def _first(values: Mapping[str, Any], *names: str) -> str | None:
    return next((text for name in names if (text := _text(values.get(name)))), None)


def _count(value: object) -> int:
    return max(0, min(value, _LARGEST_INT)) if isinstance(value, int) and not isinstance(value, bool) else 0


def _pico(usd: object) -> int | None:
    """A price in picodollars; None where there is none that can be meant."""
    if isinstance(usd, bool) or not isinstance(usd, int | float | Decimal):
        return None
    exact = Decimal(str(usd))
    return int(exact * PICO) if exact.is_finite() and 0 <= exact < 10**6 else None
