"""Carries out that calls belong to another session than was thought: merges and splits, kept for ever.

A row of `moves` says that the calls of one session, from one id on and before another, belong to another session. A
merge moves all of them, those yet to come too; a split moves those from one call on that had begun until then. What the
journal says later of such calls is led to where they belong by the same rows, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from llmqd.store import spending
from llmqd.store import statements as sql
from llmqd.store.changes import Changes
from llmqd.store.columns import CALL_COLUMNS
from llmqd.store.connection import Connection, aside, write_rows
from llmqd.store.entries import Closed, Opened, Regrouped
from llmqd.store.rollups import READ, Ended
from llmqd.store.traits import ADD_FACET, ADD_VISIT, Began, facet_rows, trait_rows, visit_rows

_SESSION_AT = CALL_COLUMNS.index("session_id")
_Visit = tuple[str, str, int]
_Node = tuple[int, int, int | None, int, int]

_MOVES = """
SELECT id, session_id, into_id, first, until FROM moves WHERE session_id IN (SELECT value FROM json_each(?))
"""
_IS_KNOWN = "SELECT 1 FROM moves WHERE session_id = ? AND into_id = ? AND first = ? AND at = ?"
ADD_MOVE = "INSERT INTO moves (session_id, into_id, first, until, at) VALUES (?, ?, ?, ?, ?)"

MERGED_SESSIONS = "SELECT session_id, into_id FROM moves WHERE first = '' ORDER BY id DESC LIMIT ?"

_SUMS = (
    "request_count",
    "error_count",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cost_pico",
    "unknown_cost_count",
    "function_calls",
    "cache_hits",
    "total_ms",
)
_NAMES = ("agent", "user_id", "conversation", "client_key")
_MERGED = f"""
ON CONFLICT (session_id) DO UPDATE SET
    source = CASE WHEN excluded.first_seen < sessions.first_seen THEN excluded.source ELSE sessions.source END,
    {
    ", ".join(
        f"{name} = CASE WHEN excluded.first_seen < sessions.first_seen"
        f" THEN coalesce(excluded.{name}, sessions.{name}) ELSE coalesce(sessions.{name}, excluded.{name}) END"
        for name in _NAMES
    )
},
    first_seen = min(sessions.first_seen, excluded.first_seen),
    last_seen = max(sessions.last_seen, excluded.last_seen),
    {", ".join(f"{name} = sessions.{name} + excluded.{name}" for name in _SUMS)}
"""
_MERGE_TOTALS = f"""
INSERT INTO sessions (session_id, source, first_seen, last_seen, {", ".join((*_NAMES, *_SUMS))})
SELECT ?, source, first_seen, last_seen, {", ".join((*_NAMES, *_SUMS))} FROM sessions WHERE session_id = ?
{_MERGED}
"""
MERGE_SESSION = f"""
INSERT INTO sessions (session_id, source, first_seen, last_seen, {", ".join((*_NAMES, *_SUMS))})
VALUES ({", ".join("?" * (4 + len(_NAMES) + len(_SUMS)))})
{_MERGED}
"""
SESSION_COLUMNS = ("session_id", "source", "first_seen", "last_seen", *_NAMES, *_SUMS)
"""In the order of MERGE_SESSION."""
_FIRST_NAME = "(SELECT {0} FROM calls WHERE session_id = ?1 AND {0} <> '' ORDER BY id LIMIT 1)"
_FIRST_NAMES = f"""
UPDATE sessions SET {", ".join(f"{name} = coalesce({_FIRST_NAME.format(name)}, {name})" for name in _NAMES)}
WHERE session_id = ?1
"""
"""Where the calls are still there, they tell whose name came first."""
_MERGE_FACETS = """
INSERT INTO facets (session_id, kind, value) SELECT ?, kind, value FROM facets WHERE session_id = ?
ON CONFLICT DO NOTHING
"""
_MOVE_CALLS = "UPDATE calls SET session_id = ? WHERE session_id = ?"
_DELETE_SESSION = "DELETE FROM sessions WHERE session_id = ?"

_VISITS = "SELECT by, value, hour FROM visits WHERE session_id = ? ORDER BY by, value, hour"
_DELETE_VISITS = "DELETE FROM visits WHERE session_id = ?"
_TAKE_RETURN = "UPDATE returns SET sessions = sessions - 1 WHERE by = ? AND value = ? AND hour = ? AND previous = ?"

_NUMBERS = "SELECT number FROM session_numbers WHERE session_id = ? ORDER BY number"
_NEW_NUMBER = "INSERT INTO session_numbers (session_id) VALUES (?)"
_MOVE_NUMBERS = "UPDATE session_numbers SET session_id = ? WHERE session_id = ?"
_NODES = "SELECT key, parent, text, at, place FROM nodes WHERE session = ?"
_ADD_NODE = """
INSERT INTO nodes (session, key, parent, text, at, place) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (session, key) DO UPDATE SET at = min(nodes.at, excluded.at)
"""
_DELETE_NODES = "DELETE FROM nodes WHERE session = ?"
_DELETE_NODE = "DELETE FROM nodes WHERE session = ? AND key = ?"
_MARKS_SINCE = """
session = ?2 AND at >= ?3 AND id > coalesce((SELECT id FROM marks WHERE at < ?3 - 60 ORDER BY id DESC LIMIT 1), 0)
"""
"""Marks stand in the order of time, to within a minute: those before are not read."""
_REPLACE_MARKS = f"DELETE FROM marks WHERE session = ?1 AND mark IN (SELECT mark FROM marks WHERE {_MARKS_SINCE})"
_MOVE_MARKS = f"UPDATE marks SET session = ?1 WHERE {_MARKS_SINCE}"

_CALLS = f"SELECT session_source, tip, answer, {', '.join(READ)} FROM calls WHERE session_id = ? ORDER BY id"
_SPLIT_CALLS = "UPDATE calls SET session_id = ? WHERE session_id = ? AND id >= ? AND id < ?"
_LAST_SEEN = "SELECT max(received_at + coalesce(total_ms, 0) / 1000) FROM calls WHERE session_id = ?"
_TAKE_TOTALS = f"""
UPDATE sessions SET last_seen = ?, {", ".join(f"{name} = ?" for name in _NAMES)},
    {", ".join(f"{name} = {name} - ?" for name in _SUMS)}
