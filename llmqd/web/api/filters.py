"""From what a question asks for to what the ledger is asked: which calls, which sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmqd.store.request_questions import CallFilters
from llmqd.store.session_questions import SessionFilters
from llmqd.web.api.fields import moment, pico

if TYPE_CHECKING:
    from llmqd.web.api import inputs


def call_filters(wanted: inputs.CallFilter, key: str | None = None) -> CallFilters:
    """Which calls are wanted, of the client key `key` alone where there is one. Raises BadField."""
    return CallFilters(
        session=wanted.session_id,
        model=wanted.model,
        agent=wanted.agent_name,
        user=wanted.user_id,
        key=key if key is not None else wanted.key,
        upstream=wanted.upstream,
        status=wanted.status,
        tag=wanted.tag,
        since=moment("start_date", wanted.start_date),
        until=moment("end_date", wanted.end_date, end=True),
        min_cost=pico("min_cost", wanted.min_cost),
        max_cost=pico("max_cost", wanted.max_cost),
    )


def session_filters(wanted: inputs.SessionFilter | inputs.Export) -> SessionFilters:
    """Which sessions are wanted. Raises BadField."""
    return SessionFilters(
        agent=wanted.agent_name,
        user=wanted.user_id,
        model=wanted.model,
        tag=wanted.tag,
        status=wanted.status,
        since=moment("start_date", wanted.start_date),
        until=moment("end_date", wanted.end_date, end=True),
        min_cost=pico("min_cost", wanted.min_cost),
        max_cost=pico("max_cost", wanted.max_cost),
    )
