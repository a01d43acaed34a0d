"""Rows are written as they are, with or without columns that are empty in all of them."""

from __future__ import annotations

import sqlite3
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmqd.store.working import without_empty

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
