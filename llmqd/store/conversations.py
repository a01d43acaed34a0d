"""Answers what was said: in a call, in a session, and which sessions are known by a mark. Reads by keys only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from llmqd.detection.assignment import Evidence
from llmqd.messages.message import Message
from llmqd.store.packing import Unpacking, dictionaries_of
from llmqd.store.spoken import medium_key, system_keys
from llmqd.store.texts import nobodys

Ask = Callable[..., Awaitable[list[Mapping[str, Any]]]]
"""Runs one statement with its values over a connection that reads; rows come as mappings. Raises StoreError."""

LONGEST_PATH = 10_000
"""Messages of one call, and of one page of a session, at most."""
_HOLDERS = 128
"""Sessions that are told for one mark, the newest: where there are more, it tells nothing."""
_MARKS_AT_ONCE = 100
_TEXTS_AT_ONCE = 500

_SAID_IN = "SELECT session_id, received_at, total_ms, messages, tip, answer, system FROM calls WHERE id = ?"

_PATH = f"""
WITH RECURSIVE path (key, parent, text, at, place, depth) AS (
    SELECT key, parent, text, at, place, 0 FROM nodes WHERE session = ?1 AND key = ?2
    UNION ALL
    SELECT nodes.key, nodes.parent, nodes.text, nodes.at, nodes.place, depth + 1
    FROM path JOIN nodes ON nodes.session = ?1 AND nodes.key = path.parent
    WHERE depth < {LONGEST_PATH - 1}
)
SELECT key, parent, text, at FROM path ORDER BY depth DESC LIMIT {LONGEST_PATH}
"""

_NUMBERS = "SELECT number FROM session_numbers WHERE session_id = ? ORDER BY number"

OF_SESSION = """
SELECT key, text, at, place, coalesce((
        SELECT other.parent FROM nodes AS other
        WHERE other.session = nodes.session AND other.key = nodes.parent AND other.text IS NULL
    ), parent) AS parent
FROM (
    SELECT session, key, parent, text, min(at) AS at, place FROM nodes
    WHERE session IN (SELECT number FROM session_numbers WHERE session_id = ?) AND text IS NOT NULL GROUP BY key
) AS nodes
WHERE (at, place, key) > (?, ?, ?)
ORDER BY at, place, key LIMIT ?
"""
_COUNT_OF_SESSION = """
SELECT count(DISTINCT key) AS nodes FROM nodes
WHERE session IN (SELECT number FROM session_numbers WHERE session_id = ?) AND text IS NOT NULL
"""

_TEXTS = "SELECT key, content FROM texts WHERE key IN (SELECT value FROM json_each(?))"
_DICTIONARIES = "SELECT id, content FROM dictionaries WHERE id IN (SELECT value FROM json_each(?))"

_HELD_BY = """
SELECT * FROM (
    SELECT mark, session_id, at FROM marks JOIN session_numbers ON number = session
    WHERE mark = ? ORDER BY session DESC LIMIT ?
) AS held
"""
_LATEST_MARKS = """
SELECT mark, session_id, at
FROM (SELECT id, mark, session, at FROM marks ORDER BY id DESC LIMIT ?) AS latest
JOIN session_numbers ON number = session
WHERE at > ? ORDER BY latest.id DESC
"""

_decode = msgspec.json.Decoder(Message).decode


@dataclass(frozen=True, slots=True)
class Line:
    """A message where it stands in a conversation.

    `key` names its place, `parent` the place before: where that is not the line before, the conversation branches, or
    what came before is not kept. `message` is None where its text is not there (any more). `at` is the end of the call
    that said it first, in Unix seconds.
    """

    key: int
    parent: int
    at: float
    message: Message | None


@dataclass(frozen=True, slots=True)
class SaidInCall:
    """What was said in one call: system texts, the messages of the request in their order, and the answer.

    `system` has None for a text that is not there. `missing` is how many messages at the beginning of the request are
    not known, not even their place. `captured` is False where the call's words were not to be kept, or it had none.
    """

    captured: bool
    system: tuple[Message | None, ...] = ()
    messages: tuple[Line, ...] = ()
    answer: Line | None = None
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages of a session, in the order in which they were said, each once.

    `next` is what to ask with for those that follow, None at the end; `total` counts all messages of the session.
    """

    lines: tuple[Line, ...]
    next: str | None
    total: int


