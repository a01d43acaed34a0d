"""What a connection that writes must be able to do, whichever database it leads to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

_Result = TypeVar("_Result")


class Connection(Protocol):
    """The one connection that writes, within a transaction that its owner has begun and ends.

    Statements are SQL as both SQLite and PostgreSQL take it, with `?` or `?1` for values; lists are handed over as JSON
    arrays (`x IN (SELECT value FROM json_each(?))`). What a database calls otherwise, its connection puts right.
    """

    async def execute_fetchall(self, sql: str, parameters: Iterable[Any] | None = None) -> Iterable[Sequence[Any]]:
        """The rows that a statement reads, none where it only writes."""

    def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> AbstractAsyncContextManager[Any]:
        """The statement once for each row of values; to be entered, and left at once."""


async def aside(function: Callable[..., _Result], *args: Any) -> _Result:
    """What a function returns that takes a while and no I/O, without holding up an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # the whole work is done in a thread of its own
        return function(*args)
    return await asyncio.to_thread(function, *args)


async def write_rows(connection: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """The statement once for each of these rows, if there are any."""
    if rows:
        async with connection.executemany(statement, rows):
            pass
