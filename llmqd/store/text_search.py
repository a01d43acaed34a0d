"""Finds sessions in which some words were said, by reading what was said in the sessions that are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from llmqd.messages.message import Message, Text, ToolCall, ToolResult
from llmqd.store.packing import Unpacking, dictionaries_of
from llmqd.store.usage_questions import Ask

_SAID = """
SELECT DISTINCT session_id, text FROM session_numbers JOIN nodes ON nodes.session = number
WHERE session_id IN (SELECT value FROM json_each(?)) AND text IS NOT NULL
"""
_TEXTS = "SELECT key, content FROM texts WHERE key IN (SELECT value FROM json_each(?))"
_DICTIONARIES = "SELECT id, content FROM dictionaries WHERE id IN (SELECT value FROM json_each(?))"

_decode = msgspec.json.Decoder(Message).decode


class TextSearch:
    """Looks into what was said, over `ask`. Raises StoreError when the database cannot answer."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def holding(self, wanted: str, session_ids: Sequence[str]) -> set[str]:
        """Those of these sessions in which one message has all words of `wanted`, in any case and order.

        Parts of words count. Looked at are the words of messages, the names and arguments of tool calls, and the
        results of tools; system texts and reasoning are not.
        """
        words = wanted.casefold().split()
        said = await self._ask(_SAID, orjson.dumps(session_ids).decode())
        keys = sorted({row["text"] for row in said})
        packed = {row["key"]: row["content"] for row in await self._ask(_TEXTS, orjson.dumps(keys).decode())}
        numbers = orjson.dumps(dictionaries_of(packed.values())).decode()
        dictionaries = {row["id"]: row["content"] for row in await self._ask(_DICTIONARIES, numbers)}
        matching = await asyncio.to_thread(_matching, packed, dictionaries, words)
        return {row["session_id"] for row in said if row["text"] in matching}


def _matching(packed: Mapping[int, bytes], dictionaries: Mapping[int, bytes], words: Sequence[str]) -> set[int]:
    """The keys of the texts that have all the words."""
    unpacking = Unpacking(dictionaries)
    found = set()
    for key, content in packed.items():
        plain: Any = unpacking.unpack(content)
        if plain is not None and has_all(plain, words):
            found.add(key)
    return found


def has_all(message: bytes, words: Iterable[str]) -> bool:
    """Whether a message, as JSON, says all these words, which are casefolded."""
    try:
        parts = _decode(message).parts
    except msgspec.MsgspecError:
        return False
    said: list[str] = []
    for part in parts:
        match part:
            case Text() | ToolResult():
                said.append(part.text)
            case ToolCall():
                said += [part.name, part.arguments]
    text = "\n".join(said).casefold()
    return all(word in text for word in words)
