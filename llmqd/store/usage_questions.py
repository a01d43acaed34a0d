"""Answers what was used and what it cost, from the roll-ups alone: no question reads the calls of a window."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from llmqd.store.histogram import Histogram, percentiles, total
from llmqd.store.rollups import HOUR, SUMS
from llmqd.store.window import Window

Rows = list[Mapping[str, Any]]
Ask = Callable[..., Awaitable[Rows]]
"""Runs a statement with values and gives its rows, as Backend.ask does."""

_EXTREMES = "min(shortest_ms) AS shortest_ms, max(longest_ms) AS longest_ms"
_SPENDING = ("calls", "errors", "input_tokens", "output_tokens", "cached_tokens", "cost_pico", "unknown_cost_count")
"""The sums that tell what was spent, for questions that want no more."""


def _sums(columns: Iterable[str]) -> str:
    return ", ".join(f"coalesce(sum({column}), 0) AS {column}" for column in columns)


def _within(*columns: str) -> str:
    """Rows of a window, in at most three pieces; those that are not needed are empty. The columns are named one by one,
    as the rows are copied on their way."""
    piece = f"SELECT {', '.join(columns)} FROM usage WHERE by = ?1 AND step = ?%d AND start >= ?%d AND start < ?%d"
    return " UNION ALL ".join(piece % (first, first + 1, first + 2) for first in (2, 5, 8))


_SUMS = _sums(SUMS)
_ALL_SUMS = _within("value", "part", *SUMS, "shortest_ms", "longest_ms")
_TOTALS = f"SELECT {_SUMS}, {_EXTREMES} FROM ({_ALL_SUMS}) AS pieces"
_SPENT = f"SELECT {_sums(['cost_pico'])} FROM ({_within('cost_pico')}) AS pieces"
_BY_VALUE = f"SELECT value, {_SUMS}, {_EXTREMES} FROM ({_ALL_SUMS}) AS pieces GROUP BY value"
_BY_PART = f"SELECT value, part, {_SUMS}, {_EXTREMES} FROM ({_ALL_SUMS}) AS pieces GROUP BY value, part"
_SPENT_BY_VALUE = f"SELECT value, {_sums(_SPENDING)} FROM ({_within('value', *_SPENDING)}) AS pieces GROUP BY value"
_HISTOGRAMS = f"""
SELECT value, part, latency, ttft FROM ({_within("value", "part", "latency", "ttft")}) AS pieces
WHERE value IN (SELECT value FROM json_each(?11))
"""
_VALUES = f"SELECT count(DISTINCT value) AS found FROM ({_within('value')}) AS pieces WHERE value <> ''"

_OVER_TIME = f"""
SELECT start, value, {_SUMS}, {_EXTREMES} FROM usage
WHERE by = ? AND step = ? AND start >= ? AND start < ? AND value IN (SELECT value FROM json_each(?))
GROUP BY start, value
"""
_HISTOGRAMS_OVER_TIME = """
SELECT start, value, latency, ttft FROM usage
WHERE by = ? AND step = ? AND start >= ? AND start < ? AND value IN (SELECT value FROM json_each(?))
"""

_SESSIONS = """
SELECT value, sum(sessions) AS sessions FROM returns WHERE by = ? AND hour >= ? AND hour < ? AND previous < ?
GROUP BY value
"""
_SESSIONS_OVER_TIME = """
SELECT value, hour - hour % ?1 AS start, sum(sessions) AS sessions FROM returns
WHERE by = ?2 AND hour >= ?3 AND hour < ?4 AND previous < hour - hour % ?1
GROUP BY value, start
"""

_STRETCH = """
SELECT (SELECT start FROM usage WHERE by = 'all' AND step = ?1 ORDER BY start LIMIT 1) AS first,
    (SELECT start FROM usage WHERE by = 'all' AND step = ?1 ORDER BY start DESC LIMIT 1) AS last
"""

_SHARES = (0.5, 0.95, 0.99)
_VISITED = ("all", "agent")
"""Dimensions of which is known when sessions were active."""


@dataclass(slots=True)
class Percentiles:
    """In milliseconds, within four percent; None where nothing was measured."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, histogram: Histogram) -> Percentiles:
        """Those of a histogram."""
        return cls(*percentiles(histogram, _SHARES))

    def within(self, least: float | None, most: float | None) -> Percentiles:
        """The same, none of them below or above what is known to be the least and the most."""
        if least is None or most is None:
            return self
        measured = (self.p50, self.p95, self.p99)
        return Percentiles(*[None if ms is None else min(max(ms, least), most) for ms in measured])


@dataclass(slots=True)
class Usage:
    """What the calls of a window come to: the sums of `usage`, as the schema describes them."""

    value: str = ""
    part: str = ""
    start: int = 0
    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_pico: int = 0
    cost_input_pico: int = 0
    cost_output_pico: int = 0
    cost_cache_read_pico: int = 0
    cost_cache_write_pico: int = 0
    unknown_cost_count: int = 0
    cache_hits: int = 0
    function_calls: int = 0
    queued_ms: int = 0
    total_ms: int = 0
    first_ms: int = 0
    streams: int = 0
    shortest_ms: float | None = None
    longest_ms: float | None = None
    latency: Percentiles = field(default_factory=Percentiles)
    ttft: Percentiles = field(default_factory=Percentiles)
    sessions: int = 0

    @property
    def answered(self) -> int:
        """Calls that the upstream answered with 2xx."""
        return self.calls - self.errors

    def measured(self, latency: Percentiles, ttft: Percentiles) -> None:
        """Take in what histograms say, which is no less and no more than what was measured itself."""
        self.latency, self.ttft = latency.within(self.shortest_ms, self.longest_ms), ttft


