"""Writes what the journal says, within the transactions of the one connection that writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from llmqd.store import history, regrouping, rolling, spending
from llmqd.store import statements as sql
from llmqd.store.changes import Changes, changes
from llmqd.store.connection import Connection, write_rows
from llmqd.store.entries import Entry
from llmqd.store.texts import Texts


def _from_one(at: float) -> int:
    return 1


class Applying:
    """Applies entries to a database. Its owner says when something was `rolled_back`, or the connection is another.

    `run` is the name under which the database remembers which run of the daemon it tells of, `first_text` the least id
    that a text of some time (Unix seconds) may have.
    """

    def __init__(self, run: str = "run", first_text: Callable[[float], int] = _from_one) -> None:
        self._run = run
        self._first_text = first_text
        self._texts: Texts | None = None

    def rolled_back(self) -> None:
        """What is known of the database may not be true any more."""
        self._texts = None

    async def apply(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Writes the entries within a transaction; those that are known already change nothing."""
        for stretch in changes(entries):
            await regrouping.follow(connection, stretch)
            await self._write(connection, stretch)
            if stretch.regrouped is not None:
                await regrouping.regroup(connection, stretch.regrouped)
            if stretch.run is not None:
                await self._begin_run(connection, stretch.run)

    async def texts(self, connection: Connection) -> Texts:
        """The tables of what was said."""
        if self._texts is None:
            self._texts = await Texts.of(connection, self._first_text)
        return self._texts

    async def _write(self, connection: Connection, stretch: Changes) -> None:
        known: set[str] = set()
        if stretch.closed:
            ids = orjson.dumps(list(stretch.closed)).decode()
            known = {row[0] for row in await connection.execute_fetchall(sql.ALREADY_CLOSED, (ids,))}
        for statement, rows in (
            (sql.OPEN_CALL, stretch.rows_to_open()),
            (sql.CLOSE_CALL, stretch.rows_to_close(known)),
            (history.ADD_LANE_USAGE, sent := stretch.lane_rows(known)),
            (spending.ADD, spent := stretch.spending_rows(known)),
            (sql.SET_META, stretch.note_rows()),
        ):
            await write_rows(connection, statement, rows)
        await rolling.roll_up(connection, stretch, known)
        if said := stretch.spoken(known):
            await (await self.texts(connection)).write(connection, said)
        if sent:
            await connection.execute_fetchall(history.TRIM_LANE_USAGE, (max(row[0] for row in sent) - history.KEPT,))
        if spent:
            await connection.execute_fetchall(spending.TRIM, (max(row[0] for row in spent) - spending.KEPT,))

    async def _begin_run(self, connection: Connection, run: str) -> None:
        [*found] = await connection.execute_fetchall(sql.GET_META, (self._run,))
        if found and found[0][0] == run:
            return
        await connection.execute_fetchall(sql.INTERRUPT_SESSIONS)
        await rolling.roll_up_running(connection)
        await connection.execute_fetchall(history.ADD_INTERRUPTED)
        running = await connection.execute_fetchall(spending.RUNNING)
        await write_rows(connection, spending.ADD, spending.interrupted(running))
        await connection.execute_fetchall(sql.INTERRUPT_CALLS)
        await connection.execute_fetchall(sql.SET_META, (self._run, run))
