"""Deletes what no call refers to any more, marks and places in conversations, a few rows at a time."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import orjson

from llmqd.store.connection import Connection
from llmqd.store.texts import nobodys

_OLDEST_MARKS = "SELECT id, at FROM marks ORDER BY id LIMIT ?"
_DELETE_MARKS = "DELETE FROM marks WHERE id <= ?"
_NEXT_SESSIONS = """
SELECT session_id, last_seen FROM sessions WHERE (last_seen, session_id) > (?, ?)
ORDER BY last_seen, session_id LIMIT ?
"""
_DELETE_NODES = """
DELETE FROM nodes WHERE session IN (
    SELECT number FROM session_numbers WHERE session_id IN (SELECT value FROM json_each(?))
)
"""
_DELETE_NUMBERS = "DELETE FROM session_numbers WHERE session_id IN (SELECT value FROM json_each(?))"
_DELETE_NOBODYS = "DELETE FROM nodes WHERE session > ? AND session < 0"
_GET_SWEPT = "SELECT value FROM meta WHERE key = 'nodes_swept'"
_SET_SWEPT = """
INSERT INTO meta (key, value) VALUES ('nodes_swept', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""

Swept = tuple[float, str]
"""When the session was last seen whose nodes went last (Unix seconds), and its id: others follow in this order."""
ROWS_PER_SESSION = 8
"""Rows as which one session counts whose nodes are deleted."""


async def oldest(connection: Connection, statement: str, before: float, limit: int) -> list[Any]:
    """Rows (id, time, …) from the beginning of a table as far as they are old enough."""
    found = await connection.execute_fetchall(statement, (limit,))
    return list(takewhile(lambda row: row[1] < before, found))


async def sweep_marks(connection: Connection, before: float, limit: int) -> int:
    """Deletes at most so many marks that are older than `before`, within a transaction; how many."""
    rows = await oldest(connection, _OLDEST_MARKS, before, limit)
    if rows:
        await connection.execute_fetchall(_DELETE_MARKS, (rows[-1][0],))
    return len(rows)


async def sweep_nodes(connection: Connection, swept: Swept, before: float, limit: int) -> tuple[int, Swept]:
    """Deletes the nodes of the next sessions that were last seen before that time, within a transaction.

    At most `limit` sessions; (how many they were, how far that went).
    """
    found = await connection.execute_fetchall(_NEXT_SESSIONS, (*swept, limit))
    rows = list(takewhile(lambda row: row[1] < before, found))
    if not rows:
        return 0, swept
    ids = orjson.dumps([row[0] for row in rows]).decode()
    await connection.execute_fetchall(_DELETE_NODES, (ids,))
    await connection.execute_fetchall(_DELETE_NUMBERS, (ids,))
    await connection.execute_fetchall(_DELETE_NOBODYS, (nobodys(before),))
    reached: Swept = rows[-1][1], rows[-1][0]
    await connection.execute_fetchall(_SET_SWEPT, (orjson.dumps(reached).decode(),))
    return len(rows), reached


async def read_swept(connection: Connection) -> Swept:
    """How far the database has been swept."""
    for (value,) in await connection.execute_fetchall(_GET_SWEPT):
        last_seen, session = orjson.loads(value)
        return last_seen, session
    return 0.0, ""
