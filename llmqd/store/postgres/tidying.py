"""Keeps a PostgreSQL database within its terms: whole partitions go, and a few rows of what no call refers to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import asyncpg

from llmqd.store.connection import Connection
from llmqd.store.packing import dictionary_of
from llmqd.store.postgres.partitions import DAY, TABLES, Cut, Partition, given_up, outdated
from llmqd.store.retention import Pace, Terms
from llmqd.store.sweeping import ROWS_PER_SESSION, read_swept, sweep_marks, sweep_nodes
from llmqd.store.tidying import Tidied

logger = logging.getLogger(__name__)

_EVERY = 60.0
"""Seconds between two looks at what may have to go."""
_PATIENCE = "SET LOCAL lock_timeout = '1s'"
"""A partition is dropped when nobody reads its table; questions do not wait longer than that for it to happen."""
_BEFORE_ITS_CALL = 60.0
"""Seconds by which marks and nodes may be older than the oldest call by id and still be needed; see store.retention.
Here the clocks of several machines have a part in it."""

_PARTITIONS = """
SELECT child.relname, parent.relname AS parent FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid JOIN pg_class AS parent ON parent.oid = inhparent
WHERE child.relnamespace = current_schema()::regnamespace AND parent.relname = ANY($1)
"""
_SIZE = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
"""
_ROWS = "SELECT count(*) FROM {}"
_OLDEST_CALL = "SELECT min(received_at) FROM (SELECT received_at FROM calls ORDER BY id LIMIT 1) AS oldest"
_OLDEST_PACKED = """
SELECT substr(content, 1, 5) FROM texts WHERE substr(content, 1, 1) = '\\x02'::bytea ORDER BY id LIMIT 1
"""
_DELETE_DICTIONARIES = "DELETE FROM dictionaries WHERE id < $1"


async def read_partitions(connection: asyncpg.Connection[Any]) -> list[Partition]:
    """The partitions that are there."""
    rows = await connection.fetch(_PARTITIONS, list(TABLES))
    found = [Partition.named(row["relname"]) for row in rows]
    return [one for one in found if one is not None]


async def make(connection: asyncpg.Connection[Any], lacking: Iterable[Partition]) -> None:
    """Makes partitions, in a way that does not wait for those who read their table."""
    for one in lacking:
        first, end = one.bounds()
        await connection.execute(f"CREATE TABLE {one.name} (LIKE {one.table} INCLUDING DEFAULTS INCLUDING STORAGE)")
        await connection.execute(
            f"ALTER TABLE {one.table} ATTACH PARTITION {one.name} FOR VALUES FROM ({first}) TO ({end})"
        )


class Tidying:
    """Looks every minute for what may not stay. `stopwatch` measures the steps in which rows are deleted."""

    def __init__(self, terms: Terms, cut: Cut, stopwatch: Callable[[], float]) -> None:
        self._terms = terms
        self._cut = cut
        self._stopwatch = stopwatch
        self._pace = Pace()
        self._looked = float("-inf")
        self.latest = Tidied()

    def __repr__(self) -> str:
        return f"<Tidying {self._terms}>"

    def reopened(self) -> None:
        """Another database may stand there now."""
        self._looked = float("-inf")

    def due(self, now: float) -> bool:
        """Whether it is time for a step. `now` is in Unix seconds."""
        return self.latest.more or not self._looked <= now < self._looked + _EVERY

    async def step(self, raw: asyncpg.Connection[Any], connection: Connection, now: float) -> Tidied:
        """One step, within a transaction. Raises asyncpg.PostgresError."""
        self._looked = now
        there = await read_partitions(raw)
        today = int(now // DAY)
        await make(raw, self._cut.lacking(there, (today, today + 1), (today, today + 1)))
        old = outdated(self._terms, there, now)
        least: list[Partition] = []
        before, dropped, size = 0.0, 0, await self._size(raw)
        too_large = 0 < self._terms.max_size < size
        if old:
            old = old if await self._drop(raw, old) else []
            before = max((one.end * DAY for one in old if one.table == "texts"), default=0.0)
        elif too_large and (least := given_up(there, now)):
            dropped = await self._rows(raw, least)
            dropped = dropped if await self._drop(raw, least) else 0
        if dropped:
            logger.warning(
                "the database has reached [store] max_size (%d bytes): %s given up",
                self._terms.max_size,
                ", ".join(one.name for one in least),
            )
            before = max((one.end * DAY for one in least if one.table == "texts"), default=0.0)
        swept, of_nodes = await self._sweep(raw, connection, now)
        self.latest = Tidied(
            more=bool(old or dropped or swept),
            urgent=bool(dropped),
            before=max(before, of_nodes),
            size=size,
            given_up=dropped,
            too_small=too_large and not old and not dropped,
        )
        return self.latest

    async def _drop(self, raw: asyncpg.Connection[Any], partitions: Iterable[Partition]) -> bool:
        """Whether they are gone; False where somebody reads for longer: they go another time."""
        try:
            async with raw.transaction():
                await raw.execute(_PATIENCE)
                for one in partitions:
                    await raw.execute(f"DROP TABLE {one.name}")
        except asyncpg.LockNotAvailableError:
            return False
        head = await raw.fetchval(_OLDEST_PACKED)
        if head is not None:
            await raw.execute(_DELETE_DICTIONARIES, dictionary_of(head) or 0)
        return True

    async def _sweep(self, raw: asyncpg.Connection[Any], connection: Connection, now: float) -> tuple[int, float]:
        """(rows deleted, before when what was written is not known to be there any more)."""
        oldest = await raw.fetchval(_OLDEST_CALL)
        if oldest is None:
            if not self._terms.calls:
                return 0, 0.0
            oldest = now - self._terms.calls
        began, limit, before = self._stopwatch(), self._pace.count, oldest - _BEFORE_ITS_CALL
        marks = await sweep_marks(connection, before, limit)
        sessions, _ = await sweep_nodes(
            connection, await read_swept(connection), before, max(1, limit // ROWS_PER_SESSION)
        )
        count = marks + sessions * ROWS_PER_SESSION
        self._pace.took(count, self._stopwatch() - began)
        return count, before if sessions else 0.0

    async def _size(self, raw: asyncpg.Connection[Any]) -> int:
        return int(await raw.fetchval(_SIZE))

    async def _rows(self, raw: asyncpg.Connection[Any], partitions: Iterable[Partition]) -> int:
        return sum([int(await raw.fetchval(_ROWS.format(one.name))) for one in partitions if one.table != "words"])
