"""Answers what sessions there are: one by its id, those that fit some filters, the dearest of a window."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import orjson

from llmqd.store.backend import SessionTotals
from llmqd.store.cursor import Place
from llmqd.store.text_search import FEW, TextSearch
from llmqd.store.usage_questions import Ask, Rows
from llmqd.store.window import Window
from llmqd.store.words import Query, query

_FEW = 2_000
"""Sessions that may be sorted rather than looked for in the order wanted."""
_RECENT = 20_000
"""Sessions among which the dearest are rather looked for by time than by cost."""
_SPARE = 50
"""More of the dearest than wanted are looked at, since not all of their cost may lie within the window."""

_READ_AT_ONCE = 64
"""Sessions whose texts are read at once."""
_LOOKED_AT_FIRST = 200
"""Texts that have the words and are followed to their sessions at once, to begin with."""
_END = 2**53
_PATIENCE = 1.0
"""Seconds that a search for words goes on."""


@dataclass(slots=True, frozen=True)
class Session(SessionTotals):
    """A session with its totals: the row of `sessions`, its models and its tags."""

    agent: str | None
    user_id: str | None
    conversation: str | None
    function_calls: int
    cache_hits: int
    total_ms: int
    client_key: str | None = None
    models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


_COLUMNS = ", ".join(field.name for field in fields(Session) if field.name not in ("models", "tags"))
_SESSION = f"SELECT {_COLUMNS} FROM sessions WHERE session_id = ?"
_FACETS = """
SELECT session_id, kind, value FROM facets
WHERE session_id IN (SELECT value FROM json_each(?)) AND kind IN ('model', 'tag') ORDER BY session_id, kind, value
"""
_COUNT_FACET = "SELECT count(*) AS found FROM facets WHERE kind = ? AND value = ?"
_WITH_FACET = (
    "EXISTS (SELECT 1 FROM facets AS f INDEXED BY facets_by_value"
    " WHERE f.session_id = s.session_id AND f.kind = ? AND f.value = ?)"
)
_IN_FACET = "s.session_id IN (SELECT session_id FROM facets WHERE kind = ? AND value = ?)"

_SHARED = "SELECT 1 FROM facets AS k WHERE k.session_id = ? AND k.kind = 'key' AND k.value <> ? LIMIT 1"
_UNSHARED = (
    "NOT EXISTS (SELECT 1 FROM facets AS k"
    " WHERE k.session_id = s.session_id AND k.kind = 'key' AND k.value <> s.client_key)"
)

_COUNT_SESSIONS = "SELECT count(*) AS found FROM sessions"
_COUNT_RECENT = f"SELECT count(*) AS found FROM (SELECT 1 FROM sessions WHERE last_seen >= ? LIMIT {_RECENT + 1}) AS s"
_DEAREST = f"""
SELECT {_COLUMNS} FROM sessions INDEXED BY {{index}} WHERE last_seen >= ? AND first_seen < ?
ORDER BY cost_pico DESC LIMIT ?
"""
_WITHIN = """
SELECT session_id, coalesce(sum(cost_pico), 0) AS cost_pico,
    count(*) FILTER (WHERE http_status BETWEEN 200 AND 299) AS request_count,
    count(*) - count(*) FILTER (WHERE http_status BETWEEN 200 AND 299) AS error_count,
    coalesce(sum(input_tokens), 0) AS prompt_tokens, coalesce(sum(output_tokens), 0) AS completion_tokens,
    coalesce(sum(input_tokens), 0) + coalesce(sum(output_tokens), 0) AS total_tokens,
    coalesce(sum(cached_tokens), 0) AS cached_tokens,
    count(*) FILTER (WHERE usage_source IS NOT NULL AND cost_pico IS NULL) AS unknown_cost_count,
    coalesce(sum(function_calls), 0) AS function_calls