WHERE session_id = ?
"""
_SESSION_NAMES = f"SELECT {', '.join(_NAMES)} FROM sessions WHERE session_id = ?"
_DELETE_FACET = "DELETE FROM facets WHERE session_id = ? AND kind = ? AND value = ?"


async def follow(connection: Connection, stretch: Changes) -> None:
    """Lead the entries of a stretch to the sessions that their calls belong to by now, within a transaction."""
    entries: list[Opened | Closed] = [*stretch.opened.values(), *stretch.closed.values()]
    moves = await _moves(connection, {entry.seen.session for entry in entries if entry.seen is not None})
    if not moves:
        return
    for id_, opened in stretch.opened.items():
        if opened.seen is not None and (into := _final(moves, opened.seen.session, id_)) != opened.seen.session:
            stretch.opened[id_] = msgspec.structs.replace(
                opened, seen=msgspec.structs.replace(opened.seen, session=into), row=_in(opened.row, into)
            )
    for id_, closed in stretch.closed.items():
        if closed.seen is not None and (into := _final(moves, closed.seen.session, id_)) != closed.seen.session:
            stretch.closed[id_] = _led(closed, closed.seen.session, into)


async def regroup(connection: Connection, entry: Regrouped) -> None:
    """Move calls with all that belongs to them, within a transaction. What was moved already changes nothing."""
    for session in entry.sessions:
        move = session, entry.into, entry.first, entry.at
        if session == entry.into or await connection.execute_fetchall(_IS_KNOWN, move):
            continue
        await connection.execute_fetchall(ADD_MOVE, (session, entry.into, entry.first, entry.until, entry.at))
        if entry.first:
            await _split(connection, session, entry)
        else:
            await _merge(connection, session, entry.into)


async def _moves(connection: Connection, sessions: set[str]) -> Sequence[Sequence[Any]]:
    """All moves that calls of these sessions may have made, one after the other, in their order."""
    found: dict[int, Sequence[Any]] = {}
    asked: set[str] = set()
    while wanted := sessions - asked:
        asked |= wanted
        for row in await connection.execute_fetchall(_MOVES, (orjson.dumps(sorted(wanted)).decode(),)):
            found[row[0]] = row
        sessions = {row[2] for row in found.values()}
    return [row for _, row in sorted(found.items())]


def _final(moves: Sequence[Sequence[Any]], session: str, call_id: str) -> str:
    for _, moved, into, first, until in moves:
        if moved == session and first <= call_id and (until is None or call_id < until):
            session = into
    return session


def _in(row: tuple[Any, ...], session: str) -> tuple[Any, ...]:
    return (*row[:_SESSION_AT], session, *row[_SESSION_AT + 1 :])


def _led(closed: Closed, session: str, into: str) -> Closed:
    spoken, seen = closed.spoken, closed.seen
    if spoken is not None:
        # A mark of another session, which has gone on from the same place, is that one's still.
        marks = tuple((mark, into if whose == session else whose, at) for mark, whose, at in spoken.marks)
        spoken = msgspec.structs.replace(spoken, session=spoken.session and into, marks=marks)
    assert seen is not None
    return msgspec.structs.replace(
        closed, seen=msgspec.structs.replace(seen, session=into), row=_in(closed.row, into), spoken=spoken
    )


async def _merge(connection: Connection, gone: str, into: str) -> None:
    await connection.execute_fetchall(_MOVE_CALLS, (into, gone))
    await connection.execute_fetchall(_MERGE_TOTALS, (into, gone))
    await connection.execute_fetchall(_FIRST_NAMES, (into,))
    await connection.execute_fetchall(_MERGE_FACETS, (into, gone))
    await connection.execute_fetchall(spending.MOVE, (into, gone))
    await connection.execute_fetchall(spending.GONE, (gone,))
    visits = await _take_visits(connection, gone)
    await _add_visits(connection, into, visits)
    await connection.execute_fetchall(_DELETE_SESSION, (gone,))
    await connection.execute_fetchall(_MOVE_NUMBERS, (into, gone))
    # One tree, under the number under which what follows is written.
    *others, newest = await _numbers(connection, into) or [0]
    for number in others:
        nodes = await connection.execute_fetchall(_NODES, (number,))
        await write_rows(connection, _ADD_NODE, [(newest, *node) for node in nodes])
        await connection.execute_fetchall(_DELETE_NODES, (number,))


async def _split(connection: Connection, session: str, entry: Regrouped) -> None:
    rows = [*await connection.execute_fetchall(_CALLS, (session,))]
    until = entry.until or "~"
    taken = [row for row in rows if entry.first <= row[3] < until]
    left = [row for row in rows if not entry.first <= row[3] < until]
    if not taken:
        return
    spent = await connection.execute_fetchall(spending.ENDED, (session, entry.first, until))
    await write_rows(connection, spending.ADD, spending.moved(spent, session, entry.into))
    await connection.execute_fetchall(_SPLIT_CALLS, (entry.into, session, entry.first, until))
    await _split_totals(connection, session, entry.into, taken, left)
    await _split_visits(connection, session, entry.into, taken, left)
    numbers = await _numbers(connection, session)
    if numbers:
        await connection.execute_fetchall(_NEW_NUMBER, (entry.into,))
        [new] = await _numbers(connection, entry.into)
        since = min(row[3 + READ.index("received_at")] for row in taken)
        for number in numbers:
            await _split_nodes(connection, number, new, taken, left)
            await connection.execute_fetchall(_REPLACE_MARKS, (new, number, since))
            await connection.execute_fetchall(_MOVE_MARKS, (new, number, since))


async def _split_totals(
    connection: Connection, session: str, into: str, taken: Sequence[Any], left: Sequence[Any]
) -> None:
    calls, kept = _calls(taken), _calls(left)
    ended = [call for call in calls if isinstance(call, Ended)]
    received = [row[3 + READ.index("received_at")] for row in taken]
    last = max([*received, *(call.received_at + (call.total_ms or 0.0) / 1000 for call in ended)])
    sums = _sums(ended)
    [traits] = trait_rows(calls)
    total = into, taken[0][0], min(received), last, *sums, *traits[:-1]
    await connection.execute_fetchall(sql.ADD_TO_SESSION, total)
    facets = {(kind, value) for _, kind, value in facet_rows(calls)}
    await write_rows(connection, ADD_FACET, [(into, *facet) for facet in sorted(facets)])
    only = facets - {(kind, value) for _, kind, value in facet_rows(kept)}
    await write_rows(connection, _DELETE_FACET, [(session, *facet) for facet in sorted(only)])
    [(last_seen,)] = await connection.execute_fetchall(_LAST_SEEN, (session,))
    [*before] = await connection.execute_fetchall(_SESSION_NAMES, (session,))
    own: Sequence[Any] = next(iter(trait_rows(kept)), (None,) * len(_NAMES))
    # A name that only the calls gave that are gone goes with them.
    names = [
        mine or (None if theirs == name else name)
        for mine, theirs, name in zip(
            own[: len(_NAMES)], traits[: len(_NAMES)], before[0] if before else (None,) * len(_NAMES), strict=True
        )
    ]
    await connection.execute_fetchall(
        _TAKE_TOTALS,
        (last_seen if last_seen is not None else min(received), *names, *sums, *traits[len(_NAMES) : -1], session),
    )


async def _split_visits(
    connection: Connection, session: str, into: str, taken: Sequence[Any], left: Sequence[Any]
) -> None:
    theirs, mine = _hours(taken), _hours(left)
    before = await _take_visits(connection, session)
    await _add_visits(connection, session, [visit for visit in before if visit in mine or visit not in theirs])
    await _add_visits(connection, into, sorted(theirs))


async def _take_visits(connection: Connection, session: str) -> list[_Visit]:
    """The visits of a session, which counts nowhere any more."""
    visits = [(row[0], row[1], row[2]) for row in await connection.execute_fetchall(_VISITS, (session,))]
    previous = [
        before[2] if before[:2] == visit[:2] else 0
        for before, visit in zip([("", "", 0), *visits], visits, strict=False)
    ]
    await write_rows(connection, _TAKE_RETURN, [(*visit, hour) for visit, hour in zip(visits, previous, strict=True)])
    await connection.execute_fetchall(_DELETE_VISITS, (session,))
    return visits


async def _add_visits(connection: Connection, session: str, visits: Iterable[_Visit]) -> None:
    await write_rows(connection, ADD_VISIT, [(by, value, session, hour) for by, value, hour in visits])


async def _split_nodes(
    connection: Connection, number: int, new: int, taken: Sequence[Any], left: Sequence[Any]
) -> None:
    """The new session has all that its calls said, their history too; the old one what its own calls said."""
    rows = await connection.execute_fetchall(_NODES, (number,))
    nodes: dict[int, _Node] = {row[0]: (row[0], row[1], row[2], row[3], row[4]) for row in rows}
    copied, gone = await aside(_parted, nodes, taken, left)
    await write_rows(connection, _ADD_NODE, [(new, *node) for node in copied])
    await write_rows(connection, _DELETE_NODE, [(number, key) for key in gone])


def _parted(nodes: Mapping[int, _Node], taken: Sequence[Any], left: Sequence[Any]) -> tuple[list[_Node], list[int]]:
    theirs, mine = _reached(nodes, taken), _reached(nodes, left)
    for key, parent, text, _, _ in nodes.values():
        if text is None:  # another name of its parent
            theirs |= {key} if parent in theirs else set()
            mine |= {key} if parent in mine else set()
    return [nodes[key] for key in theirs], sorted(theirs - mine)


def _reached(nodes: Mapping[int, _Node], calls: Iterable[Any]) -> set[int]:
    """The nodes of all that was said in these calls. Further choices of an answer stand beside it."""
    reached: set[int] = set()
    tips = {row[1] for row in calls}
    for key in [*tips, *(row[2] for row in calls), *(node[0] for node in nodes.values() if node[1] in tips)]:
        while key in nodes and key not in reached:
            reached.add(key)
            key = nodes[key][1]
    return reached


async def _numbers(connection: Connection, session: str) -> list[int]:
    return [row[0] for row in await connection.execute_fetchall(_NUMBERS, (session,))]


def _calls(rows: Iterable[Any]) -> list[Began | Ended]:
    calls = [Ended(*row[3:]) for row in rows]
    return [
        Began(
            call.session,
            call.agent,
            call.user,
            call.conversation,
            call.model,
            call.tags,
            call.client_key,
            call.received_at,
        )
        if call.status == "running"
        else call
        for call in calls
    ]


def _hours(rows: Iterable[Any]) -> set[_Visit]:
    ended = [call for call in _calls(rows) if isinstance(call, Ended)]
    return {(by, value, hour) for by, value, _, hour in visit_rows(ended)}


def _sums(calls: Iterable[Ended]) -> list[int]:
    """What these calls add to their session, in the order of ADD_TO_SESSION up to the names."""
    sums = [0] * 8
    for call in calls:
        prompt, completion = call.input or 0, call.output or 0
        figures = (
            int(call.answered),
            int(not call.answered),
            prompt,
            completion,
            prompt + completion,
            call.cached or 0,
            call.cost or 0,
            int(call.usage_source is not None and call.cost is None),
        )
        sums = [one + other for one, other in zip(sums, figures, strict=True)]
    return sums
