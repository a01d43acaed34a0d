"""The log line of a call: what it used and cost, or how it failed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from llmqd.call import Dialect, Record
from llmqd.log.journal import JournalHandler
from llmqd.log.plain import Plain
from llmqd.log.text import TextHandler
from llmqd.usage import Usage, dollars

LABELS: dict[Dialect, str] = {"openai": "OpenAI", "anthropic": "Anthropic", "gemini": "Gemini", "ollama": "Ollama"}

_MICRO = Decimal("0.000001")

logger = logging.getLogger("llmqd.calls")


def log_calls(records: Sequence[Record]) -> None:
    """Logs a line for each of these calls, which have just ended."""
    if not logger.isEnabledFor(logging.INFO):
        return
    code = log_calls.__code__
    place = code.co_filename, code.co_firstlineno
    said = [call_line(record) for record in records]
    handler, written = _only_handler(), 0
    if isinstance(handler, TextHandler | JournalHandler):
        written = handler.write_plain(Plain(said, logging.INFO, logger.name, *place, code.co_name))
    for message, fields in said[written:]:
        # As logger.info would, but that it looks for its caller each time.
        extra = {"fields": fields}
        logger.handle(logger.makeRecord(logger.name, logging.INFO, *place, message, (), None, code.co_name, extra))


def _only_handler() -> logging.Handler | None:
    """The handler that gets these lines; None where several do, or a filter chooses."""
    found: list[logging.Handler] = []
    at: logging.Logger | None = logger
    while at is not None:
        found += at.handlers
        at = at.parent if at.propagate else None
    return found[0] if len(found) == 1 and not logger.filters else None


def call_line(record: Record) -> tuple[str, dict[str, object]]:
    """The message, and the same as fields.

    A call that was answered and can be counted gets a usage line in the form of its dialect; what is not known stands
    there as `unknown`. Every other call gets a line with its status and error.
    """
    usage = record.outcome.usage
    if record.outcome.status != "done" or usage is None:
        return _status_line(record), _fields(record)
    line = _anthropic_line if record.call.dialect == "anthropic" else _openai_line
    return line(record, usage), _fields(record)


def _openai_line(record: Record, usage: Usage) -> str:
    tokens, details = "unknown", "unknown"
    if usage.source != "unknown":
        tokens = f"Prompt={usage.input}/Completion={usage.output}/Total={usage.total}"
        audio = usage.input_audio + usage.output_audio
        details = f"Cached={usage.cached}/Audio={audio}/Reasoning={usage.reasoning}"
    return f"{_head(record, 'Usage')}, Tokens: {tokens}, Details: {details}, Streaming: {record.call.stream}"


def _anthropic_line(record: Record, usage: Usage) -> str:
    """Input is what neither came from the cache nor went into it, as Anthropic itself counts."""
    tokens = "unknown"
    if usage.source != "unknown":
        written = usage.cache_write_5m + usage.cache_write_1h
        fresh = max(0, usage.input - usage.cached - written)
        tokens = f"I={fresh}/O={usage.output}/CC={written}/CR={usage.cached}"
    cost = record.outcome.cost
    parts = (cost.input, cost.output, cost.cache_write, cost.cache_read) if cost else (None,) * 4
    costs = "/".join(f"{name}={_dollars(part)}" for name, part in zip(("I", "O", "CC", "CR"), parts, strict=True))
    total = _dollars(cost.total if cost else None)
    head = _head(record, "Usage")
    return f"{head}, Tokens: {tokens}, Cost: {costs}, Total: {total}, Streaming: {record.call.stream}"


def _status_line(record: Record) -> str:
    outcome = record.outcome
    status = f"Status: {outcome.status}, HTTP: {outcome.http_status or 'none'}, Error: {outcome.error or 'none'}"
    return f"{_head(record, 'Call')}, {status}"


def _head(record: Record, what: str) -> str:
    model = record.outcome.response_model or record.call.limited_as or "unknown"
    return f"{LABELS[record.call.dialect]} API {what} - Request: {record.call.id}, Model: {model}"


def _dollars(pico: int | None) -> str:
    if pico is None:
        return "unknown"
    return f"${_usd(pico).quantize(_MICRO, ROUND_HALF_UP):f}"


def _usd(pico: int) -> Decimal:
    return Decimal(pico).scaleb(-12)


def _fields(record: Record) -> dict[str, object]:
    call, outcome = record.call, record.outcome
    usage = outcome.usage if outcome.usage and outcome.usage.source != "unknown" else None
    return {
        "request_id": call.id,
        "session": call.session.id,
        "upstream": call.upstream,
        "model": outcome.response_model or call.limited_as,
        "status": outcome.status,
        "http_status": outcome.http_status,
        "error": outcome.error,
        "prompt_tokens": usage.input if usage else None,
        "completion_tokens": usage.output if usage else None,
        "usage": outcome.usage.source if outcome.usage else None,
        "cost_usd": dollars(outcome.cost.total) if outcome.cost else None,
        "queued_ms": _rounded(outcome.queued_ms),
        "ttfb_ms": _rounded(outcome.first_byte_ms),
        "total_ms": _rounded(outcome.total_ms),
        "attempts": outcome.attempts,
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds * 10) / 10
