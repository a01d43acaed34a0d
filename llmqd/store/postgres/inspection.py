"""Looks at a ledger in PostgreSQL from outside, beside the daemons that use it; changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from llmqd.store.postgres.connecting import CONNECT, Address, translated
from llmqd.store.postgres.schema import MIGRATIONS

_VERSION = "SELECT value FROM meta WHERE key = 'schema_version'"
_NEWEST = "SELECT received_at FROM calls ORDER BY id DESC LIMIT 1"
_SIZE = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
"""


@dataclass(frozen=True, slots=True)
class ServerFound:
    """A database that could be asked. `server` is PostgreSQL's version, `version` that of the tables, 0 where there are
    none yet; `newest` is when the last call came, in Unix seconds; `size` is in bytes."""

    name: str
    server: str
    version: int
    known_version: int
    newest: float | None
    size: int


async def inspect_server(dsn: str) -> ServerFound:
    """Asks the server. Raises StoreError."""
    address = Address(dsn)
    with translated(address):
        async with asyncio.timeout(3 * CONNECT), address.pool() as pool, pool.acquire() as connection:
            server = await connection.fetchval("SHOW server_version")
            there = await connection.fetchval("SELECT to_regclass('meta') IS NOT NULL")
            version = int(await connection.fetchval(_VERSION) or 0) if there else 0
            newest = await connection.fetchval(_NEWEST) if version else None
            size = int(await connection.fetchval(_SIZE))
    return ServerFound(address.name, server, version, len(MIGRATIONS), newest, size)