FROM calls
WHERE session_id IN (SELECT value FROM json_each(?)) AND received_at >= ? AND received_at < ? AND status <> 'running'
GROUP BY session_id
"""


@dataclass(slots=True, frozen=True, kw_only=True)
class SessionFilters:
    """Which sessions are wanted; None leaves a field open.

    `agent`, `user`, `model`, `tag` and `status` (how a call ended) want at least one call of a session to have them.
    `since` and `until` (Unix seconds, both within) want it to have been active between them. Costs are of the whole
    session, in picodollars; a session of whose calls no price is known has none. `key` is the client key whose it is,
    `unshared` leaves out those in which another key has called as well, `among` has the sessions that come into
    question at all.
    """

    agent: str | None = None
    user: str | None = None
    model: str | None = None
    tag: str | None = None
    status: str | None = None
    since: float | None = None
    until: float | None = None
    min_cost: int | None = None
    max_cost: int | None = None
    key: str | None = None
    unshared: bool = False
    among: Sequence[str] | None = None

    def facets(self) -> list[tuple[str, str]]:
        """The kinds and values of `facets` that are wanted."""
        kinds = ("agent", "user", "model", "tag", "status")
        return [(kind, value) for kind in kinds if (value := getattr(self, kind)) is not None]

    def conditions(self) -> tuple[list[str], list[Any]]:
        """What else is wanted of a row of sessions, as SQL and its values."""
        conditions: list[str] = []
        values: list[Any] = []
        for condition, value in (
            ("s.last_seen >= ?", self.since),
            ("s.first_seen <= ?", self.until),
            ("s.cost_pico >= ?", self.min_cost),
            ("s.cost_pico <= ?", self.max_cost),
            ("s.client_key = ?", self.key),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if self.unshared:
            conditions.append(_UNSHARED)
        if self.among is not None:
            conditions.append("s.session_id IN (SELECT value FROM json_each(?))")
            values.append(orjson.dumps(self.among).decode())
        if self.min_cost == 0 or (self.min_cost is None and self.max_cost is not None):
            conditions.append("(s.cost_pico > 0 OR s.unknown_cost_count = 0)")
        return conditions, values


@dataclass(slots=True, frozen=True)
class SessionPage:
    """Some of the sessions that fit, the one that began last first. `total` counts all that fit; None: not known."""

    sessions: list[Session]
    total: int | None
    next: Place | None


@dataclass(slots=True, frozen=True)
class _Fit:
    """The facets that are wanted, the rarest first, how many sessions have that one (0: none is wanted), and how many
    fit."""

    facets: list[tuple[str, str]]
    rarest: int
    total: int


class SessionQuestions:
    """What can be asked of sessions. Every question raises StoreError when the database cannot answer."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._texts = TextSearch(ask)

    async def session(self, session_id: str) -> Session | None:
        """One session; None for an unknown id."""
        found = await self._whole(await self._ask(_SESSION, session_id))
        return found[0] if found else None

    async def shared(self, session_id: str, key: str) -> bool:
        """Whether another client key than this one has called in a session."""
        return bool(await self._ask(_SHARED, session_id, key))

    async def search(
        self, filters: SessionFilters, limit: int, *, offset: int = 0, after: Place | None = None
    ) -> SessionPage:
        """At most `limit` sessions that fit: those from `offset` on, or behind the place where a page ended."""
        fit = await self._fitting(filters)
        if not fit.total:
            return SessionPage([], 0, None)
        few = await self._are_few(fit, limit + offset)
        sessions, following = await self._some(filters, fit.facets, few, limit, offset=offset, after=after)
        return SessionPage(await self._named(sessions), fit.total, following)

    async def pages(self, filters: SessionFilters, at_once: int) -> AsyncIterator[list[Session]]:
        """All sessions that fit, so many at a time."""
        fit = await self._fitting(filters)
        few, after = await self._are_few(fit, fit.total), None
        while fit.total:
            sessions, after = await self._some(filters, fit.facets, few, at_once, after=after)
            yield await self._named(sessions)
            if after is None:
                return

    async def _fitting(self, filters: SessionFilters) -> _Fit:
        facets = filters.facets()
        rows = await asyncio.gather(*(self._ask(_COUNT_FACET, *facet) for facet in facets))
        counts = [row["found"] for [row] in rows]
        facets = [facet for _, facet in sorted(zip(counts, facets, strict=True))]
        return _Fit(facets, min(counts, default=0), await self._count(filters, facets))

    async def _are_few(self, fit: _Fit, wanted: int) -> bool:
        """Whether those that fit are rather fetched by what tells them apart and then sorted. Of many, enough are met
        on the way down in time; and where many have the rarest facet and few have all, that way may be the shorter one:
        to so many `wanted`, if one in so many sessions fits."""
        if fit.total > _FEW or fit.rarest <= _FEW:
            return fit.total <= _FEW
        enough = fit.rarest * fit.total // (wanted + 1)
        [row] = await self._ask(_COUNT_SESSIONS)
        return int(row["found"]) > enough

    async def _some(
        self,
        filters: SessionFilters,
        facets: Sequence[tuple[str, str]],
        few: bool,
        limit: int,
        *,
        offset: int = 0,
        after: Place | None = None,
    ) -> tuple[list[Session], Place | None]:
        """Sessions that fit, without their names, and the place from which others follow."""
        first = [_IN_FACET if few else _WITH_FACET] * len(facets[:1])
        conditions, values = filters.conditions()
        sign = "+" if few and (facets or conditions) else ""
        if after is not None:
            conditions, values = [*conditions, "(s.first_seen, s.session_id) < (?, ?)"], [*values, *after]
        wanted, bound = _all(first + [_WITH_FACET] * len(facets[1:]), facets, conditions, values)
        rows = await self._ask(
            f"SELECT {_COLUMNS} FROM sessions AS s {wanted}"
            f" ORDER BY {sign}s.first_seen DESC, {sign}s.session_id DESC LIMIT ? OFFSET ?",
            *(*bound, limit + 1, offset),
        )
        sessions = [Session(**row) for row in rows[:limit]]
        last = sessions[-1] if len(rows) > limit else None
        return sessions, (last.first_seen, last.session_id) if last else None

    async def _count(self, filters: SessionFilters, facets: Sequence[tuple[str, str]]) -> int:
        """How many sessions fit; `facets` are those wanted, and begin with the rarest."""
        conditions, values = filters.conditions()
        first = [_IN_FACET] if conditions else ["s.kind = ? AND s.value = ?"]
        wanted, bound = _all(first * len(facets[:1]) + [_WITH_FACET] * len(facets[1:]), facets, conditions, values)
        source = "sessions AS s"
        if facets and not conditions:
            source = "facets AS s INDEXED BY facets_by_value"
        elif conditions and not facets and filters.among is None:
            source += " INDEXED BY sessions_by_start"
        [row] = await self._ask(f"SELECT count(*) AS found FROM {source} {wanted}", *bound)
        return int(row["found"])

    async def search_text(
        self, filters: SessionFilters, text: str, limit: int, *, after: Place | None = None, within: float = _PATIENCE
    ) -> SessionPage:
        """At most `limit` sessions that fit and in which one message has all these words (see words.query), the one
        whose message was kept last first.

        Gives up after about `within` seconds with what it has found; `next` leads to those that it has not looked at.
        `total` is known where few messages have the words, or all were looked at.
        """
        wanted, deadline = query(text), asyncio.get_running_loop().time() + within
        if wanted.match is None:
            return await self._search_read(filters, wanted, limit, after, deadline)
        wanted = await self._texts.spelled_out(wanted)
        place, skipped = (_END, "") if after is None else (int(min(max(after[0], 0.0), _END)), after[1])
        ids = await self._texts.matching(wanted, place + 1, FEW + 1)
        last, size = len(ids) <= FEW, FEW if len(ids) <= FEW else _LOOKED_AT_FIRST
        found: list[tuple[int, Session]] = []
        seen: set[str] = set()
        new: list[str] = []
        following: Place | None = None
        while ids:
            block, ids = ids[:size], ids[size:]
            latest = await self._texts.sessions_of(wanted, block)
            new = [one for one, id_ in latest.items() if one not in seen and (id_ < place or one > skipped)]
            seen.update(latest)
            fitting = {session.session_id: session for session in await self._among(filters, new)}
            new = [one for one in new if one in fitting]
            while new and len(found) <= limit:
                some, new = new[:_READ_AT_ONCE], new[_READ_AT_ONCE:]
                # What a former page has shown for a later message is not shown again.
                shown = await self._texts.holding(wanted, some, place + 1) if after is not None else ()
                found += [(latest[one], fitting[one]) for one in some if one not in shown]
            if len(found) > limit:
                break
            if not ids and not last:
                ids = await self._texts.matching(wanted, block[-1], FEW + 1)
                last = len(ids) <= FEW
            if ids and asyncio.get_running_loop().time() >= deadline:
                following = float(block[-1] - 1), ""
                break
            size = min(2 * size, FEW)
        total = len(found) + len(new) if after is None and last and not ids else None
        if len(found) > limit:
            id_, session = found[limit - 1]
            following = float(id_), session.session_id
        return SessionPage(await self._named([session for _, session in found[:limit]]), total, following)

    async def _among(self, filters: SessionFilters, ids: Sequence[str]) -> list[Session]:
        """Those of some sessions that fit."""
        wanted = replace(filters, among=ids)
        sessions, _ = await self._some(wanted, wanted.facets(), False, len(ids)) if ids else ([], None)
        return sessions

    async def _search_read(
        self, filters: SessionFilters, wanted: Query, limit: int, after: Place | None, deadline: float
    ) -> SessionPage:
        """The same for what no index knows, by reading what was said: the session that began last first."""
        first, found = after is None, list[Session]()
        fit = await self._fitting(filters)
        few = await self._are_few(fit, fit.total)
        while fit.total:
            sessions, following = await self._some(filters, fit.facets, few, _READ_AT_ONCE, after=after)
            holding = await self._texts.holding(wanted, [session.session_id for session in sessions])
            for session in sessions:
                if session.session_id in holding:
                    found.append(session)
                    if len(found) == limit:
                        return SessionPage(await self._named(found), None, (session.first_seen, session.session_id))
            after = following
            if after is None or asyncio.get_running_loop().time() >= deadline:
                break
        known = first and (after is None or not fit.total)
        return SessionPage(await self._named(found), len(found) if known else None, after if fit.total else None)

    async def dearest(self, window: Window, limit: int) -> list[Session]:
        """The sessions on which most was spent within the window; their sums count only the calls in it."""
        [recent] = await self._ask(_COUNT_RECENT, window.start)
        index = "sessions_by_last_seen" if recent["found"] <= _RECENT else "sessions_by_cost"
        statement, looked_at = _DEAREST.format(index=index), limit + _SPARE
        while True:
            rows = await self._ask(statement, window.start, window.end, looked_at)
            found = [Session(**row) for row in rows]
            least = found[-1].cost_pico if len(found) == looked_at else -1
            inside = await self._inside(found, window)
            inside.sort(key=lambda session: (-session.cost_pico, session.session_id))
            if least < 0 or (len(inside) >= limit and inside[limit - 1].cost_pico >= least):
                return await self._named(inside[:limit])
            looked_at *= 4

    async def _inside(self, found: Iterable[Session], window: Window) -> list[Session]:
        """The sessions with what they spent within the window alone, but for those that spent nothing there."""
        inside: list[Session] = []
        across: list[Session] = []
        for session in found:
            whole = session.first_seen >= window.start and session.last_seen < window.end
            (inside if whole else across).append(session)
        if across:
            ids = orjson.dumps([session.session_id for session in across]).decode()
            parts = {row["session_id"]: row for row in await self._ask(_WITHIN, ids, *window)}
            inside += [
                replace(session, **parts[session.session_id]) for session in across if session.session_id in parts
            ]
        return inside

    async def _whole(self, rows: Rows) -> list[Session]:
        return await self._named([Session(**row) for row in rows])

    async def _named(self, sessions: list[Session]) -> list[Session]:
        """The sessions with their models and tags."""
        if sessions:
            ids = orjson.dumps([session.session_id for session in sessions]).decode()
            names: dict[tuple[str, str], list[str]] = {}
            for row in await self._ask(_FACETS, ids):
                names.setdefault((row["session_id"], row["kind"]), []).append(row["value"])
            return [
                replace(
                    session,
                    models=tuple(names.get((session.session_id, "model"), ())),
                    tags=tuple(names.get((session.session_id, "tag"), ())),
                )
                for session in sessions
            ]
        return sessions


def _all(
    with_facets: Sequence[str], facets: Sequence[tuple[str, str]], conditions: Sequence[str], values: Sequence[Any]
) -> tuple[str, list[Any]]:
    """A WHERE clause with its values; without conditions, nothing."""
    clauses = [*with_facets, *conditions]
    bound = [*(text for facet in facets for text in facet), *values]
    return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), bound
