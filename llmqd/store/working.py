"""Work on a connection of SQLite in its own thread, as one piece: many statements for one way there and back."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiosqlite

_Result = TypeVar("_Result")


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
        self._connection.executemany(sql, rows)
        yield

    async def rollback(self) -> None:
        """End the transaction as if it had not been."""
        self._connection.rollback()


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
