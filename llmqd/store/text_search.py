"""Finds sessions in which some words were said, by the index of words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from llmqd.store.packing import Unpacking, dictionaries_of
from llmqd.store.usage_questions import Ask
from llmqd.store.words import Query

FEW = 3_000
"""Texts that are rather followed to the sessions in which they were said than met on the way through the sessions."""

_MATCHING = "SELECT rowid AS id FROM words WHERE words MATCH ? ORDER BY rowid DESC LIMIT ?"
_SESSIONS_OF = """
SELECT session_id, texts.id FROM texts JOIN nodes ON nodes.text = texts.key
JOIN session_numbers ON session_numbers.number = nodes.session
WHERE texts.id IN (SELECT value FROM json_each(?)) LIMIT ?
"""
_SAID = """
SELECT session_id, texts.id
FROM session_numbers JOIN nodes ON nodes.session = number JOIN texts ON texts.key = nodes.text
WHERE session_id IN (SELECT value FROM json_each(?))
"""
_MATCHING_BETWEEN = "SELECT rowid AS id FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ?"
_TEXTS = "SELECT id, content FROM texts WHERE id IN (SELECT value FROM json_each(?))"
_DICTIONARIES = "SELECT id, content FROM dictionaries WHERE id IN (SELECT value FROM json_each(?))"


class TextSearch:
    """Looks into what was said, over `ask`. Raises StoreError when the database cannot answer.

    Looked at are the words of messages, the names and arguments of tool calls, and the results of tools; system texts
    and reasoning are not.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def sessions(self, wanted: Query) -> list[str] | None:
        """All sessions in which one message says what is wanted; None where there are too many to tell."""
        if wanted.match is None:
            return None
        ids = [row["id"] for row in await self._ask(_MATCHING, wanted.match, FEW + 1)]
        if len(ids) > FEW:
            return None
        said = await self._ask(_SESSIONS_OF, orjson.dumps(ids).decode(), FEW + 1)
        if len(said) > FEW:
            return None
        ids = [row["id"] for row in said]
        true = set(ids) if wanted.exact else await self._saying(ids, wanted)
        return sorted({row["session_id"] for row in said if row["id"] in true})

    async def holding(self, wanted: Query, session_ids: Sequence[str]) -> set[str]:
        """Those of these sessions in which one message says what is wanted."""
        said = await self._ask(_SAID, orjson.dumps(session_ids).decode())
        ids = {row["id"] for row in said}
        if wanted.match is not None and ids:
            matching = await self._ask(_MATCHING_BETWEEN, wanted.match, min(ids), max(ids))
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
