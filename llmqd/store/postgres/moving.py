"""Takes over a ledger that was in SQLite: everything in it, once, and on from where it was stopped."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from llmqd.errors import StoreError
from llmqd.store import history, regrouping, rollups, schema, spending, traits
from llmqd.store import statements as sql
from llmqd.store.applying import Applying
from llmqd.store.columns import CALL_COLUMNS, OUTCOME_COLUMNS, record
from llmqd.store.connection import Connection, write_rows
from llmqd.store.entries import Closed, decode, encode_closed
from llmqd.store.packing import Unpacking
from llmqd.store.postgres.backend import PostgreSQL
from llmqd.store.postgres.connecting import translated
from llmqd.store.postgres.dialect import position_of, run_of
from llmqd.store.postgres.partitions import DAY, day_of_call, first_text
from llmqd.store.spoken import SPOKEN_COLUMNS, Spoken
from llmqd.store.texts import Texts

_AT_ONCE = 2000
_CALL = (*CALL_COLUMNS, *OUTCOME_COLUMNS, *SPOKEN_COLUMNS)
_INSERT = f"INSERT INTO calls ({', '.join(_CALL)}) VALUES ({', '.join('?' * len(_CALL))}) ON CONFLICT (id) DO NOTHING"
_KNOWN_MOVE = "SELECT 1 FROM moves WHERE session_id = ? AND into_id = ? AND first = ? AND at = ?"
_KEEP_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING"

_SESSION_ROWS = ", ".join(regrouping.SESSION_COLUMNS)
_USAGE_ROWS = ", ".join(rollups.COLUMNS)
_CALL_ROWS = ", ".join(_CALL)


@dataclass(frozen=True, slots=True)
class _Part:
    """A table, read by its `key` (columns) from a place on. `sums` are added up, so that they are taken once only; the
    others know by themselves what is there already."""

    name: str
    columns: str
    key: tuple[str, ...]
    sums: bool
    source: str = ""

    def count(self) -> str:
        return f"SELECT count(*) FROM {self.name}"

    def following(self, after: Sequence[Any] | None) -> str:
        order = ", ".join(self.key)
        where = f"WHERE ({order}) > ({', '.join('?' * len(self.key))})" if after is not None else ""
        return (
            f"SELECT {order}, {self.columns} FROM {self.source or self.name} {where} ORDER BY {order} LIMIT {_AT_ONCE}"
        )


_NODES = "nodes LEFT JOIN session_numbers ON number = session"
_MARKS = "marks JOIN session_numbers ON number = session"
_PARTS = (
    _Part("sessions", _SESSION_ROWS, ("session_id",), sums=True),
    _Part("usage", _USAGE_ROWS, ("by", "step", "start", "value", "part"), sums=True),
    _Part("facets", "session_id, kind, value", ("session_id", "kind", "value"), sums=True),
    _Part("visits", "by, value, session_id, hour", ("by", "value", "session_id", "hour"), sums=True),
    _Part("spending", "slot, by, value, calls, tokens, cost_pico, last", ("slot", "by", "value"), sums=True),
    _Part(
        "lane_usage",
        "slot, lane, model, last_sent, calls, input_tokens, output_tokens, cached_tokens",
        ("slot", "lane", "model"),
        sums=True,
    ),
    _Part("moves", "session_id, into_id, first, until, at", ("id",), sums=False),
    _Part("texts", "texts.key, at, content", ("id",), sums=False),
    _Part("nodes", "session_id, parent, text, at, place", ("session", "key"), sums=False, source=_NODES),
    _Part("marks", "mark, session_id, at", ("id",), sums=False, source=_MARKS),
    _Part("calls", _CALL_ROWS, ("id",), sums=False),
)
_ADDED = {
    "sessions": regrouping.MERGE_SESSION,
    "usage": rollups.ADD_USAGE,
    "facets": traits.ADD_FACET,
    "visits": traits.ADD_VISIT,
    "spending": spending.ADD,
    "lane_usage": history.ADD_LANE_USAGE,
}


@dataclass(frozen=True, slots=True)
class Moved:
    """What has come of it. `whole` is False where sums were there already, so that only calls were added that were not.

    `calls` counts those that were looked at.
    """

    calls: int
    whole: bool

    def __str__(self) -> str:
        if self.whole:
            return f"the ledger was taken over, with {self.calls} calls"
        return f"{self.calls} calls were looked at, and those were added that were not there"


class Source:
    """A ledger in SQLite, read without changing it. Every method raises StoreError where that cannot be done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._opened() as connection:
            meta = dict(connection.execute("SELECT key, value FROM meta"))
            self.dictionaries = dict(connection.execute("SELECT id, content FROM dictionaries"))
        if {"rolled_up_to", "words_from"} & meta.keys():
            raise StoreError(
                f"{path} is still being brought up to date: start llmqd on it until its log says it is ready"
            )
        self.journal = meta.get("journal") or "import"
        self.position = meta.get("position")
        self.run = meta.get("run")
        self.notes = [(key, value) for key, value in meta.items() if key.startswith("note:")]

    def __repr__(self) -> str:
        return f"<Source {self._path}>"

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        if not self._path.is_file():
            raise StoreError(f"there is no ledger at {self._path}")
        try:
            with closing(sqlite3.connect(f"file:{quote(str(self._path))}?mode=ro", uri=True)) as connection:
                (owner,) = connection.execute("PRAGMA application_id").fetchone()
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if owner != schema.APPLICATION_ID or version != len(schema.MIGRATIONS):
                    raise StoreError(
                        f"{self._path} is no ledger of this version of llmqd (its schema is {version}, not"
                        f" {len(schema.MIGRATIONS)}): start this llmqd on it once, which brings it up to date"
                    )
                yield connection
        except sqlite3.Error as error:
            raise StoreError(f"the ledger {self._path} cannot be read: {error}") from error

    def count(self) -> int:
        """How many rows there are in all."""
        with self._opened() as connection:
            return sum(connection.execute(part.count()).fetchone()[0] for part in _PARTS)

    def rows(self, part: _Part, after: Sequence[Any] | None) -> list[tuple[Any, ...]]:
        """The next rows of a table, each with its key before it."""
        with self._opened() as connection:
            return connection.execute(part.following(after), after or ()).fetchall()


