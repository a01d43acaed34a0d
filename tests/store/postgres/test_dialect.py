"""What the store says in SQLite's words, PostgreSQL understands: each statement, and the values that go with it."""

from __future__ import annotations

import re

import pytest

from llmqd.store import (
    answering,
    conversations,
    history,
    indexing,
    regrouping,
    request_questions,
    rolling,
    rollups,
    session_questions,
    spending,
    statements,
    sweeping,
    text_search,
    texts,
    traits,
    usage_questions,
)
from llmqd.store.columns import CALL_COLUMNS, OUTCOME_COLUMNS
from llmqd.store.postgres.backend import PostgreSQL
from llmqd.store.postgres.dialect import Dialect
from llmqd.store.postgres.schema import column_types
from llmqd.store.schema import MIGRATIONS
from llmqd.store.spoken import SPOKEN_COLUMNS
from llmqd.store.sqlite import SQLite
from llmqd.store.words import query
from tests.postgres import Postgres

MODULES = (
    answering, conversations, history, indexing, regrouping, request_questions, rolling, rollups, session_questions,
    spending, statements, sweeping, text_search, texts, traits, usage_questions,
)  # fmt: skip
STATEMENTS = {
    f"{module.__name__}.{name}": text
    for module in MODULES
    for name, text in vars(module).items()
    if isinstance(text, str) and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", text) and "{" not in text
}
IN_MEMORY_ALONE = ("rolling._TRIM", "rolling._N", "rolling._A", "statements.TRIM")


async def test_each_statement_is_understood(postgres: Postgres) -> None:
    backend = PostgreSQL(postgres.database())
    await backend.open("journal")
    dialect, failed = Dialect("journal"), {}
    assert len(STATEMENTS) > 80
    for name, text in STATEMENTS.items():
        said = dialect.of(text).sql
        if said and not any(part in name for part in IN_MEMORY_ALONE):
            try:
                await backend._connected().prepare(said)
            except Exception as error:
                failed[name] = error, said
    await backend.close()
    assert not failed


async def test_both_databases_have_the_same_tables_and_columns(postgres: Postgres) -> None:
    wanted, found = SQLite(None), PostgreSQL(postgres.database())
    await wanted.open("journal")
    await found.open("journal")
    tables = [
        row["name"]
        for row in await wanted.ask("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'words%'")
        if not row["name"].startswith("sqlite_")
    ]
    assert len(tables) >= 15 <= len(MIGRATIONS) + 15
    for table in tables:
        columns = {row["name"] for row in await wanted.ask(f"SELECT name FROM pragma_table_info('{table}')")}
        rows = await found.ask(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = ?", table
        )
        assert {row["column_name"] for row in rows} - {"journal"} == columns, table
    await wanted.close()
    await found.close()


def test_marks_become_numbers_and_lists_are_told_from_other_values() -> None:
    statement = Dialect("j").of("SELECT a FROM t WHERE b = ? AND c IN (SELECT value FROM json_each(?)) LIMIT ?")
    assert statement.sql == "SELECT a FROM t WHERE b = $1 AND c = ANY($2) LIMIT $3"
    assert statement.row(("x\x00y", '["a\\u0000","b"]', 3)) == ["x\ufffdy", ["a\ufffd", "b"], 3]
    numbered = Dialect("j").of("SELECT a FROM t WHERE b = ?1 AND c IN (SELECT value FROM json_each(?3)) AND d = ?1")
    assert numbered.sql == "SELECT a FROM t WHERE b = $1 AND c = ANY($3) AND d = $1"
    assert numbered.lists == (2,)


def test_rows_of_large_tables_are_written_by_their_columns() -> None:
    written = (
        Dialect("j").of("INSERT INTO nodes (session, key, text) VALUES (?, ?, 'x') ON CONFLICT DO NOTHING").columns
    )
    assert written == (
        "INSERT INTO nodes (session, key, text) SELECT c1, c2,  'x'"
        " FROM unnest(CAST($1 AS bigint[]), CAST($2 AS bigint[])) AS row (c1, c2) ON CONFLICT DO NOTHING"
    )
    for text in (statements.OPEN_CALL, statements.CLOSE_CALL, traits.ADD_FACET, texts.PUT_TEXT):
        assert Dialect("j").of(text).columns is not None
    for text in (traits.ADD_VISIT, statements.ADD_TO_SESSION, indexing.ADD):  # one row after the other
        assert Dialect("j").of(text).columns is None
    assert column_types("calls").keys() >= {*CALL_COLUMNS, *OUTCOME_COLUMNS, *SPOKEN_COLUMNS}


def test_the_position_is_that_of_the_journal_that_is_followed() -> None:
    for journal in ("one", "it's"):
        name = f"position:{journal}".replace("'", "''")
        assert f"key = '{name}'" in Dialect(journal).of(spending.OF_ALL_TIME).sql


@pytest.mark.parametrize(
    ("text", "wanted"), [("Refund", "'refund'"), ("refund* POLicy", "'refund':* & 'policy'"), ("a-b", "'a' & 'b'")]
)
def test_a_query_for_words_is_told_in_their_own_language(text: str, wanted: str) -> None:
    assert Dialect("j").of(text_search.MATCHING).row((query(text).match, 5, 6)) == [wanted, 5, 6]


def test_more_words_than_fit_are_left_out_and_no_word_is_too_long() -> None:
    said = " ".join(f"w{number:07}" for number in range(200_000)) + " " + "x" * 5000
    [id_, words] = Dialect("j").of(indexing.ADD).row((7, said))
    assert id_ == 7
    assert 90_000 < len(words) < 110_000
    [_, words] = Dialect("j").of(indexing.ADD).row((7, "a b a " + "y" * 5000))
    assert words == ["a", "b", "y" * 256]
