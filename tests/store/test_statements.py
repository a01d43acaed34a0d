from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from llmqd.store import statements
from llmqd.store.schema import MIGRATIONS

STATEMENTS = {name: text for name, text in vars(statements).items() if name.isupper() and isinstance(text, str)}


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    for script in MIGRATIONS:
        connection.executescript(script)
    yield connection
    connection.close()


@pytest.mark.parametrize("name", STATEMENTS)
def test_each_statement_fits_the_schema(database: sqlite3.Connection, name: str) -> None:
    values = [None] * STATEMENTS[name].count("?")
    database.execute("EXPLAIN " + STATEMENTS[name], values).fetchall()


@pytest.mark.parametrize("name", ["CALL", "SESSIONS", "SESSIONS_BY_ID", "ALREADY_CLOSED", "INTERRUPT_CALLS"])
def test_no_everyday_statement_reads_a_whole_table(database: sqlite3.Connection, name: str) -> None:
    values = [None] * STATEMENTS[name].count("?")
    plan = [detail for *_, detail in database.execute("EXPLAIN QUERY PLAN " + STATEMENTS[name], values)]
    full = [
        detail for detail in plan if detail.startswith("SCAN") and "json_each" not in detail and "INDEX" not in detail
    ]
    assert full == []
