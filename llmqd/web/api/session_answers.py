"""What answers about sessions and their messages look like."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec import Struct

from llmqd.call import SessionSource
from llmqd.messages.message import Part, Role
from llmqd.web.api.values import known, mean, percent, rfc3339

if TYPE_CHECKING:
    from llmqd.messages.message import Message as Said
    from llmqd.store.conversations import Line
    from llmqd.store.session_questions import Session


class SessionSummary(Struct, kw_only=True):
    """One session with its totals. Times are seconds, rates percent, money US dollars.

    `total_messages` and `request_count` count the calls that were answered with 2xx, `error_count` all others.
    `avg_response_time`, `total_response_time` and `cache_hit_rate` are of the answered ones. Names are null where no
    call gave one. `total_cost` is what is known, null where no price is; `unknown_cost_count` calls have none. `source`
    says how the session was recognised: by the path, a header, the body, detected, or new.
    """

    session_id: str
    user_id: str | None
    agent_name: str | None
    conversation_name: str | None
    total_messages: int
    session_start: str
    session_end: str
    total_duration_seconds: float
    total_tokens: int
    total_cost: Decimal | None
    avg_response_time: float | None
    function_calls_count: int
    cache_hit_rate: float
    models_used: list[str]
    request_count: int
    error_count: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cache_hits: int
    unknown_cost_count: int
    total_response_time: float
    tags: list[str]
    source: SessionSource

    @classmethod
    def of(cls, session: Session) -> SessionSummary:
        """Of what the ledger has."""
        return cls(
            session_id=session.session_id,
            user_id=session.user_id,
            agent_name=session.agent,
            conversation_name=session.conversation,
            total_messages=session.request_count,
            session_start=rfc3339(session.first_seen),
            session_end=rfc3339(session.last_seen),
            total_duration_seconds=round(session.last_seen - session.first_seen, 3),
            total_tokens=session.total_tokens,
            total_cost=known(session.cost_pico, session.unknown_cost_count),
            avg_response_time=mean(session.total_ms, session.request_count),
            function_calls_count=session.function_calls,
            cache_hit_rate=percent(session.cache_hits, session.request_count),
            models_used=list(session.models),
            request_count=session.request_count,
            error_count=session.error_count,
            prompt_tokens=session.prompt_tokens,
            completion_tokens=session.completion_tokens,
            cached_tokens=session.cached_tokens,
            cache_hits=session.cache_hits,
            unknown_cost_count=session.unknown_cost_count,
            total_response_time=round(session.total_ms / 1000, 3),
            tags=list(session.tags),
            source=session.source,
        )


class SessionPage(Struct, kw_only=True):
    """Some of the sessions that fit, the one that began last first.

    `total` counts all that fit. `next` is the `cursor` of the page behind this one, null on the last. A search for
    `text` may end before its page is full: then `next` goes on with the sessions that were not looked at yet, and
    `total` is null.
    """

    sessions: list[SessionSummary]
    total: int | None
    limit: int
    offset: int
    next: str | None


class Message(Struct, kw_only=True):
    """One thing said by one speaker.

    `text` is its words without reasoning and tools, `parts` is all of it. Both are null where what was said is not kept
    (any more): then `role` is null too. `id` names its place in the session and `parent` the place before; where that
    is not the message before, the conversation branches there. System texts have no place.
    """

    role: Role | None
    text: str | None
    parts: list[Part] | None
    id: str | None = None
    parent: str | None = None
    timestamp: str | None = None
    message_sequence: int | None = None

    @classmethod
    def said(cls, said: Said | None) -> Message:
        """A system text."""
        if said is None:
            return cls(role=None, text=None, parts=None)
        return cls(role=said.role, text=said.text, parts=list(said.parts))

    @classmethod
    def at(cls, line: Line, number: int | None = None) -> Message:
        """A message in its place, which is the `number`-th."""
        message = cls.said(line.message)
        message.id, message.parent = _place(line.key), _place(line.parent)
        message.timestamp, message.message_sequence = rfc3339(line.at), number
        return message


def _place(key: int) -> str:
    return f"{key & (2**64 - 1):016x}"


class Merged(Struct, kw_only=True):
    """The session that others have become part of."""

    session_id: str
    merged: list[str]


class Divided(Struct, kw_only=True):
    """The session that was divided, and the new one that has its later calls."""

    session_id: str
    new_session_id: str
