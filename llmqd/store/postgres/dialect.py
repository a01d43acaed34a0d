"""Says in PostgreSQL's words what the store's statements say in those that SQLite shares with it. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from llmqd.memo import Memo
from llmqd.store import conversations, history, indexing, rolling, spending, statements, text_search, texts
from llmqd.store.known import LIFETIME
from llmqd.store.postgres.partitions import DAY, first_text
from llmqd.store.postgres.schema import column_types

Row = tuple[Any, ...]
_LONGEST_WORD = 256
"""Characters of a word that are indexed; a query's words are shorter."""
_MOST_WORDS = 1_000_000
"""Bytes of words that are indexed of one message: PostgreSQL takes a megabyte, no more (tsvector)."""
_WORDS = re.compile(r"[0-9a-z\x80-\U0010ffff]+")
_MATCH = re.compile(r'"([^"]*)"(\*?)')

_MINE = "status = 'running' AND journal = current_setting('llmqd.journal')"
_OF_SESSION = """
SELECT key, text, at, place, coalesce((
        SELECT other.parent FROM nodes AS other
        WHERE other.session = nodes.session AND other.key = nodes.parent AND other.text IS NULL
    ), parent) AS parent
FROM (
    SELECT DISTINCT ON (key) session, key, parent, text, at, place FROM nodes
    WHERE session IN (SELECT number FROM session_numbers WHERE session_id = ?) AND text IS NOT NULL
    ORDER BY key, at
) AS nodes
WHERE (at, place, key) > (?, ?, ?)
ORDER BY at, place, key LIMIT ?
"""
_MATCHING = """
SELECT id FROM words WHERE said @@ CAST(CAST(? AS text) AS tsquery) AND id < ? ORDER BY id DESC LIMIT ?
"""
_MATCHING_BETWEEN = "SELECT id FROM words WHERE said @@ CAST(CAST(? AS text) AS tsquery) AND id BETWEEN ? AND ?"
_NEXT_ID = "SELECT max(coalesce(max(id), 0) + 1, ?) FROM texts WHERE id < ?"
_CLOSED = "SELECT id FROM calls WHERE id = ANY(?*) AND id >= ? AND id <= ? AND status <> 'running'"
_WRITTEN_LATELY = "SELECT key FROM texts WHERE key = ANY(?*) AND at > ? AND id >= ?"


def _matched(row: Row) -> Row:
    """The query for the index of words: all of them, and what begins with those that are followed by `*`."""
    return (" & ".join(f"'{word}'{':*' if star else ''}" for word, star in _MATCH.findall(row[0])), *row[1:])


def _indexed(row: Row) -> Row:
    """The words of a message, each once, as many as go into one row."""
    id_, said = row
    words: list[str] = []
    room = _MOST_WORDS
    for word in dict.fromkeys(_WORDS.findall(said)):
        word = word[:_LONGEST_WORD]
        room -= len(word.encode()) + 2
        if room < 0:
            break
        words.append(word)
    return id_, words


def _between(row: Row) -> Row:
    """With the first and the last of the ids, so that only their partitions are looked into."""
    ids = orjson.loads(row[0])
    return row[0], min(ids, default=""), max(ids, default="")


def _not_before(row: Row) -> Row:
    """With the first id that what was written so late can have, for the same reason."""
    return row[0], int(row[1]), first_text(row[1] - LIFETIME / 2 - DAY)


def _of_its_day(row: Row) -> Row:
    """With the first id of the next day: each text has its place in the partition of its own."""
    return row[0], row[0] + first_text(DAY)


def _id_only(row: Row) -> Row:
    return (row[0],)


def _nothing(row: Row) -> Row:
    return ()


def _as_it_is(row: Row) -> Row:
    return row


Values = Callable[[Row], Row]

_OTHERWISE: dict[str, tuple[str, Values]] = {
    conversations.OF_SESSION: (_OF_SESSION, _as_it_is),
    text_search.MATCHING: (_MATCHING, _matched),
    text_search.MATCHING_BETWEEN: (_MATCHING_BETWEEN, _matched),
    text_search.BEGINNING: ("SELECT CAST(NULL AS text) AS word LIMIT 0", _nothing),
    texts.NEXT_ID: (_NEXT_ID, _of_its_day),
    texts.WRITTEN_LATELY: (_WRITTEN_LATELY, _not_before),
    indexing.ADD: ("INSERT INTO words (id, said) VALUES (?, array_to_tsvector(CAST(? AS text[])))", _indexed),
    indexing.REMOVE: ("DELETE FROM words WHERE id = ?", _id_only),
    indexing.CLEAR: ("DELETE FROM words", _as_it_is),
    indexing.MERGE: ("", _as_it_is),
    statements.ALREADY_CLOSED: (_CLOSED, _between),
    **{
        statement: (statement.replace("status = 'running'", _MINE), _as_it_is)
        for statement in (statements.INTERRUPT_SESSIONS, statements.INTERRUPT_CALLS, rolling.RUNNING, spending.RUNNING)
    },
    history.ADD_INTERRUPTED: (
        history.ADD_INTERRUPTED.replace("status = 'running'", _MINE).replace("CAST(sent /", "CAST(-0.5 + sent /"),
        _as_it_is,
    ),
}
"""What has to be said in another way, by what SQLite is told, with what becomes of the values of a row.

Calls that run are those of this daemon's journal: others write into the same database.
"""

