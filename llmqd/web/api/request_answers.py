"""What answers about single calls look like."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec import Struct

from llmqd.call import OnDisconnect, SessionSource, Status
from llmqd.usage import Source
from llmqd.web.api.session_answers import Message
from llmqd.web.api.usage_answers import Costs
from llmqd.web.api.values import dollars, rfc3339, seconds

if TYPE_CHECKING:
    from llmqd.call import Record
    from llmqd.store.conversations import SaidInCall


class Tokens(Struct):
    """Tokens by kind: cached input, cache writes and audio are parts of the input, the others of the output."""

    input: int
    output: int
    cached: int
    cache_write_5m: int
    cache_write_1h: int
    input_audio: int
    reasoning: int
    output_audio: int


class FailedAttempt(Struct, kw_only=True):
    """An attempt after which the call was tried again. Times are seconds since the call arrived.

    `begin` is when its turn came, null where the lane had none for it and nothing was sent. `http_status` is null where
    no answer came, `reason` what was said. `verdict` says what was made of it: `wait` and `slower` wait for another
    turn, `retry` tries again after a moment, `permanent` gives this upstream up.
    """

    provider: str
    lane: str
    begin: float | None
    end: float | None
    http_status: int | None
    verdict: str
    reason: str


class Request(Struct, kw_only=True):
    """One call. Times are seconds since it arrived, money is US dollars; what is not known is null.

    `status` says how it ended: `done` the upstream answered in full, whatever its HTTP status; `cut` the upstream broke
    off; `failed` no answer came; `cancelled` the client left while it ran; `abandoned` while it waited; `refused` llmqd
    said no; `interrupted` the daemon ended under it; `running` now. `queued_time` is the wait for its turn,
    `time_to_first_token` when the first byte of the answer came. `model` is what the client asked for, `sent_model`
    what the upstream was asked for, `response_model` what it says it is. `usage_source` says how far to trust tokens
    and cost. `on_disconnect` says of a call whose client left while it ran whether its upstream was stopped (`cancel`)
    or its answer was read to the end all the same (`finish`). `failed_attempts` are those of its `attempts` after which
    it was tried again; of the last one the call itself tells.
    """

    request_id: str
    session_id: str | None
    session_source: SessionSource
    user_id: str | None
    agent_name: str | None
    conversation_name: str | None
    request_tags: list[str]
    key: str | None
    call_type: str
    method: str
    path: str
    model: str | None
    sent_model: str | None
    response_model: str | None
    provider: str
    lane: str | None
    stream: bool
    priority: int
    status: Status
    http_status: int | None
    error: str | None
    on_disconnect: OnDisconnect | None
    attempts: int
    failed_attempts: list[FailedAttempt]
    client_retry: int
    request_start: str
    completion_start: str | None
    request_end: str | None
    queued_time: float | None
    time_to_first_token: float | None
    total_time: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    tokens: Tokens | None
    usage_source: Source | None
    cost: Decimal | None
    costs: Costs | None
    cache_hit: bool
    function_calls: int
    finish_reason: str | None
    provider_id: str | None
    service_tier: str | None
    request_bytes: int
    response_bytes: int

    @classmethod
    def of(cls, record: Record) -> Request:
        """Of the ledger's record."""
        call, outcome = record.call, record.outcome
        usage, cost, at = outcome.usage, outcome.cost, call.received_at
        first, total = outcome.first_byte_ms, outcome.total_ms
        return cls(
            request_id=call.id,
            session_id=call.session.id,
            session_source=call.session.source,
            user_id=call.user,
            agent_name=call.agent,
            conversation_name=call.conversation,
            request_tags=list(call.tags),
            key=call.client if call.key is None else call.key,
            call_type=call.operation,
            method=call.method,
            path=call.path,
            model=call.model,
            sent_model=call.sent_model,
            response_model=outcome.response_model,
            provider=call.upstream,
            lane=outcome.lane,
            stream=call.stream,
            priority=call.priority,
            status=outcome.status,
            http_status=outcome.http_status,
            error=outcome.error,
            on_disconnect=outcome.on_disconnect,
            attempts=outcome.attempts,
            failed_attempts=_failed_attempts(record),
            client_retry=call.client_retry,
            request_start=rfc3339(at),
            completion_start=None if first is None else rfc3339(at + first / 1000),
            request_end=None if total is None else rfc3339(at + total / 1000),
            queued_time=seconds(outcome.queued_ms),
            time_to_first_token=seconds(first),
            total_time=seconds(total),
            prompt_tokens=usage.input if usage else None,
            completion_tokens=usage.output if usage else None,
            total_tokens=usage.total if usage else None,
            tokens=_tokens(record),
            usage_source=usage.source if usage else None,
            cost=dollars(cost.total) if cost else None,
            costs=_costs(record),
            cache_hit=bool(usage and usage.cached),
            function_calls=outcome.function_calls,
            finish_reason=outcome.finish_reason,
            provider_id=outcome.provider_id,
            service_tier=usage.service_tier if usage else None,
            request_bytes=call.request_bytes,
            response_bytes=outcome.response_bytes,
        )


def _failed_attempts(record: Record) -> list[FailedAttempt]:
    return [
        FailedAttempt(
            provider=each.upstream,
            lane=each.lane,
            begin=seconds(each.at_ms),
            end=seconds(each.ended_ms),
            http_status=each.http_status,
            verdict=each.verdict,
            reason=each.reason,
        )
        for each in record.outcome.tried
    ]


def _tokens(record: Record) -> Tokens | None:
    usage = record.outcome.usage
    if usage is None:
        return None
    return Tokens(
        usage.input,
        usage.output,
        usage.cached,
        usage.cache_write_5m,
        usage.cache_write_1h,
        usage.input_audio,
        usage.reasoning,
        usage.output_audio,
    )


def _costs(record: Record) -> Costs | None:
    """None where no part is known; one part beside known ones is nothing."""
    cost = record.outcome.cost
    parts = (cost.input, cost.output, cost.cache_read, cost.cache_write) if cost is not None else (None,) * 4
    return None if parts == (None,) * 4 else Costs(*[dollars(part or 0) for part in parts])


class RequestPage(Struct, kw_only=True):
    """Some of the calls that fit, the latest first. `next` is the `cursor` of the page behind it, null on the last."""

    requests: list[Request]
    limit: int
    next: str | None


class RequestMessages(Struct, kw_only=True):
    """What was said in one call: system texts, the messages of the request, and the answer.

    `captured` is false where the call's words were not to be kept, or it had none. `missing` counts messages at the
    beginning of the request that are not known.
    """

    request_id: str
    captured: bool
    system: list[Message]
    messages: list[Message]
    response: Message | None
    missing: int

    @classmethod
    def of(cls, request_id: str, said: SaidInCall) -> RequestMessages:
        """Of what the ledger has kept."""
        return cls(
            request_id=request_id,
            captured=said.captured,
            system=[Message.said(text) for text in said.system],
            messages=[Message.at(line, said.missing + number) for number, line in enumerate(said.messages, 1)],
            response=Message.at(said.answer) if said.answer else None,
            missing=said.missing,
        )
