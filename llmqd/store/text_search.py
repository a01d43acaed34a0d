"""Finds sessions in which some words were said, by the index of words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from llmqd.store.packing import Unpacking, dictionaries_of
from llmqd.store.usage_questions import Ask
from llmqd.store.words import Query

FEW = 1_500
"""Texts that are all looked at, so that it is known how many sessions there are."""

_SPELLED_OUT = 50
"""Words that begin in the same way and are looked for one by one."""

MATCHING = "SELECT rowid AS id FROM words WHERE words MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?"
_SESSIONS_OF = """
SELECT session_id, texts.id FROM texts JOIN nodes ON nodes.text = texts.key
JOIN session_numbers ON session_numbers.number = nodes.session
WHERE texts.id IN (SELECT value FROM json_each(?)) ORDER BY texts.id DESC, session_id
"""
_SAID = """
SELECT session_id, texts.id
FROM session_numbers JOIN nodes ON nodes.session = number JOIN texts ON texts.key = nodes.text
WHERE session_id IN (SELECT value FROM json_each(?))
"""
MATCHING_BETWEEN = "SELECT rowid AS id FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ?"
BEGINNING = """
WITH RECURSIVE found (word) AS (
    SELECT (SELECT term FROM words_terms WHERE term >= ?1 LIMIT 1)
    UNION ALL
    SELECT (SELECT term FROM words_terms WHERE term >= found.word || char(0) LIMIT 1)
    FROM found WHERE substr(found.word, 1, length(?1)) = ?1
)
SELECT word FROM found WHERE substr(word, 1, length(?1)) = ?1 LIMIT ?2
"""
_TEXTS = "SELECT id, content FROM texts WHERE id IN (SELECT value FROM json_each(?))"
_DICTIONARIES = "SELECT id, content FROM dictionaries WHERE id IN (SELECT value FROM json_each(?))"


class TextSearch:
    """Looks into what was said, over `ask`. Raises StoreError when the database cannot answer.

    Looked at are the words of messages, the names and arguments of tool calls, and the results of tools; system texts
    and reasoning are not.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def spelled_out(self, wanted: Query) -> Query:
        """The same question with the words of the index in place of their beginnings, where these are few: the index
        goes through all texts that have one of them before it tells the first for a beginning, not so for words."""
        words: dict[str, list[str]] = {}
        for begun in wanted.beginnings:
            rows = await self._ask(BEGINNING, begun, _SPELLED_OUT + 1)
            if 0 < len(rows) <= _SPELLED_OUT:
                words[begun] = [row["word"] for row in rows]
        return wanted.spelled_out(words) if words else wanted

    async def matching(self, wanted: Query, before: int, most: int) -> list[int]:
        """The ids below `before` of texts in which the index has what is wanted, at most so many, the latest first."""
        rows = await self._ask(MATCHING, wanted.match, before, most)
        return [row["id"] for row in rows]

    async def sessions_of(self, wanted: Query, ids: Sequence[int]) -> dict[str, int]:
        """The sessions in which these texts were said, as far as they say what is wanted, each with the latest of them;
        in the order of these."""
        said = await self._ask(_SESSIONS_OF, orjson.dumps(ids).decode())
        true = set(ids) if wanted.exact else await self._saying(ids, wanted)
        latest: dict[str, int] = {}
        for row in said:
            if row["id"] in true:
                latest.setdefault(row["session_id"], row["id"])
        return latest

    async def holding(self, wanted: Query, session_ids: Sequence[str], since: int = 0) -> set[str]:
        """Those of these sessions in which one message says what is wanted, in a text of the id `since` or later."""
        said = await self._ask(_SAID, orjson.dumps(session_ids).decode())
        ids = {row["id"] for row in said if row["id"] >= since}
        if wanted.match is not None and ids:
            matching = await self._ask(MATCHING_BETWEEN, wanted.match, min(ids), max(ids))
            ids &= {row["id"] for row in matching}
        true = ids if wanted.exact else await self._saying(sorted(ids), wanted)
        return {row["session_id"] for row in said if row["id"] in true}

    async def _saying(self, ids: Sequence[int], wanted: Query) -> set[int]:
        """Those of these texts that say what is wanted, by reading them."""
        packed = {row["id"]: row["content"] for row in await self._ask(_TEXTS, orjson.dumps(ids).decode())}
        numbers = orjson.dumps(dictionaries_of(packed.values())).decode()
        dictionaries = {row["id"]: row["content"] for row in await self._ask(_DICTIONARIES, numbers)}
        return await asyncio.to_thread(_saying, packed, dictionaries, wanted)


def _saying(packed: Mapping[int, bytes], dictionaries: Mapping[int, bytes], wanted: Query) -> set[int]:
    unpacking = Unpacking(dictionaries)
    items: Iterable[tuple[int, Any]] = ((key, unpacking.unpack(content)) for key, content in packed.items())
    return {key for key, plain in items if plain is not None and wanted.said_in(plain)}