class Moving:
    """Writes what `source` has into `target`, which is open for the journal of the source.

    As the position in that journal is taken over as well, the daemon goes on where the old database ends. Where it has
    begun to write already, only calls are added that are not there.
    """

    def __init__(self, source: Source, target: PostgreSQL) -> None:
        self._source = source
        self._target = target
        self._applying = Applying(run_of(source.journal), first_text)
        self._name = f"note:import sqlite {source.journal}"
        self._unpacking = Unpacking(source.dictionaries)

    async def run(self, progress: Callable[[int], None]) -> Moved:
        """Everything; `progress` hears of rows that are done. Raises StoreError."""
        whole = await self._begin()
        calls = 0
        for part in _PARTS:
            if part.sums and not whole:
                continue
            while rows := await self._step(part, whole=whole):
                progress(rows)
                calls += rows if part.name == "calls" else 0
        with translated(self._target.address):
            async with self._target.transaction(durable=True) as connection:
                await write_rows(connection, sql.SET_META, [(self._name, "done")])
                await connection.execute_fetchall(_FORGET, (f"{self._name} %",))
        return Moved(calls, whole)

    async def _begin(self) -> bool:
        """Whether sums are to be taken over: the first time, and as long as that has not come to its end."""
        source = self._source
        with translated(self._target.address):
            async with self._target.transaction() as connection:
                state = await _meta(connection, self._name)
                if state is None:
                    begun = await _meta(connection, position_of(source.journal)) is not None
                    state = "calls" if begun else "whole"
                    rows = [(self._name, state), *source.notes]
                    if not begun and source.position is not None:
                        rows.append((position_of(source.journal), source.position))
                    if not begun and source.run is not None:
                        rows.append((run_of(source.journal), source.run))
                    await write_rows(connection, _KEEP_META, rows)
        return state == "whole"

    async def _step(self, part: _Part, *, whole: bool) -> int:
        """The next rows of a table, and how far that went, in one transaction; how many."""
        name = f"{self._name} {part.name}"
        with translated(self._target.address):
            async with self._target.transaction() as connection:
                place = await _meta(connection, name)
                after = None if place is None else orjson.loads(place)
                rows = await asyncio.to_thread(self._source.rows, part, after)
                if not rows:
                    return 0
                width = len(part.key)
                rows = _of_one_day(part, rows)
                await self._write(connection, part, rows, [row[width:] for row in rows], whole=whole)
                await write_rows(connection, sql.SET_META, [(name, orjson.dumps(rows[-1][:width]).decode())])
        return len(rows)

    async def _write(
        self, connection: Connection, part: _Part, keyed: Sequence[Any], rows: Sequence[Any], *, whole: bool
    ) -> None:
        match part.name:
            case "moves":
                for row in rows:
                    if not await connection.execute_fetchall(_KNOWN_MOVE, (row[0], row[1], row[2], row[4])):
                        await connection.execute_fetchall(regrouping.ADD_MOVE, row)
            case "texts":
                await self._target.make_room((), {max(row[1] // DAY, 0) for row in rows})
                texts = [_said(at, texts={key: plain}) for key, at, packed in rows if (plain := self._plain(packed))]
                await (await self._texts(connection)).write(connection, texts)
            case "nodes":
                nodes = [
                    _said(at / 1e6, session=session, nodes=((key, parent, text, place),))
                    for (_, key, session, parent, text, at, place) in keyed
                ]
                await (await self._texts(connection)).write(connection, nodes)
            case "marks":
                marks = [_said(at, marks=((mark, session, at),)) for mark, session, at in rows]
                await (await self._texts(connection)).write(connection, marks)
            case "calls":
                await self._target.make_room({day for row in rows if (day := day_of_call(row[0])) is not None}, ())
                if whole:
                    await write_rows(connection, _INSERT, rows)
                else:
                    entries = await asyncio.to_thread(_ended, rows)
                    await self._applying.apply(connection, entries)
            case _:
                await write_rows(connection, _ADDED[part.name], rows)

    async def _texts(self, connection: Connection) -> Texts:
        # Another daemon may have made a dictionary since: each transaction looks for itself.
        return await Texts.of(connection, first_text)

    def _plain(self, packed: bytes) -> bytes | None:
        return self._unpacking.unpack(packed)


_FORGET = "DELETE FROM meta WHERE key LIKE ?"


def _of_one_day(part: _Part, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Texts as far as they are of the day of the first: they are put down day by day."""
    if part.name != "texts":
        return rows
    day = rows[0][2] // DAY
    return rows[: next((at for at, row in enumerate(rows) if row[2] // DAY != day), len(rows))]


def _said(
    at: float, *, session: str | None = None, nodes: Any = (), texts: dict[int, bytes] | None = None, marks: Any = ()
) -> Spoken:
    return Spoken(at, session, (None, None, None, None), nodes, texts or {}, marks)


def _ended(rows: Sequence[Sequence[Any]]) -> list[Closed]:
    """Calls as the journal would tell of them; those that run are left to it."""
    entries = []
    for row in rows:
        found = record(dict(zip(_CALL, row, strict=True)))
        entry = decode(encode_closed(found)) if found.outcome.status != "running" else None
        if isinstance(entry, Closed):
            width = len(SPOKEN_COLUMNS)
            entries.append(msgspec.structs.replace(entry, row=(*entry.row[:-width], *row[-width:])))
    return entries


async def _meta(connection: Connection, name: str) -> str | None:
    for (value,) in await connection.execute_fetchall(sql.GET_META, (name,)):
        return str(value)
    return None