@dataclass(slots=True, frozen=True)
class Overview:
    """All calls of a window, and how many users had a name in it."""

    usage: Usage
    users: int


class UsageQuestions:
    """What can be asked of the roll-ups. Every question raises StoreError when the database cannot answer."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def stretch(self, step: int) -> Window | None:
        """From the first hour or day to the last of which anything is known; None where there is none."""
        [row] = await self._ask(_STRETCH, step)
        return None if row["first"] is None else Window(row["first"], row["last"] + step)

    async def spent(self, window: Window) -> int:
        """What is known to have been spent within the window, in picodollars."""
        [row] = await self._ask(_SPENT, "all", *_pieces(window))
        return int(row["cost_pico"])

    async def overview(self, window: Window) -> Overview:
        """All calls of the window."""
        [row], measured, sessions, [users] = await asyncio.gather(
            self._ask(_TOTALS, "all", *_pieces(window)),
            self._measured([""], "all", window, ("value",)),
            self._sessions("all", window),
            self._ask(_VALUES, "user", *_pieces(window)),
        )
        usage = Usage(**row, sessions=sessions.get("", 0))
        if measured:
            usage.measured(*measured["",])
        return Overview(usage, users["found"])

    async def by(
        self,
        dimension: str,
        window: Window,
        limit: int,
        *,
        by_part: bool = False,
        busiest_first: bool = False,
        measured: bool = True,
    ) -> list[Usage]:
        """The calls of the window by `dimension`, the dearest first and at most `limit`; `value` is "" for none.

        With `by_part` models are told apart by their upstream as well. Unless `measured`, a Usage tells
        no more than what was spent: calls, errors, tokens and cost.
        """
        statement = _BY_PART if by_part else _BY_VALUE if measured else _SPENT_BY_VALUE
        rows = await self._ask(statement, dimension, *_pieces(window))
        found = sorted((Usage(**row) for row in rows), key=_busiest if busiest_first else _dearest)[:limit]
        names = ("value", "part") if by_part else ("value",)
        values = [usage.value for usage in found]
        percentiles, sessions = await asyncio.gather(
            self._measured(values if measured else [], dimension, window, names),
            self._sessions(dimension, window),
        )
        for usage in found:
            usage.sessions = sessions.get(usage.value, 0)
            key = (usage.value, usage.part)[: len(names)]
            if key in percentiles:
                usage.measured(*percentiles[key])
        return found

    async def over_time(self, dimension: str, values: list[str], window: Window, step: int) -> list[Usage]:
        """For each of `values`, a Usage for each `step` of the window in the order of time, those without calls too."""
        asked = (dimension, step, window.start, window.end, orjson.dumps(values).decode())
        rows, histograms, sessions = await asyncio.gather(
            self._ask(_OVER_TIME, *asked),
            self._ask(_HISTOGRAMS_OVER_TIME, *asked),
            self._ask(_SESSIONS_OVER_TIME, step, dimension, *window) if dimension in _VISITED else _nothing(),
        )
        found = {(row["start"], row["value"]): Usage(**row) for row in rows}
        for row in sessions:
            if (usage := found.get((row["start"], row["value"]))) is not None:
                usage.sessions = row["sessions"]
        measured = await asyncio.to_thread(_measured, histograms, ("start", "value"))
        for key, (latency, ttft) in measured.items():
            if key in found:  # a call may have ended between two questions
                found[key].measured(latency, ttft)
        return [
            found.get((start, value)) or Usage(value=value, start=start)
            for value in values
            for start in window.steps(step)
        ]

    async def _measured(
        self, values: list[str], dimension: str, window: Window, names: tuple[str, ...]
    ) -> dict[tuple[Any, ...], tuple[Percentiles, Percentiles]]:
        """Percentiles of latency and TTFT of these values, told apart by the columns named."""
        if not values:
            return {}
        rows = await self._ask(_HISTOGRAMS, dimension, *_pieces(window), orjson.dumps(values).decode())
        return await asyncio.to_thread(_measured, rows, names)

    async def _sessions(self, dimension: str, window: Window) -> dict[str, int]:
        """How many sessions each value has had, where that is known of the dimension."""
        if dimension not in _VISITED:
            return {}
        # A first visit has 0 for the hour of the one before, which is no hour of a window that begins in 1970.
        rows = await self._ask(_SESSIONS, dimension, window.start, window.end, max(window.start, 1))
        return {row["value"]: row["sessions"] for row in rows}


async def _nothing() -> Rows:
    return []


def _dearest(usage: Usage) -> tuple[int, int, str, str]:
    return -usage.cost_pico, -usage.calls, usage.value, usage.part


def _busiest(usage: Usage) -> tuple[int, int, str, str]:
    return -usage.calls, -usage.cost_pico, usage.value, usage.part


def _pieces(window: Window) -> list[int]:
    pieces = [*window.pieces()]
    pieces += [(HOUR, 0, 0)] * (3 - len(pieces))
    return [number for piece in pieces for number in piece]


def _measured(
    rows: Iterable[Mapping[str, Any]], names: tuple[str, ...]
) -> dict[tuple[Any, ...], tuple[Percentiles, Percentiles]]:
    """Percentiles of latency and TTFT, of the rows that have the same values in the named columns."""
    gathered: dict[tuple[Any, ...], tuple[list[bytes], list[bytes]]] = {}
    for row in rows:
        latency, ttft = gathered.setdefault(tuple(row[name] for name in names), ([], []))
        latency.append(row["latency"])
        ttft.append(row["ttft"])
    return {
        key: (Percentiles.of(total(latency)), Percentiles.of(total(ttft))) for key, (latency, ttft) in gathered.items()
    }
