"""Fetches rows from a connection so that a question that is given up ends at once and leaves the connection free."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiosqlite

from llmqd.store.working import within

_AGAIN = 0.05
"""Seconds between interrupts: one that comes before SQLite has begun a statement has no effect on it."""


async def fetched(connection: aiosqlite.Connection, statement: str, values: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The rows by their columns' names, for one way to the thread of the connection and back. When it is cancelled the
    statement is interrupted and its end is waited for."""
    fetching = asyncio.ensure_future(_fetch(connection, statement, values))
    try:
        return await asyncio.shield(fetching)
    except asyncio.CancelledError:
        while not fetching.done():
            await connection.interrupt()
            await asyncio.wait([fetching], timeout=_AGAIN)
        if not fetching.cancelled():
            fetching.exception()
        raise


async def _fetch(connection: aiosqlite.Connection, statement: str, values: Sequence[Any]) -> list[Mapping[str, Any]]:
    return await within(connection, lambda direct: direct.ask(statement, values))
