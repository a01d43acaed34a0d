"""Rows are written as they are, with or without columns that are empty in all of them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.store import history, spending, statements, texts
from llmqd.store.rollups import ADD_USAGE
from llmqd.store.schema import MIGRATIONS
from llmqd.store.traits import ADD_FACET, ADD_TRAITS, ADD_VISIT
from llmqd.store.working import Direct, of_rows, without_empty

_INSERT = "INSERT INTO t (a, b, c) VALUES (?, ?, ?) ON CONFLICT (a) DO UPDATE SET b = coalesce(t.b, excluded.b)"


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 9), st.none()), min_size=1))
def test_what_is_written_is_the_same(rows: list[tuple[Any, ...]]) -> None:
    written = []
    for statement, values in ((_INSERT, rows), without_empty(_INSERT, rows)):
        database = sqlite3.connect(":memory:")
        database.execute("CREATE TABLE t (a PRIMARY KEY, b, c)")
        database.executemany(statement, values)
        written.append(database.execute("SELECT * FROM t ORDER BY a").fetchall())
        database.close()
    assert written[0] == written[1]


def test_empty_columns_are_not_bound() -> None:
    statement, rows = without_empty(_INSERT, [(1, None, None), (2, 5, None)])
    assert "VALUES (?, ?, NULL)" in statement
    assert rows == [(1, None), (2, 5)]


def test_a_statement_without_a_place_for_each_value_is_left_alone() -> None:
    assert without_empty("SELECT ?1, ?1", [(None,)]) == ("SELECT ?1, ?1", [(None,)])


def _written(statement: str, batches: Sequence[Sequence[Sequence[Any]]], tables: Sequence[str]) -> list[list[Any]]:
    database = sqlite3.connect(":memory:", isolation_level=None)
    for script in MIGRATIONS:
        database.executescript(script)

    async def write() -> None:
        for rows in batches:
            async with Direct(database).executemany(statement, rows):
                pass

    asyncio.run(write())
    found = [database.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4").fetchall() for table in tables]
    database.close()
    return found


_VISITS = st.tuples(st.sampled_from(["all", "agent"]), st.just(""), st.sampled_from("abcd"), st.integers(1, 9))


@settings(max_examples=30, deadline=None)
@given(st.lists(_VISITS, min_size=30, max_size=100))
def test_many_visits_in_one_statement_count_as_one_by_one(rows: list[tuple[Any, ...]]) -> None:
    tables = ("visits", "returns")
    assert _written(ADD_VISIT, [rows], tables) == _written(ADD_VISIT, [[row] for row in rows], tables)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9)), min_size=30, max_size=100))
def test_many_marks_get_the_places_that_they_get_one_by_one(rows: list[tuple[Any, ...]]) -> None:
    assert _written(texts._ADD_MARK, [rows], ["marks"]) == _written(texts._ADD_MARK, [[row] for row in rows], ["marks"])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("ab"), st.integers(1, 9)), min_size=30, max_size=100))
def test_many_that_spent_something_add_up_as_one_by_one(some: list[tuple[int, str, int]]) -> None:
    rows = [(slot, "key", value, 1, count, count, float(count)) for slot, value, count in some]
    assert _written(spending.ADD, [rows], ["spending"]) == _written(spending.ADD, [[row] for row in rows], ["spending"])


def test_which_statements_take_many_rows() -> None:
    for statement in (
        ADD_FACET, ADD_VISIT, ADD_USAGE, spending.ADD, history.ADD_LANE_USAGE, texts._ADD_NODE, texts.PUT_TEXT,
        statements.OPEN_CALL, statements.CLOSE_CALL, statements.ADD_TO_SESSION, statements.SET_META,
    ):  # fmt: skip
        assert (of_rows(statement, 2) or "").count("?") == 2 * statement.count("?")
    for statement in (ADD_TRAITS, texts._ADD_MARK, "DELETE FROM t WHERE a = ?", "INSERT INTO t VALUES (?1, f(?2))"):
        assert of_rows(statement, 2) is None