_REWRITTEN = (
    (re.compile(r"IN \(SELECT value FROM json_each\((\?\d*)\)\)"), r"= ANY(\1*)"),
    (re.compile(r"FROM json_each\((\?\d*)\)"), r"FROM unnest(CAST(\1* AS text[])) AS value"),
    # The one character that PostgreSQL has no text for.
    (
        re.compile(r"json_each\(([\w.]+)\)"),
        r"jsonb_array_elements_text(CAST(replace(\1, '\\u0000', '\\ufffd') AS jsonb))",
    ),
    (re.compile(r" INDEXED BY \w+"), ""),
    (re.compile(r"\+(?=s\.)"), ""),
    (re.compile(r"CAST\(total\((\w+)\) AS INTEGER\)"), r"CAST(sum(\1) AS bigint)"),
    (re.compile(r"AS INTEGER\)"), "AS bigint)"),
)
_MARK = re.compile(r"\?(\d*)(\*?)")
_ROWS = re.compile(r"\s*INSERT INTO (calls|texts|nodes|facets) \(([^)]+)\)\s+VALUES \(([^)]+)\)(.*)", re.DOTALL)
"""What is written many rows at once, none of them twice. A partitioned table costs more for each statement than for
each row. Triggers must not depend on the order of rows."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement for PostgreSQL: `sql` with `$1`, empty where there is nothing to do. `lists` are the places of values
    that are handed over as JSON arrays. `columns` writes many rows, given as a list for each column; None where each
    row needs a statement of its own."""

    sql: str
    lists: tuple[int, ...]
    values: Values
    columns: str | None = None

    def row(self, values: Iterable[Any]) -> Sequence[Any]:
        """The values as the driver takes them."""
        row: list[Any] = [_text(value) if value.__class__ is str else value for value in self.values(tuple(values))]
        for at in self.lists:
            row[at] = [_text(item) if item.__class__ is str else item for item in orjson.loads(row[at])]
        return row


class Dialect:
    """Translates statements, each once; `journal` is the one that is followed."""

    def __init__(self, journal: str) -> None:
        self._position = position_of(journal).replace("'", "''")
        self._known: Memo[str, Statement] = Memo(_MOST_KNOWN)

    def of(self, statement: str) -> Statement:
        """What PostgreSQL is to be told."""
        return self._known.get(statement) or self._known.keep(statement, self._translated(statement))

    def _translated(self, statement: str) -> Statement:
        text, values = _OTHERWISE.get(statement, (statement, _as_it_is))
        text = text.replace("key = 'position'", f"key = '{self._position}'")
        for pattern, instead in _REWRITTEN:
            text = pattern.sub(instead, text)
        lists: dict[int, None] = {}
        count = 0

        def place(found: re.Match[str]) -> str:
            nonlocal count
            count += 1
            number = int(found[1] or count)
            if found[2]:
                lists[number - 1] = None
            return f"${number}"

        return Statement(_MARK.sub(place, text).strip(), tuple(lists), values, _by_columns(statement))


def _by_columns(statement: str) -> str | None:
    found = _ROWS.fullmatch(statement)
    if found is None:
        return None
    table, names, values, rest = found.groups()
    types = column_types(table)
    lists: list[str] = []
    columns: list[str] = []
    for name, value in zip(names.split(","), values.split(","), strict=True):
        if value.strip() == "?":
            lists.append(f"CAST(${len(lists) + 1} AS {types[name.strip()]}[])")
            columns.append(f"c{len(lists)}")
        else:
            columns.append(value)
    named = ", ".join(column for column in columns if column.startswith("c"))
    rows = f"SELECT {', '.join(columns)} FROM unnest({', '.join(lists)}) AS row ({named})"
    return f"INSERT INTO {table} ({names}) {rows}{rest}"


_MOST_KNOWN = 1000
"""Statements that are remembered: those of searches differ by what is wanted."""


def position_of(journal: str) -> str:
    """The name under which it is remembered how far that journal has been applied."""
    return f"position:{journal}"


def run_of(journal: str) -> str:
    """The name under which the run is remembered that this journal tells of."""
    return f"run:{journal}"


def _text(value: str) -> str:
    return value.replace("\x00", "\ufffd") if "\x00" in value else value
