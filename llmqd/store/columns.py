"""Which field of a record stands in which column: the one place that both directions read."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
import orjson

from llmqd.call import NO_SESSION, Attempt, Call, Outcome, Record, SessionRef
from llmqd.usage import Cost, Usage

_CALL = {
    "id": "id",
    "received_at": "received_at",
    "method": "method",
    "path": "path",
    "dialect": "dialect",
    "operation": "operation",
    "upstream": "upstream",
    "model": "model",
    "priority": "priority",
    "max_wait": "max_wait",
    "agent": "agent",
    "user": "user_id",
    "conversation": "conversation",
    "store": "store",
    "client": "client",
    "client_retry": "client_retry",
    "key": "client_key",
    "request_bytes": "request_bytes",
    "text_bytes": "text_bytes",
    "media": "media",
    "sent_model": "sent_model",
    "reserved_tokens": "reserved_tokens",
    "reserved_pico": "reserved_pico",
}
_APART = ("session_id", "session_source", "tags", "stream", "no_queue")
_OUTCOME = {
    "status": "status",
    "http_status": "http_status",
    "error": "error",
    "lane": "lane",
    "attempts": "attempts",
    "queued_ms": "queued_ms",
    "sent_ms": "sent_ms",
    "first_byte_ms": "first_byte_ms",
    "total_ms": "total_ms",
    "response_bytes": "response_bytes",
    "response_model": "response_model",
    "provider_id": "provider_id",
    "finish_reason": "finish_reason",
    "function_calls": "function_calls",
    "on_disconnect": "on_disconnect",
}
_USAGE = {
    "source": "usage_source",
    "input": "input_tokens",
    "output": "output_tokens",
    "cached": "cached_tokens",
    "cache_write_5m": "cache_write_5m_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "input_audio": "input_audio_tokens",
    "reasoning": "reasoning_tokens",
    "output_audio": "output_audio_tokens",
    "web_searches": "web_searches",
    "audio_seconds": "audio_seconds",
    "service_tier": "service_tier",
    "cost_reported_pico": "cost_reported_pico",
}
_COST = {
    "total": "cost_pico",
    "input": "cost_input_pico",
    "output": "cost_output_pico",
    "cache_read": "cost_cache_read_pico",
    "cache_write": "cost_cache_write_pico",
}

CALL_COLUMNS = (*_CALL.values(), *_APART)
"""Known when a call is opened."""
OPENED_COLUMNS = (*CALL_COLUMNS, "lane", "queued_ms")
"""What is written when a call is opened: of its outcome, only which lane sends it and after what wait."""
OUTCOME_COLUMNS = (*_OUTCOME.values(), *_USAGE.values(), *_COST.values(), "counted", "tried")
"""Known when it closes; NULL before, but for `status` and what OPENED_COLUMNS has."""

Json = dict[str, Any]
Row = tuple[Any, ...]

_LARGEST = 10**15
"""More than any true count of tokens or bytes; keeps sums over thousands of absurd reports within 64 bits."""

_encode = msgspec.json.Encoder().encode

_NO_USAGE: Row = (None,) * len(_USAGE)
_NO_COST: Row = (None,) * len(_COST)


def bounded(value: Any) -> Any:
    """The value, if it is a whole number kept within what the ledger can add up."""
    if value.__class__ is int and not -_LARGEST <= value <= _LARGEST:
        return _LARGEST if value > 0 else -_LARGEST
    return value


_Noun = TypeVar("_Noun", bound=msgspec.Struct)

_call_fields = attrgetter(*_CALL)
_outcome_fields = attrgetter(*_OUTCOME)
_usage_fields = attrgetter(*_USAGE)
_usage_counts = attrgetter(*[field.name for field in msgspec.structs.fields(Usage) if field.type is int])
_cost_fields = attrgetter(*_COST)


def within(outcome: Outcome) -> Outcome:
    """The outcome with figures that can be added up, whatever came from outside; nearly always the same object."""
    usage, cost = outcome.usage, outcome.cost
    if usage is not None and not _fit((*_usage_counts(usage), usage.cost_reported_pico or 0)):
        outcome = msgspec.structs.replace(outcome, usage=_bounded(usage))
    if cost is not None and not _fit(tuple([part or 0 for part in _cost_fields(cost)])):
        outcome = msgspec.structs.replace(outcome, cost=_bounded(cost))
    return outcome


def _fit(counts: Row) -> bool:
    try:
        return bool(min(counts) >= -_LARGEST and max(counts) <= _LARGEST)
    except TypeError:  # some writer of the journal has put something else there
        return False


def _bounded(figures: _Noun) -> _Noun:
    return type(figures)(**{name: bounded(value) for name, value in msgspec.structs.asdict(figures).items()})


def call_row(call: Call) -> Row:
    """The values of CALL_COLUMNS. Flags are numbers: databases have to ask what else a value may be."""
    session, tags = call.session, call.tags
    return (
        *_call_fields(call),
        session.id or None,
        session.source,
        orjson.dumps(tags).decode() if tags else None,
        +call.stream,
        +call.no_queue,
    )


def outcome_row(outcome: Outcome) -> Row:
    """The values of OUTCOME_COLUMNS."""
    usage, cost, tried = outcome.usage, outcome.cost, outcome.tried
    return (
        *_outcome_fields(outcome),
        *(_NO_USAGE if usage is None else _usage_fields(usage)),
        *(_NO_COST if cost is None else _cost_fields(cost)),
        +outcome.counted,
        _encode(tried).decode() if tried else None,
    )


def _read(of: type[_Noun], data: Json, **others: Any) -> _Noun:
    """A noun from JSON; what an older writer did not know is as where nothing was said, what a newer one knows is
    passed over."""
    known = {name: data[name] for name in of.__struct_fields__ if name in data}
    return of(**(known | others))


def read_call(data: Json) -> Call:
    """A Call from JSON. Raises TypeError where something is missing."""
    session, tags = data.get("session"), data.get("tags")
    return _read(
        Call, data, session=NO_SESSION if session is None else _read(SessionRef, session), tags=tuple(tags or ())
    )


def read_outcome(data: Json) -> Outcome:
    """An Outcome from JSON. Raises TypeError where something is missing."""
    usage, cost, tried = data.get("usage"), data.get("cost"), data.get("tried")
    return _read(
        Outcome,
        data,
        tried=tuple([_read(Attempt, attempt) for attempt in tried or ()]),
        usage=_read(Usage, usage) if usage else None,
        cost=_read(Cost, cost) if cost else None,
    )


def _rebuild(of: type[_Noun], names: Mapping[str, str], row: Mapping[str, Any], **others: Any) -> _Noun:
    return of(**{field: row[column] for field, column in names.items() if row[column] is not None}, **others)


def record(row: Mapping[str, Any]) -> Record:
    """The record that a row of `calls` holds. Its `arrived` is 0: the monotonic clock of a past run means nothing."""
    session = SessionRef(row["session_id"], row["session_source"])
    tags = tuple(orjson.loads(row["tags"])) if row["tags"] else ()
    flags = {"stream": bool(row["stream"]), "no_queue": bool(row["no_queue"])}
    call = _rebuild(Call, _CALL, row, arrived=0.0, session=session, tags=tags, **flags)
    usage = None if row["usage_source"] is None else _rebuild(Usage, _USAGE, row)
    cost = None if row["cost_pico"] is None else _rebuild(Cost, _COST, row)
    tried = tuple([Attempt(**each) for each in orjson.loads(row["tried"])]) if row["tried"] else ()
    outcome = _rebuild(Outcome, _OUTCOME, row, usage=usage, cost=cost, tried=tried, counted=bool(row["counted"]))
    return Record(call, outcome)
