"""Brings a PostgreSQL database to the tables of `schema`; refuses one that a newer llmqd has written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from llmqd.errors import NewerDatabase, StoreError
from llmqd.store.postgres.schema import MIGRATIONS

LOCK = 0x6C6C6D71
"""The advisory lock of all who write here ("llmq"); one of them at a time. The schema's name is its other half."""
_ENTER = f"SELECT pg_advisory_xact_lock({LOCK}, hashtext(current_schema()))"
_TABLE = "SELECT to_regclass('meta') IS NOT NULL"
_VERSION = "SELECT value FROM meta WHERE key = 'schema_version'"
_SET_VERSION = """
INSERT INTO meta (key, value) VALUES ('schema_version', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""


async def migrate(connection: asyncpg.Connection[Any], name: str, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring the database up to date, each step in a transaction of its own, one daemon at a time.

    Raises NewerDatabase, StoreError when the schema is another program's, asyncpg.PostgresError.
    """
    while await _step(connection, name, migrations):
        pass


async def _step(connection: asyncpg.Connection[Any], name: str, migrations: Sequence[str]) -> bool:
    async with connection.transaction():
        await connection.execute(_ENTER)
        version = await _version(connection, name)
        if version > len(migrations):
            raise NewerDatabase(
                f"the PostgreSQL database {name} has schema version {version}, this llmqd knows versions up to"
                f" {len(migrations)}: install the newer llmqd again, or name another database in [store] dsn"
            )
        if version == len(migrations):
            return False
        try:
            # As many minutes as there is to do: nobody's records are lost meanwhile.
            await connection.execute(migrations[version], timeout=None)
        except (asyncpg.DuplicateTableError, asyncpg.DuplicateFunctionError, asyncpg.DuplicateObjectError) as error:
            raise StoreError(
                f"the PostgreSQL database {name} has tables of another program ({error}): name another database in"
                " [store] dsn, or a schema of its own (?schema=llmqd)"
            ) from error
        await connection.execute(_SET_VERSION, str(version + 1))
    return True


async def _version(connection: asyncpg.Connection[Any], name: str) -> int:
    if not await connection.fetchval(_TABLE):
        return 0
    try:
        async with connection.transaction():
            version = await connection.fetchval(_VERSION)
    except asyncpg.UndefinedColumnError:
        version = None
    if version is None:
        raise StoreError(
            f"the PostgreSQL database {name} is one of another program (it has a table meta): name another database in"
            " [store] dsn, or a schema of its own (?schema=llmqd)"
        )
    return int(version)
