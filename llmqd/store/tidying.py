"""Carries out in SQLite what retention decides: rows deleted and pages given back, one small step at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from llmqd.store import indexing
from llmqd.store.known import LIFETIME
from llmqd.store.packing import dictionary_of
from llmqd.store.retention import Extent, Pace, Step, Terms, next_step
from llmqd.store.sweeping import ROWS_PER_SESSION, Swept, oldest, read_swept, sweep_marks, sweep_nodes
from llmqd.store.working import Direct, transaction

logger = logging.getLogger(__name__)

_SAID_EVERY = 3600.0

_EXTENT = """
SELECT
    (SELECT page_size FROM pragma_page_size), (SELECT page_count FROM pragma_page_count),
    (SELECT freelist_count FROM pragma_freelist_count),
    (SELECT at FROM texts ORDER BY id LIMIT 1),
    (SELECT received_at FROM calls WHERE status <> 'running' ORDER BY id LIMIT 1),
    (SELECT at FROM marks ORDER BY id LIMIT 1),
    (SELECT last_seen FROM sessions WHERE (last_seen, session_id) > (?, ?) ORDER BY last_seen, session_id LIMIT 1),
    (SELECT max(id) > 10 FROM words_data)  -- FTS5 keeps what it knows of itself below that
"""
_OLDEST_TEXTS = "SELECT id, at, key, content FROM texts ORDER BY id LIMIT ?"
_DELETE_TEXTS = "DELETE FROM texts WHERE id <= ?"
_OLDEST_PACKED = "SELECT substr(content, 1, 5) FROM texts WHERE substr(content, 1, 1) = x'02' ORDER BY id LIMIT 1"
_DELETE_DICTIONARIES = "DELETE FROM dictionaries WHERE id < ?"
_OLDEST_CALLS = "SELECT id, received_at FROM calls WHERE status <> 'running' ORDER BY id LIMIT ?"
_DELETE_CALLS = "DELETE FROM calls WHERE id IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Tidied:
    """What a step has come to.

    `more` says that another one follows, `urgent` that it should before the next records are written, as the database
    is larger than it may be. `before`: what was last written before that time (Unix seconds) may be gone. `size` is
    that of the database in bytes, `given_up` how many rows went for the sake of it. `too_small` where the cap cannot be
    held, as nothing is left that could go.
    """

    more: bool = False
    urgent: bool = False
    before: float = 0.0
    size: int = 0
    given_up: int = 0
    too_small: bool = False


class Tidying:
    """Keeps one database within its terms, over the connection that writes it. `stopwatch` measures the steps."""

    def __init__(self, terms: Terms, stopwatch: Callable[[], float]) -> None:
        self._terms = terms
        self._stopwatch = stopwatch
        self._rows, self._pages, self._words = Pace(), Pace(), Pace()
        self._swept: Swept | None = None
        self._said_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Tidying {self._terms}>"

    def reopened(self) -> None:
        """Another database may stand there now."""
        self._swept = None

    async def step(self, connection: Direct, now: float) -> Tidied:
        """One step, in a transaction of its own. `now` is in Unix seconds. Raises sqlite3.Error."""
        extent = await self._extent(connection)
        step = next_step(self._terms, extent, now)
        most = self._terms.most
        if step is None and await self._catch_up(connection):
            return Tidied(more=True, size=extent.size)
        if step is None:
            return Tidied(size=extent.size, too_small=most is not None and extent.used > most)
        began = self._stopwatch()
        if step.what == "pages":
            count = min(step.count, self._pages.count)
            await connection.execute_fetchall(f"PRAGMA incremental_vacuum({count})")
            self._pages.took(count, self._stopwatch() - began)
            [(pages,)] = await connection.execute_fetchall("PRAGMA page_count")
            if count == step.count:
                # Only then is the file really shorter; readers are not waited for.
                await connection.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
            # A file that was not made to give space back never does.
            gave_back = pages < extent.pages
            return Tidied(more=gave_back, urgent=gave_back and step.for_size, size=pages * extent.page_size)
        limit = min(step.count, self._rows.count)
        if step.for_size and step.what != "words":
            self._say(step, now)
        gone, before = await self._give_up(connection, step, limit)
        self._rows.took(gone, self._stopwatch() - began)
        given_up = gone if step.for_size else 0
        return Tidied(more=True, urgent=step.for_size, before=before, size=extent.size, given_up=given_up)

    async def _extent(self, connection: Direct) -> Extent:
        if self._swept is None:
            self._swept = await read_swept(connection)
        [row] = await connection.execute_fetchall(_EXTENT, self._swept)
        return Extent(*row)

    async def _give_up(self, connection: Direct, step: Step, limit: int) -> tuple[int, float]:
        """(rows deleted, before when what was written is not known to be there any more)."""
        try:
            async with transaction(connection):
                match step.what:
                    case "texts":
                        return await self._texts(connection, step.before, limit)
                    case "words":
                        await indexing.clear(connection)
                        return 0, 0.0
                    case "calls":
                        return await _calls(connection, step.before, limit)
                    case "marks":
                        return await sweep_marks(connection, step.before, limit), 0.0
                    case _:
                        return await self._nodes(connection, step.before, limit)
        except BaseException:
            self._swept = None
            raise

    async def _texts(self, connection: Direct, before: float, limit: int) -> tuple[int, float]:
        rows = await oldest(connection, _OLDEST_TEXTS, before, limit)
        if not rows:
            return 0, 0.0
        await indexing.remove(connection, [(id_, content) for id_, _, key, content in rows if key >= 0])
        await connection.execute_fetchall(_DELETE_TEXTS, (rows[-1][0],))
        for (head,) in await connection.execute_fetchall(_OLDEST_PACKED):
            await connection.execute_fetchall(_DELETE_DICTIONARIES, (dictionary_of(head) or 0,))
        # A text may have been said again since, without being moved to the end at once.
        return len(rows), max(row[1] for row in rows) + LIFETIME / 2 + 1

    async def _catch_up(self, connection: Direct) -> int:
        """Takes texts into the index of words that were there before it; how many."""
        first = await indexing.words_from(connection)
        if not first:
            return 0
        began, limit = self._stopwatch(), self._words.count
        async with transaction(connection):
            taken = await indexing.catch_up(connection, first, limit)
        self._words.took(taken, self._stopwatch() - began)
        return taken

    async def _nodes(self, connection: Direct, before: float, limit: int) -> tuple[int, float]:
        first = self._swept or (0.0, "")
        sessions, self._swept = await sweep_nodes(connection, first, before, max(1, limit // ROWS_PER_SESSION))
        return sessions * ROWS_PER_SESSION, before if sessions else 0.0

    def _say(self, step: Step, now: float) -> None:
        if now - self._said_at < _SAID_EVERY:
            return
        self._said_at = now
        logger.warning(
            "the database has reached [store] max_size (%d bytes): the oldest %s are given up",
            self._terms.max_size,
            step.what,
        )


async def _calls(connection: Direct, before: float, limit: int) -> tuple[int, float]:
    rows = await oldest(connection, _OLDEST_CALLS, before, limit)
    if rows:
        await connection.execute_fetchall(_DELETE_CALLS, (orjson.dumps([row[0] for row in rows]).decode(),))
    return len(rows), 0.0
