"""Database and journal, as the doctor sees them."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg

from llmqd.doctor.ledger import look_at_database, look_at_journal, look_at_server
from llmqd.store.inspection import JournalFound
from llmqd.store.postgres.backend import PostgreSQL
from tests.postgres import Postgres
from tests.store.records import answer, make_record
from tests.store.usage_records import HERE, closed


def nothing() -> None:
    pass


def test_a_database_that_is_not_there_or_none(tmp_path: Path) -> None:
    found, finding = look_at_database(tmp_path / "llmqd.db", nothing)
    assert (found, finding.level) == (None, "warning")
    (tmp_path / "llmqd.db").write_bytes(b"no database" * 1000)
    found, finding = look_at_database(tmp_path / "llmqd.db", nothing)
    assert (found, finding.level, "not a database" in finding.text) == (None, "fault", True)
    assert ".recover" in finding.advice


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "llmqd.db")) as made:
        made.execute("CREATE TABLE calls (received_at REAL)")
        made.execute(f"PRAGMA application_id = {0x6C6C6D71}")
        made.execute("PRAGMA user_version = 9999")
        made.commit()
    _, finding = look_at_database(tmp_path / "llmqd.db", nothing)
    assert (finding.level, "schema version 9999" in finding.text) == ("fault", True), finding


def test_the_journal() -> None:
    found = list(look_at_journal(JournalFound(1, 300 << 20, 7, [Path("1.bad")], [Path("llmqd.db.corrupt-1")])))
    assert [each.level for each in found] == ["warning", "warning", "fault"]
    [found_well] = look_at_journal(JournalFound(1, 100, None, [], []))
    assert (found_well.level, "taken up at the next start" in found_well.text) == ("ok", True)


def test_a_ledger_in_postgresql(postgres: Postgres) -> None:
    dsn, record = postgres.database(), answer(make_record("s"))
    found, finding = look_at_server(dsn)
    assert (found and found.version, finding.level) == (0, "warning")

    async def write() -> None:
        backend = PostgreSQL(dsn)
        await backend.open("journal")
        await backend.apply([closed(record)], HERE, durable=True)
        await backend.close()

    async def outdate() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
        await connection.close()

    asyncio.run(write())
    found, finding = look_at_server(dsn)
    assert found is not None
    assert (found.newest, finding.level) == (record.call.received_at, "ok")
    assert "PostgreSQL 1" in finding.text
    asyncio.run(outdate())
    assert look_at_server(dsn)[1].level == "fault"
    assert look_at_server(postgres.dsn("nobody"))[1].level == "fault"
