"""What answers about usage look like."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from llmqd.web.api.values import dollars, known, mean, percent, rfc3339, seconds

if TYPE_CHECKING:
    from llmqd.store.session_questions import Session
    from llmqd.store.usage_questions import Overview as Found
    from llmqd.store.usage_questions import Percentiles as Measured
    from llmqd.store.usage_questions import Usage
    from llmqd.store.window import Window

_DAY = 86_400


class Percentiles(Struct):
    """In seconds, within four percent; null where nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, measured: Measured) -> Percentiles:
        """From milliseconds."""
        return cls(seconds(measured.p50), seconds(measured.p95), seconds(measured.p99))


class Costs(Struct):
    """US dollars by kind of token. Where a provider told only the whole price of a call, they add up to less."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal


class Figures(Struct, kw_only=True):
    """What some calls come to. Times are seconds, rates percent, money US dollars.

    `total_requests` counts all calls, `error_count` those of them that were not answered with 2xx. Response times,
    cache hits (calls that read from the provider's cache) and their rates are of the answered ones, times to the first
    token of streams. `total_cost` is what is known, null where no price is; `unknown_cost_count` calls have none.
    """

    total_requests: int
    error_count: int
    error_rate: float
    total_prompt_tokens: int
    total_completion_tokens: int
    total_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    total_cost: Decimal | None
    costs: Costs
    unknown_cost_count: int
    avg_response_time: float | None
    min_response_time: float | None
    max_response_time: float | None
    response_time: Percentiles
    avg_time_to_first_token: float | None
    time_to_first_token: Percentiles
    avg_queued_time: float | None
    cache_hits: int
    cache_hit_rate: float
    function_calls: int


def figures(usage: Usage) -> dict[str, Any]:
    """The fields of Figures."""
    return {
        "total_requests": usage.calls,
        "error_count": usage.errors,
        "error_rate": percent(usage.errors, usage.calls),
        "total_prompt_tokens": usage.input_tokens,
        "total_completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "total_cost": known(usage.cost_pico, usage.unknown_cost_count),
        "costs": Costs(
            dollars(usage.cost_input_pico),
            dollars(usage.cost_output_pico),
            dollars(usage.cost_cache_read_pico),
            dollars(usage.cost_cache_write_pico),
        ),
        "unknown_cost_count": usage.unknown_cost_count,
        "avg_response_time": mean(usage.total_ms, usage.answered),
        "min_response_time": seconds(usage.shortest_ms),
        "max_response_time": seconds(usage.longest_ms),
        "response_time": Percentiles.of(usage.latency),
        "avg_time_to_first_token": mean(usage.first_ms, usage.streams),
        "time_to_first_token": Percentiles.of(usage.ttft),
        "avg_queued_time": mean(usage.queued_ms, usage.calls),
        "cache_hits": usage.cache_hits,
        "cache_hit_rate": percent(usage.cache_hits, usage.answered),
        "function_calls": usage.function_calls,
    }


class Overview(Figures, kw_only=True):
    """All calls of a window, which `from` and `to` bound. `unique_users` counts those with a name."""

    since: str = field(name="from")
    until: str = field(name="to")
    unique_sessions: int
    unique_users: int
    total_function_calls: int

    @classmethod
    def of(cls, found: Found, window: Window) -> Overview:
        """What was found in a window."""
        return cls(
            **figures(found.usage),
            since=rfc3339(window.start),
            until=rfc3339(window.end),
            unique_sessions=found.usage.sessions,
            unique_users=found.users,
            total_function_calls=found.usage.function_calls,
        )


class Agent(Figures, kw_only=True):
    """The calls of one agent; `agent_name` is null for those that named none.

    `avg_conversation_length` is calls a session, null without sessions. `total_interactions` and `total_tokens_used`
    are `total_requests` and `total_tokens` by the names that they have elsewhere.
    """

    agent_name: str | None
    unique_sessions: int
    total_interactions: int
    total_tokens_used: int
    avg_conversation_length: float | None

    @classmethod
    def of(cls, usage: Usage) -> Agent:
        """What was found of an agent."""
        return cls(
            **figures(usage),
            agent_name=usage.value or None,
            unique_sessions=usage.sessions,
            total_interactions=usage.calls,
            total_tokens_used=usage.input_tokens + usage.output_tokens,
            avg_conversation_length=round(usage.calls / usage.sessions, 2) if usage.sessions and usage.value else None,
        )


class Model(Figures, kw_only=True):
    """The calls of one model at one upstream."""

    model: str
    provider: str

    @classmethod
    def of(cls, usage: Usage) -> Model:
        """What was found of a model."""
        return cls(**figures(usage), model=usage.value, provider=usage.part)


class TrendPoint(Figures, kw_only=True):
    """The calls of one hour or one day in UTC, which begins at `start`.

    `time_period` names it as `2026-12-01` or `2026-12-01 08:00:00`. `category` is the value of `by`, null for calls
    that have none, and where nothing is told apart. `unique_sessions` is null with any `by` but `agent`.
    """

    time_period: str
    start: str
    category: str | None
    unique_sessions: int | None

    @classmethod
    def of(cls, usage: Usage, step: int, *, with_sessions: bool) -> TrendPoint:
        """What was found of one step in time."""
        start = rfc3339(usage.start)
        return cls(
            **figures(usage),
            time_period=start[:10] if step == _DAY else start[:19].replace("T", " "),
            start=start,
            category=usage.value or None,
            unique_sessions=usage.sessions if with_sessions else None,
        )


class CostShare(Struct, kw_only=True):
    """What one model, agent, user, key, upstream or session cost; `category` is null for calls that have none.

    `cost_percentage` is its share of all that is known to have been spent in the window.
    """

    category: str | None
    total_requests: int
    error_count: int
    total_prompt_tokens: int
    total_completion_tokens: int
    total_tokens: int
    cached_tokens: int
    total_cost: Decimal | None
    unknown_cost_count: int
    avg_cost_per_request: Decimal | None
    cost_percentage: float

    @classmethod
    def of(cls, usage: Usage, spent_pico: int) -> CostShare:
        """Of what was found by one value."""
        return cls(
            category=usage.value or None,
            total_requests=usage.calls,
            error_count=usage.errors,
            total_prompt_tokens=usage.input_tokens,
            total_completion_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            total_cost=known(usage.cost_pico, usage.unknown_cost_count),
            unknown_cost_count=usage.unknown_cost_count,
            avg_cost_per_request=_each(usage.cost_pico, usage.unknown_cost_count, usage.calls),
            cost_percentage=percent(usage.cost_pico, spent_pico),
        )

    @classmethod
    def of_session(cls, session: Session, spent_pico: int) -> CostShare:
        """Of a session, as far as it spent within the window."""
        calls = session.request_count + session.error_count
        return cls(
            category=session.session_id,
            total_requests=calls,
            error_count=session.error_count,
            total_prompt_tokens=session.prompt_tokens,
            total_completion_tokens=session.completion_tokens,
            total_tokens=session.total_tokens,
            cached_tokens=session.cached_tokens,
            total_cost=known(session.cost_pico, session.unknown_cost_count),
            unknown_cost_count=session.unknown_cost_count,
            avg_cost_per_request=_each(session.cost_pico, session.unknown_cost_count, calls),
            cost_percentage=percent(session.cost_pico, spent_pico),
        )


def _each(cost_pico: int, unknown: int, calls: int) -> Decimal | None:
    """What each call cost on average, to the picodollar; None where no price is known."""
    return dollars(round(cost_pico / calls)) if calls and known(cost_pico, unknown) is not None else None
