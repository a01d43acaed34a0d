"""Brings a database to the tables of `schema`; refuses one that a newer llmqd has written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import aiosqlite

from llmqd.errors import NewerDatabase, StoreError
from llmqd.store.schema import APPLICATION_ID, MIGRATIONS


async def migrate(connection: aiosqlite.Connection, path: Path | str, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring the database up to date, each step in a transaction of its own.

    Raises NewerDatabase, StoreError when the file belongs to another program, sqlite3.Error.
    """
    version = await _pragma(connection, "user_version")
    if version > len(migrations):
        raise NewerDatabase(
            f"the database {path} has schema version {version}, this llmqd knows versions up to {len(migrations)}: "
            f"install the newer llmqd again, or name another file in [store] path"
        )
    if version == 0:
        await _claim(connection, path)
    for number, script in enumerate(migrations[version:], version + 1):
        await _step(connection, f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")


async def _claim(connection: aiosqlite.Connection, path: Path | str) -> None:
    tables = [
        name for (name,) in await connection.execute_fetchall("SELECT name FROM sqlite_schema WHERE type = 'table'")
    ]
    if tables:
        raise StoreError(
            f"{path} is a database of another program (it holds {', '.join(sorted(tables)[:5])}): "
            f"name another file in [store] path"
        )
    # Can only be chosen while the file is empty; deleted records can then give their space back bit by bit.
    await connection.execute_fetchall("PRAGMA auto_vacuum = INCREMENTAL")
    await connection.execute_fetchall(f"PRAGMA application_id = {APPLICATION_ID}")


async def _step(connection: aiosqlite.Connection, script: str) -> None:
    try:
        async with connection.executescript(script):
            pass
    except BaseException:
        if connection.in_transaction:
            await connection.rollback()
        raise


async def _pragma(connection: aiosqlite.Connection, name: str) -> int:
    [(value,)] = await connection.execute_fetchall(f"PRAGMA {name}")
    return int(value)
