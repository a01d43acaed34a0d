from __future__ import annotations

import sqlite3
from pathlib import Path

import aiosqlite
import pytest

from llmqd.errors import NewerDatabase, StoreError
from llmqd.store.migrating import migrate
from llmqd.store.schema import APPLICATION_ID, MIGRATIONS


async def migrated(path: Path, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await migrate(connection, path, migrations)


def ask(path: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def schema(path: Path) -> list[tuple[object, ...]]:
    return ask(path, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")


async def test_a_new_database_is_ours_and_can_give_space_back(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    await migrated(path)
    assert ask(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert ask(path, "PRAGMA auto_vacuum") == [(2,)]


@pytest.mark.parametrize("version", range(len(MIGRATIONS) + 1))
async def test_each_older_version_is_brought_to_the_same_schema(tmp_path: Path, version: int) -> None:
    await migrated(tmp_path / "old.db", MIGRATIONS[:version])
    await migrated(tmp_path / "old.db")
    await migrated(tmp_path / "new.db")
    assert schema(tmp_path / "old.db") == schema(tmp_path / "new.db") != []


async def test_only_the_missing_steps_run(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    await migrated(path)
    await migrated(path, (*MIGRATIONS, "CREATE TABLE later (x INTEGER) STRICT;"))
    assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]
    assert ask(path, "SELECT count(*) FROM later") == [(0,)]


async def test_a_step_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    await migrated(path)
    with pytest.raises(sqlite3.OperationalError):
        await migrated(path, (*MIGRATIONS, "CREATE TABLE later (x INTEGER) STRICT; CREATE NONSENSE;"))
    assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert ask(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'later'") == [(0,)]


async def test_a_newer_database_is_refused_with_both_versions_and_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    ask(path, f"PRAGMA user_version = {len(MIGRATIONS) + 7}")
    with pytest.raises(
        NewerDatabase, match=rf"llmqd.db has schema version {len(MIGRATIONS) + 7}.*up to {len(MIGRATIONS)}"
    ):
        await migrated(path)


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    ask(path, "CREATE TABLE sessions (session_id TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"another program .it holds sessions.*name another file"):
        await migrated(path)
    assert path.read_bytes() == before