class Conversations:
    """Questions about what was said, asked over `ask`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def of_call(self, call_id: str) -> SaidInCall | None:
        """What was said in a call; None for an unknown one. Raises StoreError when the database cannot answer."""
        rows = await self._ask(_SAID_IN, call_id) if call_id.isascii() else []
        if not rows:
            return None
        call = rows[0]
        if call["tip"] is None:
            return SaidInCall(captured=False)
        path, answer = await self._path(call)
        system = system_keys(call["system"])
        texts = await self._texts([*system, *(row["text"] for row in path), *(row["text"] for row in answer)])
        return SaidInCall(
            captured=True,
            system=tuple(texts.get(key) for key in system),
            messages=tuple(_line(row, texts) for row in path),
            answer=_line(answer[0], texts) if answer else None,
            missing=max(0, (call["messages"] or 0) - len(path)),
        )

    async def of_session(self, session_id: str, limit: int, cursor: str | None = None) -> Page | None:
        """At most `limit` messages of a session, from `cursor` (a Page's `next`) on; None where it has said nothing
        that was kept. Raises ValueError for a cursor that is none, StoreError when the database cannot answer."""
        after = _position(cursor)
        if session_id.encode("utf-8", "ignore").decode() != session_id or not await self._ask(_NUMBERS, session_id):
            return None
        rows = await self._ask(OF_SESSION, session_id, *after, min(limit, LONGEST_PATH) + 1)
        more, rows = len(rows) > limit, rows[:limit]
        [count] = await self._ask(_COUNT_OF_SESSION, session_id)
        if not count["nodes"]:
            return None
        texts = await self._texts([row["text"] for row in rows])
        following = ".".join(str(rows[-1][name]) for name in ("at", "place", "key")) if more else None
        return Page(tuple(_line(row, texts) for row in rows), following, count["nodes"])

    async def medium(self, digest: str) -> bytes | None:
        """The bytes of a picture, sound or file, by `Media.digest`; None where they are gone. Raises StoreError."""
        key = medium_key(digest)
        if key is None:
            return None
        return (await self._contents([key])).get(key)

    async def marks_of(self, marks: Iterable[int]) -> list[Evidence]:
        """Which sessions are known by these marks, for each mark the newest. Raises StoreError."""
        wanted = list(dict.fromkeys(marks))
        found: list[Evidence] = []
        for start in range(0, len(wanted), _MARKS_AT_ONCE):
            some = wanted[start : start + _MARKS_AT_ONCE]
            statement = "UNION ALL".join([_HELD_BY] * len(some))
            rows = await self._ask(statement, *(value for mark in some for value in (mark, _HOLDERS)))
            found += [Evidence(row["mark"], row["session_id"], row["at"]) for row in rows]
        return found

    async def latest_marks(self, limit: int, since: float = 0.0) -> list[Evidence]:
        """The latest marks, made after `since` (Unix seconds), the oldest of them first. Raises StoreError."""
        rows = await self._ask(_LATEST_MARKS, limit, since)
        return [Evidence(row["mark"], row["session_id"], row["at"]) for row in reversed(rows)]

    async def _path(self, call: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """(nodes of the request's messages, node of the answer if there is one): of the session that has them."""
        if call["session_id"] is None:
            began = call["received_at"]
            ended = began + (call["total_ms"] or 0.0) / 1000
            # It stands under the day on which the call ended, as the clock was then.
            numbers = sorted({nobodys(at) for at in (began, ended, ended + 60)})
        else:
            numbers = [row["number"] for row in await self._ask(_NUMBERS, call["session_id"])]
        path: list[Mapping[str, Any]] = []
        answer: list[Mapping[str, Any]] = []
        for number in numbers:
            found = await self._ask(_PATH, number, call["tip"])
            path = max(path, [row for row in found if row["text"] is not None], key=len)
            if call["answer"] is not None and not answer:
                answer = (await self._ask(_PATH, number, call["answer"]))[-1:]
        return path[-(call["messages"] or 0) :] if call["messages"] else [], answer

    async def _texts(self, keys: Iterable[int]) -> dict[int, Message]:
        contents = await self._contents(keys)
        return {key: message for key, content in contents.items() if (message := _message(content)) is not None}

    async def _contents(self, keys: Iterable[int]) -> dict[int, bytes]:
        wanted = sorted(set(keys))
        packed: dict[int, bytes] = {}
        for start in range(0, len(wanted), _TEXTS_AT_ONCE):
            rows = await self._ask(_TEXTS, orjson.dumps(wanted[start : start + _TEXTS_AT_ONCE]).decode())
            packed.update((row["key"], row["content"]) for row in rows)
        unpacking = Unpacking(await self._dictionaries(packed.values()))
        return {key: plain for key, one in packed.items() if (plain := unpacking.unpack(one)) is not None}

    async def _dictionaries(self, packed: Iterable[bytes]) -> dict[int, bytes]:
        numbers: Sequence[int] = dictionaries_of(packed)
        if not numbers:
            return {}
        rows = await self._ask(_DICTIONARIES, orjson.dumps(numbers).decode())
        return {row["id"]: row["content"] for row in rows}


def _line(row: Mapping[str, Any], texts: Mapping[int, Message]) -> Line:
    return Line(row["key"], row["parent"], row["at"] / 1e6, texts.get(row["text"]))


def _message(content: bytes) -> Message | None:
    try:
        return _decode(content)
    except msgspec.MsgspecError:  # of a newer llmqd
        return None


def _position(cursor: str | None) -> tuple[int, int, int]:
    if cursor is None:
        return -1, -1, -1
    try:
        at, place, key = (int(part) for part in cursor.split("."))
    except ValueError:
        raise ValueError(f"{cursor!r} is no cursor of a page of messages") from None
    if max(abs(at), abs(place), abs(key)) >= 2**63:
        raise ValueError(f"{cursor!r} is no cursor of a page of messages")
    return at, place, key
