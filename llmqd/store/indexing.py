"""Keeps the index of words like the texts: what comes is taken in, what goes is taken out, what was there is added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import orjson

from llmqd.store.connection import Connection, aside, write_rows
from llmqd.store.packing import Unpacking, dictionaries_of
from llmqd.store.words import document

Packed = tuple[int, bytes]
"""The id of a text, and its content as it stands in the database."""

ADD = "INSERT INTO words (rowid, said) VALUES (?, ?)"
REMOVE = "INSERT INTO words (words, rowid, said) VALUES ('delete', ?, ?)"
MERGE = "INSERT INTO words (words, rank) VALUES ('merge', ?)"
CLEAR = "INSERT INTO words (words) VALUES ('delete-all')"
_LEAST_MERGED, _PAGE = 8, 2048
"""Pages of the index that are written anew when something goes, and one more for each so many bytes that go: only that
gives their space back."""
_DICTIONARIES = "SELECT id, content FROM dictionaries WHERE id IN (SELECT value FROM json_each(?))"

_FROM = "SELECT value FROM meta WHERE key = 'words_from'"
_NOW_FROM = "UPDATE meta SET value = ? WHERE key = 'words_from'"
_COMPLETE = "DELETE FROM meta WHERE key = 'words_from'"
_NEXT_BELOW = "SELECT id, content FROM texts WHERE id < ? ORDER BY id DESC LIMIT ?"


def documents(texts: Iterable[tuple[int, bytes | None]]) -> list[tuple[int, str]]:
    """Rows of the index for these messages, given as JSON, in the order in which it takes them best."""
    return [(id_, said) for id_, content in sorted(texts) if content is not None and (said := document(content))]


async def add(connection: Connection, rows: Sequence[tuple[int, str]]) -> None:
    """Take in `documents`, within a transaction. Raises sqlite3.Error."""
    await write_rows(connection, ADD, rows)


async def remove(connection: Connection, texts: Sequence[Packed]) -> None:
    """Take out the words of texts that are about to go, within a transaction. Raises sqlite3.Error."""
    first = await words_from(connection)
    rows = await _unpacked(connection, [text for text in texts if text[0] >= first])
    if rows:
        await write_rows(connection, REMOVE, rows)
        # Less than nothing: all of the index takes its turn, not only what has become many pieces.
        pages = _LEAST_MERGED + sum(len(said) for _, said in rows) // _PAGE
        await connection.execute_fetchall(MERGE, (-pages,))


async def clear(connection: Connection) -> None:
    """Take out everything, where there are no texts any more, within a transaction. Raises sqlite3.Error."""
    await connection.execute_fetchall(CLEAR)


async def words_from(connection: Connection) -> int:
    """The id from which on texts are in the index; 0 for all. Raises sqlite3.Error."""
    for (first,) in await connection.execute_fetchall(_FROM):
        return int(first)
    return 0


async def catch_up(connection: Connection, first: int, limit: int) -> int:
    """Take in at most so many of the texts below the id `first`, within a transaction; how many there were.

    Raises sqlite3.Error.
    """
    texts = [(row[0], row[1]) for row in await connection.execute_fetchall(_NEXT_BELOW, (first, limit))]
    if not texts:
        await connection.execute_fetchall(_COMPLETE)
        return 0
    await add(connection, await _unpacked(connection, texts))
    await connection.execute_fetchall(_NOW_FROM, (str(texts[-1][0]),))
    return len(texts)


async def _unpacked(connection: Connection, texts: Sequence[Packed]) -> list[tuple[int, str]]:
    if not texts:
        return []
    numbers = orjson.dumps(dictionaries_of(content for _, content in texts)).decode()
    dictionaries = {row[0]: row[1] for row in await connection.execute_fetchall(_DICTIONARIES, (numbers,))}
    return await aside(_documents_of, texts, dictionaries)


def _documents_of(texts: Sequence[Packed], dictionaries: Mapping[int, bytes]) -> list[tuple[int, str]]:
    unpacking = Unpacking(dictionaries)
    return documents((id_, unpacking.unpack(content)) for id_, content in texts)
