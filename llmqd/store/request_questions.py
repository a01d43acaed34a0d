"""Answers which calls there were, the latest first, without reading those that cannot fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from llmqd.call import Record, new_call_id
from llmqd.store.columns import record
from llmqd.store.rollups import HOUR
from llmqd.store.usage_questions import Ask

_HOURS = "SELECT DISTINCT start FROM usage WHERE by = ? AND value = ? AND step = 3600 AND start >= ? AND start <= ?"
_RUNNING_HOURS = "SELECT DISTINCT received_at FROM calls WHERE status = 'running'"

_IMPORTED = "SELECT id FROM calls WHERE provider_id = ? AND lane = 'litellm'"
_KNOWN = "SELECT id FROM calls WHERE id IN (SELECT value FROM json_each(?))"

_COLUMNS = {
    "session": "session_id",
    "model": "model",
    "agent": "agent",
    "user": "user_id",
    "key": "coalesce(client_key, client)",
    "upstream": "upstream",
    "status": "status",
}
_DIMENSIONS = ("model", "agent", "user", "key", "upstream")
_HAS_TAG = "EXISTS (SELECT 1 FROM json_each(calls.tags) WHERE value = ?)"
_FAR_FUTURE = 2**33
_SLACK = 2.0
"""Seconds by which the time in a call's id may differ from that at which it was received."""

Stretch = tuple[float, float]


@dataclass(slots=True, frozen=True, kw_only=True)
class CallFilters:
    """Which calls are wanted; None leaves a field open.

    `since` and `until` bound when a call was received (Unix seconds, both within), `min_cost` and `max_cost` its price
    in picodollars; a call whose price is not known has none.
    """

    session: str | None = None
    model: str | None = None
    agent: str | None = None
    user: str | None = None
    key: str | None = None
    upstream: str | None = None
    status: str | None = None
    tag: str | None = None
    since: float | None = None
    until: float | None = None
    min_cost: int | None = None
    max_cost: int | None = None

    def conditions(self) -> tuple[list[str], list[Any]]:
        """What is wanted of a row of calls, as SQL and its values."""
        conditions: list[str] = []
        values: list[Any] = []
        for condition, value in (
            *((f"{column} = ?", getattr(self, name)) for name, column in _COLUMNS.items()),
            (_HAS_TAG, self.tag),
            ("received_at >= ?", self.since),
            ("received_at <= ?", self.until),
            ("cost_pico >= ?", self.min_cost),
            ("cost_pico <= ?", self.max_cost),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if self.status not in (None, "done", "running"):
            conditions.append("status NOT IN ('done', 'running')")  # how SQLite knows that the small index will do
        return conditions, values


@dataclass(slots=True, frozen=True)
class CallPage:
    """Some of the calls that fit, the latest first; `next` is the id to go on from, None where no more follow."""

    records: list[Record]
    next: str | None


class RequestQuestions:
    """What can be asked of calls. Every question raises StoreError when the database cannot answer."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def search(self, filters: CallFilters, limit: int, *, after: str | None = None) -> CallPage:
        """At most `limit` calls that fit, older than `after`.

        Without a session, the roll-ups tell in which hours there can be any: only those are read.
        """
        found: list[Record] = []
        conditions, values = filters.conditions()
        for first, last in await self._stretches(filters, after):
            bounds = ["id >= ?", "id < ?"] + (["id < ?"] if after is not None else [])
            bound = [_first_id(first - _SLACK), _first_id(last + _SLACK), *([after] if after is not None else [])]
            statement = f"SELECT * FROM calls WHERE {' AND '.join(bounds + conditions)} ORDER BY id DESC LIMIT ?"
            for row in await self._ask(statement, *bound, *values, limit + 1 - len(found)):
                found.append(record(row))
            if len(found) > limit:
                return CallPage(found[:limit], found[limit - 1].call.id)
            after = found[-1].call.id if found else after
        return CallPage(found, None)

    async def imported_as(self, request_id: str) -> str | None:
        """The id of the call that LiteLLM knows by this id; None where it was not imported."""
        if request_id.encode("utf-8", "ignore").decode() != request_id:
            return None
        rows = await self._ask(_IMPORTED, request_id)
        return rows[0]["id"] if rows else None

    async def known(self, call_ids: Iterable[str]) -> set[str]:
        """Those of these calls, some hundred at most, that are there."""
        return {row["id"] for row in await self._ask(_KNOWN, orjson.dumps([*call_ids]).decode())}

    async def _stretches(self, filters: CallFilters, after: str | None) -> list[Stretch]:
        """Where to look, the latest stretch of time first; no two of them overlap."""
        since = filters.since if filters.since is not None else 0.0
        until = filters.until if filters.until is not None else float(_FAR_FUTURE)
        wanted = [(name, value) for name in _DIMENSIONS if (value := getattr(filters, name)) is not None]
        if filters.session is not None or not wanted:
            return [(since, until)] if since <= until else []
        hours: set[int] | None = None
        for name, value in wanted:
            rows = await self._ask(_HOURS, name, value, int(since // HOUR) * HOUR, int(until))
            these = {row["start"] for row in rows}
            hours = these if hours is None else hours & these
        # What runs is in no roll-up yet.
        running = {int(row["received_at"] // HOUR) * HOUR for row in await self._ask(_RUNNING_HOURS)}
        return [
            (max(first, since), min(last, until))
            for first, last in _joined((hours or set()) | running)
            if last > since and first <= until
        ]


def _joined(hours: Iterable[int]) -> Iterator[Stretch]:
    """Hours as stretches, the latest first; what lies beside each other is one."""
    stretch: tuple[int, int] | None = None
    for hour in sorted(hours, reverse=True):
        if stretch is not None and hour + HOUR == stretch[0]:
            stretch = hour, stretch[1]
            continue
        if stretch is not None:
            yield stretch
        stretch = hour, hour + HOUR
    if stretch is not None:
        yield stretch


def _first_id(at: float) -> str:
    """What no id of a call at that time or later is smaller than."""
    return new_call_id(max(at, 0.0))[:10]
