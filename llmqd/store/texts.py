"""Writes what was said into the database: each text once with its words, its place in the session, and marks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import orjson

from llmqd.store import indexing
from llmqd.store.connection import Connection, aside, write_rows
from llmqd.store.known import LIFETIME
from llmqd.store.packing import Packing
from llmqd.store.spoken import Spoken

DAY = 86_400

TextRow = tuple[int, int, int, bytes]
NodeRow = tuple[int, int, int, int | None, int, int]

_DICTIONARIES = "SELECT id, content FROM dictionaries ORDER BY id"
_ADD_DICTIONARY = "INSERT INTO dictionaries (id, content) VALUES (?, ?)"

WRITTEN_LATELY = "SELECT key FROM texts WHERE key IN (SELECT value FROM json_each(?)) AND at > ?"

_SAID_BEFORE = "SELECT id, content FROM texts WHERE key IN (SELECT value FROM json_each(?))"
_DELETE_TEXTS = "DELETE FROM texts WHERE id IN (SELECT value FROM json_each(?))"
NEXT_ID = "SELECT max(coalesce(max(id), 0) + 1, ?) FROM texts"
PUT_TEXT = "INSERT INTO texts (id, key, at, content) VALUES (?, ?, ?, ?)"

_NUMBER_SESSIONS = """
INSERT INTO session_numbers (session_id)
SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM session_numbers WHERE session_id = value)
"""
_NUMBERS = """
SELECT session_id, max(number) FROM session_numbers
WHERE session_id IN (SELECT value FROM json_each(?)) GROUP BY session_id
"""

_ADD_NODE = """
INSERT INTO nodes (session, key, parent, text, at, place) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""

_ADD_MARK = """
INSERT INTO marks (mark, session, at) VALUES (?, ?, ?)
ON CONFLICT (mark, session) DO UPDATE SET id = (SELECT max(id) + 1 FROM marks), at = max(marks.at, excluded.at)
"""


class Texts:
    """The tables of what was said, for the one connection that writes. Made anew with each connection, and after each
    transaction that was rolled back, as the dictionary that texts are packed with may have gone with it."""

    def __init__(self, packing: Packing, first_text: Callable[[float], int]) -> None:
        self._packing = packing
        self._first_text = first_text

    def __repr__(self) -> str:
        return f"<Texts, {self._packing!r}>"

    @classmethod
    async def of(cls, connection: Connection, first_text: Callable[[float], int]) -> Texts:
        """The tables of this database; `first_text` gives the least id of a text of some time (Unix seconds)."""
        rows = await connection.execute_fetchall(_DICTIONARIES)
        return cls(Packing({row[0]: row[1] for row in rows}), first_text)

    async def write(self, connection: Connection, batch: Sequence[Spoken]) -> None:
        """Adds what these calls have said, within the transaction at hand. What is there already changes nothing."""
        numbers = await _numbers(connection, batch)
        nodes = list(_node_rows(batch, numbers))
        await write_rows(connection, _ADD_NODE, nodes)
        marks = [(mark, numbers[session], at) for one in batch for mark, session, at in one.marks]
        await write_rows(connection, _ADD_MARK, marks)
        await self._write_texts(connection, batch)

    async def _write_texts(self, connection: Connection, batch: Sequence[Spoken]) -> None:
        texts = {key: (int(one.at), content) for one in batch for key, content in one.texts.items()}
        if not texts:
            return
        since = min(int(at) for at, _ in texts.values()) - LIFETIME / 2
        keys = orjson.dumps(list(texts)).decode()
        for (known,) in await connection.execute_fetchall(WRITTEN_LATELY, (keys, since)):
            del texts[known]
        if not texts:
            return
        earliest = min(at for at, _ in texts.values())
        first = await self._make_room(connection, orjson.dumps(list(texts)).decode(), earliest)
        rows, said, dictionary = await aside(self._packed, texts, first)
        if dictionary is not None:
            await connection.execute_fetchall(_ADD_DICTIONARY, dictionary)
        await write_rows(connection, PUT_TEXT, rows)
        await indexing.add(connection, said)

    async def _make_room(self, connection: Connection, keys: str, earliest: float) -> int:
        """The id of the first of some new texts. What is said again moves to the end, and is packed anew: so
        dictionaries grow old with their texts."""
        before = [(row[0], row[1]) for row in await connection.execute_fetchall(_SAID_BEFORE, (keys,))]
        [(first,)] = await connection.execute_fetchall(NEXT_ID, (self._first_text(earliest),))
        if before:
            await indexing.remove(connection, before)
            await connection.execute_fetchall(_DELETE_TEXTS, (orjson.dumps([id_ for id_, _ in before]).decode(),))
        return max(int(first), await indexing.words_from(connection))

    def _packed(
        self, texts: Mapping[int, tuple[int, bytes]], first: int
    ) -> tuple[list[TextRow], list[tuple[int, str]], tuple[int, bytes] | None]:
        """Rows of texts and of the index, and a dictionary that has to be kept from now on. For a thread."""
        dictionary = self._packing.fresh()
        rows = [
            (id_, key, at, self._packing.pack(content)) for id_, (key, (at, content)) in enumerate(texts.items(), first)
        ]
        # Below 0 are the bytes of media.
        said = [(id_, content) for id_, (key, (_, content)) in enumerate(texts.items(), first) if key >= 0]
        return rows, indexing.documents(said), dictionary


async def _numbers(connection: Connection, batch: Iterable[Spoken]) -> dict[str, int]:
    """The short name of each session that is spoken of; new ones get theirs."""
    ids = {one.session for one in batch if one.session is not None and one.nodes}
    ids.update(session for one in batch for _, session, _ in one.marks)
    if not ids:
        return {}
    given = orjson.dumps(sorted(ids)).decode()
    await connection.execute_fetchall(_NUMBER_SESSIONS, (given,))
    rows = await connection.execute_fetchall(_NUMBERS, (given,))
    return {row[0]: row[1] for row in rows}


def _node_rows(batch: Iterable[Spoken], numbers: Mapping[str, int]) -> Iterable[NodeRow]:
    for one in batch:
        owner = nobodys(one.at) if one.session is None else numbers.get(one.session, 0)
        for key, parent, text, place in one.nodes:
            yield owner, key, parent, text, int(one.at * 1e6), place


def nobodys(at: float) -> int:
    """The number under which stands what was said on the day of that moment (Unix seconds) in no session."""
    return -int(at // DAY)
