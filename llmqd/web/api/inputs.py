"""What can be asked: the parameters of each URL, which check the input and describe themselves in `/openapi.json`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

MAX_DAYS = 3660
MAX_POINTS = 10_000
"""Hours or days in one answer about trends, over all its lines."""
DEFAULT_LIMIT, MAX_LIMIT = 50, 1000

By = Literal["model", "agent", "user", "key", "upstream", "session"]
Granularity = Literal["hour", "day"]
Status = Literal["running", "done", "cut", "failed", "cancelled", "abandoned", "refused", "interrupted"]

_TIME = {"anyOf": [{"format": "date-time"}, {"format": "date"}]}
Time = Annotated[
    str,
    Meta(
        max_length=64,
        description="RFC 3339; without a zone it is UTC. A day alone stands for its beginning, as an end for its end.",
        extra_json_schema=_TIME,
    ),
]
Name = Annotated[str, Meta(max_length=1024)]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="How many at most.")]
Offset = Annotated[int, Meta(ge=0, le=2**53, description="How many to pass over; `cursor` is quicker and never skips.")]
Cursor = Annotated[str, Meta(max_length=2048, description="`next` of the page before.")]
Dollars = Annotated[float, Meta(ge=0, le=1e6, description="US dollars.")]


class Window(Struct, kw_only=True, forbid_unknown_fields=True):
    """A stretch of time, widened to whole hours: from `from` to `to`, or the last `days`."""

    days: (
        Annotated[int, Meta(ge=1, le=MAX_DAYS, description="So many days up to `to`; 30 without `from`.")] | UnsetType
    ) = UNSET
    since: Time | UnsetType = field(default=UNSET, name="from")
    until: Time | UnsetType = field(default=UNSET, name="to")


class Listed(Window, kw_only=True, forbid_unknown_fields=True):
    """A stretch of time, and how many rows are wanted."""

    limit: Limit = 100


class Trends(Window, kw_only=True, forbid_unknown_fields=True):
    """A stretch of time in whole steps; with `by`, a line for each of the dearest values."""

    granularity: Granularity = "day"
    by: Literal["model", "agent", "user", "key", "upstream"] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=50, description="With `by`: how many values, the dearest first.")] = 10


class Breakdown(Listed, kw_only=True, forbid_unknown_fields=True):
    """A stretch of time, and what is to be told apart."""

    by: By | UnsetType = UNSET
    group_by: Annotated[By, Meta(description="Another name of `by`.")] | UnsetType = UNSET


class SessionFilter(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which sessions are wanted; what is left out or null leaves a field open."""

    agent_name: Name | None = None
    user_id: Name | None = None
    model: Name | None = None
    start_date: Annotated[Time, Meta(description="Active at this time or later.")] | None = None
    end_date: Annotated[Time, Meta(description="Active at this time or earlier.")] | None = None
    min_cost: Dollars | None = None
    max_cost: Dollars | None = None
    status: Annotated[Status, Meta(description="How at least one of its calls ended.")] | None = None
    tag: Name | None = None
    text: (
        Annotated[
            str,
            Meta(
                min_length=1, max_length=1024, description="Words that were all said in one message; `re*` begins so."
            ),
        ]
        | None
    ) = None


class Paging(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which of the sessions that fit are wanted."""

    limit: Limit = DEFAULT_LIMIT
    offset: Offset = 0
    cursor: Cursor | UnsetType = UNSET


class SessionList(SessionFilter, kw_only=True, forbid_unknown_fields=True):
    """Which sessions are wanted, and which of these."""

    limit: Limit = DEFAULT_LIMIT
    offset: Offset = 0
    cursor: Cursor | UnsetType = UNSET


class CallFilter(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which calls are wanted; what is left out leaves a field open."""

    session_id: Name | None = None
    agent_name: Name | None = None
    user_id: Name | None = None
    model: Name | None = None
    key: Annotated[Name, Meta(description="The client key.")] | None = None
    upstream: Name | None = None
    start_date: Annotated[Time, Meta(description="Received at this time or later.")] | None = None
    end_date: Annotated[Time, Meta(description="Received at this time or earlier.")] | None = None
    min_cost: Dollars | None = None
    max_cost: Dollars | None = None
    status: Status | None = None
    tag: Name | None = None


class RequestList(CallFilter, kw_only=True, forbid_unknown_fields=True):
    """Which calls are wanted, and how many of them at once."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Annotated[str, Meta(max_length=64, description="`next` of the page before.")] | UnsetType = UNSET


CALL_FILTERS = (
    "session_id", "agent_name", "user_id", "model", "key", "upstream", "min_cost", "max_cost", "status", "tag",
)  # fmt: skip
"""Filters of calls beside `start_date` and `end_date`."""


class Budgets(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which budgets are wanted."""

    by: Literal["all", "key", "user", "agent", "session"] | UnsetType = UNSET
    value: Annotated[Name, Meta(description="Of this key, user, agent or session.")] | UnsetType = UNSET
    state: Literal["ok", "low", "exceeded"] | UnsetType = UNSET
    limit: Limit = 100
    offset: Offset = 0


class Export(CallFilter, kw_only=True, forbid_unknown_fields=True):
    """What is wanted in which form. Filters of calls go with `requests`, those of sessions with `sessions`,
    `granularity` and `by` with `usage`."""

    what: Literal["requests", "sessions", "usage"] = "requests"
    format: Literal["csv", "json", "jsonl"] = "jsonl"
    start_date: Annotated[Time, Meta(description="At this time or later.")] | None = None
    end_date: Annotated[Time, Meta(description="At this time or earlier.")] | None = None
    granularity: Granularity | UnsetType = UNSET
    by: Literal["model", "agent", "user", "key", "upstream"] | UnsetType = UNSET


class MessageList(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which part of a long session is wanted."""

    limit: Annotated[int, Meta(ge=1, le=10_000, description="Messages at most.")] = 1000
    cursor: Annotated[str, Meta(max_length=128, description="From the `Link` of the page before.")] | UnsetType = UNSET


class Merge(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which sessions become part of this one."""

    sessions: Annotated[list[Annotated[str, Meta(min_length=1, max_length=1024)]], Meta(min_length=1, max_length=100)]


class Split(Struct, kw_only=True, forbid_unknown_fields=True):
    """Where a new session begins: the call of this session that is its first."""

    request_id: Annotated[str, Meta(min_length=1, max_length=64)]


class Nothing(Struct, forbid_unknown_fields=True):
    """No parameters."""
