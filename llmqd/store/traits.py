"""What sessions are found by and what their summaries tell beyond totals, kept up with each record.

`facets` names everything a session can be searched by: its models, agents, users, tags, and how its calls ended. It has
the client keys that called in it, too, as what was said by several is for none of them to read.
`visits` has each hour in which a session was active, of which triggers keep `returns`: with it the distinct sessions
between any two hours are a sum (see `questions`).
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import orjson

from llmqd.store.columns import OPENED_COLUMNS, Row
from llmqd.store.rollups import Ended

ADD_TRAITS = """
UPDATE sessions SET
    agent = coalesce(agent, ?),
    user_id = coalesce(user_id, ?),
    conversation = coalesce(conversation, ?),
    client_key = coalesce(client_key, ?),
    function_calls = function_calls + ?,
    cache_hits = cache_hits + ?,
    total_ms = total_ms + ?
WHERE session_id = ?
"""

ADD_FACET = "INSERT INTO facets (session_id, kind, value) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"

ADD_VISIT = "INSERT INTO visits (by, value, session_id, hour) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"


class Began(NamedTuple):
    """A call that is running, as far as its session is concerned."""

    session: str | None
    agent: str | None
    user: str | None
    conversation: str | None
    model: str | None
    tags: str | None
    client_key: str | None
    received_at: float


NO_TRAITS: Row = (None, None, None, None, 0, 0, 0)
"""What a call adds to a session that has said nothing of itself, in the order of ADD_TRAITS."""

_NAMES = ("session_id", "agent", "user_id", "conversation", "model", "tags", "client_key", "received_at")
_received = attrgetter("received_at")
_take = itemgetter(*[OPENED_COLUMNS.index(column) for column in _NAMES])


def began(row: Row) -> Began:
    """A call from the values of OPENED_COLUMNS."""
    return Began._make(_take(row))


def trait_rows(calls: Iterable[Began | Ended]) -> list[Row]:
    """What to add to sessions, in the order of ADD_TRAITS: the names that the earliest calls gave, and sums."""
    sums: dict[str, list[Any]] = {}
    for call in sorted(calls, key=_received):  # those that have ended need not be told before those that run
        if call.session is None:
            continue
        row = sums.get(call.session)
        if row is None:
            row = sums[call.session] = [*NO_TRAITS]
        row[0] = row[0] or call.agent or None
        row[1] = row[1] or call.user or None
        row[2] = row[2] or call.conversation or None
        row[3] = row[3] or call.client_key or None
        if isinstance(call, Ended):
            row[4] += call.function_calls or 0
            if call.answered:
                row[5] += 1 if call.cached else 0
                row[6] += round(call.total_ms or 0.0)
    return [(*row, session) for session, row in sums.items()]


def facet_rows(calls: Iterable[Began | Ended]) -> list[Row]:
    """What sessions can be found by, in the order of ADD_FACET, each once."""
    found: dict[Row, None] = {}
    for call in calls:
        session = call.session
        if session is None:
            continue
        names = ("model", call.model), ("agent", call.agent), ("user", call.user), ("key", call.client_key)
        for kind, value in names:
            if value:
                found[session, kind, value] = None
        for tag in orjson.loads(call.tags) if call.tags else ():
            found[session, "tag", tag] = None
        if isinstance(call, Ended):
            found[session, "status", call.status] = None
    return [*found]


def visit_rows(calls: Iterable[Ended]) -> list[Row]:
    """The hours in which sessions were active, over all and with each agent, in the order of ADD_VISIT, each once."""
    found: dict[Row, None] = {}
    for call in calls:
        session = call.session
        if session is not None:
            hour = call.hour
            found["all", "", session, hour] = None
            found["agent", call.agent or "", session, hour] = None
    return [*found]
