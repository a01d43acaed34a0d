"""Work on a connection of SQLite in its own thread, as one piece: many statements for one way there and back."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

import aiosqlite

Row = Sequence[Any]
_Result = TypeVar("_Result")

_TOGETHER = 32
"""Rows of one statement: to begin and end one takes as long as a row, and with triggers as two of them."""
_ONE_ROW = re.compile(r"VALUES (\((?:\?|NULL|'\w+')(?:, (?:\?|NULL|'\w+'))*\))")


class Direct:
    """The connection as it is in its own thread, where nothing has to be waited for."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"<Direct {self._connection!r}>"

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self._connection.in_transaction

    async def execute_fetchall(self, sql: str, parameters: Iterable[Any] | None = None) -> Iterable[Sequence[Any]]:
        """See Connection."""
        values: Any = () if parameters is None else parameters
        return self._connection.execute(sql, values).fetchall()

    async def ask(self, sql: str, parameters: Sequence[Any]) -> list[Mapping[str, Any]]:
        """The rows that a statement reads, by their columns' names."""
        cursor = self._connection.execute(sql, parameters)
        try:
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            cursor.close()

    @asynccontextmanager
    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> AsyncIterator[None]:
        """See Connection."""
        rows: Any = parameters
        if len(rows) >= _TOGETHER:
            sql, rows = without_empty(sql, rows)
            together = of_rows(sql, _TOGETHER)
            if together is not None:
                whole = len(rows) - len(rows) % _TOGETHER
                taken = [rows[at : at + _TOGETHER] for at in range(0, whole, _TOGETHER)]
                self._connection.executemany(together, [[*chain.from_iterable(some)] for some in taken])
                rows = rows[whole:]
        self._connection.executemany(sql, rows)
        yield

    async def rollback(self) -> None:
        """End the transaction as if it had not been."""
        self._connection.rollback()


def without_empty(sql: str, rows: Sequence[Row]) -> tuple[str, Sequence[Row]]:
    """A statement with a `?` for each value of a row, and its rows, with NULL in the place of values that none of them
    has: to bind None takes sqlite3 several times as long as a number, and a third of the columns of calls have none."""
    first = rows[0]
    empty = {
        at for at, value in enumerate(first) if value is None and [row[at] for row in rows].count(None) == len(rows)
    }
    kept = [at for at in range(len(first)) if at not in empty]
    pieces = sql.split("?")
    if not empty or len(kept) < 2 or len(pieces) != len(first) + 1:
        return sql, rows
    values = [*("NULL" if at in empty else "?" for at in range(len(first))), ""]
    written = "".join([text for pair in zip(pieces, values, strict=True) for text in pair])
    return written, [*map(itemgetter(*kept), rows)]


@lru_cache(maxsize=128)
def of_rows(sql: str, count: int) -> str | None:
    """The statement for so many rows at once; None for one that may not be: that inserts no values, or that asks for
    something, which would be asked once for all rows."""
    found = _ONE_ROW.findall(sql)
    if len(found) != 1 or sql.count("?") != found[0].count("?") or "SELECT" in sql:
        return None
    return sql.replace(found[0], ", ".join([found[0]] * count))


@asynccontextmanager
async def transaction(connection: Direct) -> AsyncIterator[None]:
    """All of what is written within, or nothing. Raises sqlite3.Error."""
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    try:
        yield
        await connection.execute_fetchall("COMMIT")
    except BaseException:
        if connection.in_transaction:
            await connection.rollback()
        raise


async def within(connection: aiosqlite.Connection, work: Callable[[Direct], Coroutine[Any, Any, _Result]]) -> _Result:
    """What `work` returns, which may await nothing but the connection. It runs to its end, waited for or not.

    Raises what it raises, and ValueError where the connection is closed.
    """
    # aiosqlite has no public way to this: it takes one statement at a time, and a batch has some thirty.
    result: _Result = await connection._execute(_done, work, connection._conn)  # type: ignore[no-untyped-call]
    return result


def _done(work: Callable[[Direct], Coroutine[Any, Any, _Result]], connection: sqlite3.Connection) -> _Result:
    working = work(Direct(connection))
    try:
        working.send(None)
    except StopIteration as end:
        result: _Result = end.value
        return result
    working.close()
    raise RuntimeError(f"{work!r} waits for something")
