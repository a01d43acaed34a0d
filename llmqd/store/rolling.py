"""Keeps the roll-ups and what sessions are found by, in the transactions of the one connection that writes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import aiosqlite

from llmqd.store import histogram
from llmqd.store import statements as sql
from llmqd.store.connection import Connection, aside, write_rows
from llmqd.store.rollups import ADD_USAGE, DAY, READ, Ended, ended, usage_rows
from llmqd.store.traits import (
    ADD_FACET,
    ADD_TRAITS,
    ADD_VISIT,
    NO_TRAITS,
    Began,
    began,
    facet_rows,
    trait_rows,
    visit_rows,
)

if TYPE_CHECKING:
    from llmqd.store.changes import Changes
    from llmqd.store.columns import Row

logger = logging.getLogger(__name__)

_STEP = 5_000
"""Calls in one transaction of `catch_up`."""
_ROWS_PER_CALL = 10
"""Rows of roll-ups in memory for each call kept there: they outlive the calls, but not for ever."""
_DAYS_IN_MEMORY = 400

RUNNING = f"SELECT {', '.join(READ)} FROM calls WHERE status = 'running'"
_ROLLED_UP_TO = "SELECT value FROM meta WHERE key = 'rolled_up_to'"
_NOW_UP_TO = "UPDATE meta SET value = ? WHERE key = 'rolled_up_to'"
_ALL_ROLLED_UP = "DELETE FROM meta WHERE key = 'rolled_up_to'"
_NEXT = f"SELECT {', '.join(READ)} FROM calls WHERE id > ? ORDER BY id LIMIT {_STEP}"
_COUNT_USAGE = "SELECT count(*) FROM usage"
_TRIM_USAGE = "DELETE FROM usage WHERE start <= (SELECT start FROM usage ORDER BY start DESC LIMIT 1 OFFSET ?)"
_TRIM_RETURNS = "DELETE FROM returns WHERE hour < (SELECT max(hour) FROM returns) - ?"


async def prepare(connection: aiosqlite.Connection) -> None:
    """Give a connection the function that its statements need."""
    await connection.create_function("add_histograms", 2, histogram.added, deterministic=True)


async def roll_up(connection: Connection, stretch: Changes, known: set[str]) -> None:
    """Add the calls of a stretch to their sessions and to all that is rolled up, but for those that are `known` to have
    ended before, within a transaction."""
    opened = [entry.row for entry in stretch.opened.values() if entry.seen is not None]
    closed = stretch.rows_to_close(known)
    sessions = stretch.session_rows(known)
    if sessions or closed:
        await _write(connection, await aside(_rows, opened, closed, sessions))


async def roll_up_running(connection: Connection) -> None:
    """Add the calls that are running, as calls under which the daemon died, within a transaction."""
    found = await connection.execute_fetchall(RUNNING)
    dead = [Ended(*row)._replace(status="interrupted") for row in found]
    if dead:
        await _write(connection, await aside(_statements, dead))


async def catch_up(connection: aiosqlite.Connection) -> None:
    """Add the calls that an older llmqd has recorded, in transactions of bounded size; goes on where it was stopped."""
    [*found] = await connection.execute_fetchall(_ROLLED_UP_TO)
    done, last = 0, found[0][0] if found else None
    while last is not None:
        await connection.execute_fetchall("BEGIN IMMEDIATE")
        try:
            rows = [*await connection.execute_fetchall(_NEXT, (last,))]
            calls = [call for call in (Ended(*row) for row in rows) if call.status != "running"]
            await _write(connection, await aside(_statements, calls))
            last = rows[-1][0] if rows else None
            await connection.execute_fetchall(*((_NOW_UP_TO, (last,)) if rows else (_ALL_ROLLED_UP,)))
            await connection.execute_fetchall("COMMIT")
        except BaseException:
            if connection.in_transaction:
                await connection.rollback()
            raise
        done += len(rows)
        if rows and done % (20 * _STEP) == 0:
            logger.info("preparing the ledger for questions: %d calls rolled up", done)
    if done:
        logger.info("the ledger is ready for questions: %d calls rolled up", done)


async def trim(connection: Connection, keep: int) -> None:
    """Bound the roll-ups of a database in memory that keeps so many calls."""
    [(rows,)] = await connection.execute_fetchall(_COUNT_USAGE)
    if rows > keep * _ROWS_PER_CALL:
        await connection.execute_fetchall(_TRIM_USAGE, (keep * _ROWS_PER_CALL * 3 // 4,))
    await connection.execute_fetchall(_TRIM_RETURNS, (_DAYS_IN_MEMORY * DAY,))


def _rows(opened: Sequence[Row], closed: Sequence[Row], sessions: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    running, calls = [began(row) for row in opened], [ended(row) for row in closed]
    traits = {row[-1]: row[:-1] for row in trait_rows([*running, *calls])}
    totals = [(*row, *traits.get(row[0], NO_TRAITS)) for row in sessions]
    return [(sql.ADD_TO_SESSION, totals), *_rolled_up(running, calls)]


def _statements(calls: Sequence[Ended]) -> list[tuple[str, list[Row]]]:
    """For calls whose sessions are there."""
    return [(ADD_TRAITS, trait_rows(calls)), *_rolled_up((), calls)]


def _rolled_up(running: Sequence[Began], calls: Sequence[Ended]) -> list[tuple[str, list[Row]]]:
    both: Iterable[Began | Ended] = [*running, *calls]
    return [(ADD_USAGE, usage_rows(calls)), (ADD_FACET, facet_rows(both)), (ADD_VISIT, visit_rows(calls))]


async def _write(connection: Connection, statements: Iterable[tuple[str, list[Row]]]) -> None:
    for statement, rows in statements:
        await write_rows(connection, statement, rows)
