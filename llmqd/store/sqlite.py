"""The ledger in SQLite: one connection that follows the journal, others that only read."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import quote

import aiosqlite

from llmqd.errors import StoreError
from llmqd.store import rolling, spending
from llmqd.store import statements as sql
from llmqd.store.answering import Answering
from llmqd.store.applying import Applying
from llmqd.store.backend import Damaged, Unacceptable, Unavailable
from llmqd.store.connection import write_rows
from llmqd.store.conversations import Conversations
from llmqd.store.database_file import check_file, found_aside, identity, set_aside
from llmqd.store.entries import Entry
from llmqd.store.fetching import fetched
from llmqd.store.migrating import migrate
from llmqd.store.position import Position
from llmqd.store.retention import Terms
from llmqd.store.tidying import Tidied, Tidying
from llmqd.store.working import Direct, transaction, within

_READERS = 2
_CACHE_KIB = 16 * 1024
"""Of the connection that writes: what a large batch changes, keys by digest all over their index, should fit."""
_SESSIONS_PER_CALL = 10
"""Sessions kept in memory for each call kept there: totals are small and outlive the calls."""
_TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}
"""Failures that leave the connection as good as it was."""
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another program holds it locked; find it and end its transaction",
    sqlite3.SQLITE_LOCKED: "another program holds it locked; find it and end its transaction",
    sqlite3.SQLITE_FULL: "free space on its disk",
    sqlite3.SQLITE_READONLY: "check its permissions and those of its directory",
    sqlite3.SQLITE_CANTOPEN: "check its path and its permissions",
    sqlite3.SQLITE_IOERR: "check its disk and the space left on it",
}
"""What the operator can do, by SQLite's result code."""
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SQLite(Answering):
    """A backend on one SQLite file in WAL mode; with `path` None, in memory and keeping `keep` calls at most.

    A statement that meets a lock waits `busy_timeout` seconds, in its own thread. A question that is not answered
    within `query_timeout` seconds is given up; None: never. What is no database at all is taken for a damaged one where
    the place is llmqd's own (`owned`), and for somebody else's file where it is not. `terms` say for how long and up
    to which size things are kept; without, all is.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        keep: int | None = None,
        busy_timeout: float = 2.0,
        query_timeout: float | None = None,
        terms: Terms | None = None,
        owned: bool = True,
    ) -> None:
        self._owned = owned
        self._damaged: Damaged | None = None
        self._aside = [] if path is None else found_aside(path)
        self._path = path
        self._terms = terms or Terms()
        self._tidying = Tidying(self._terms, perf_counter)
        self._applying = Applying()
        self.conversations = Conversations(self.ask)
        self._keep = keep
        self._busy_timeout = busy_timeout
        self._query_timeout = query_timeout
        self._journal = ""
        self._writer: aiosqlite.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._readers: list[aiosqlite.Connection] = []
        self._free = asyncio.Semaphore(_READERS if path else 1)
        # In memory there is one connection only: a question must not see half a transaction.
        self._whole = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<SQLite {self._path or 'in memory'}, {'open' if self._writer else 'closed'}>"

    async def open(self, journal: str) -> Position | None:
        """Connect and migrate; see Backend.open."""
        self._journal = journal
        if self._path is not None:
            check_file(self._path)
        with _translated(self._path, foreign=not self._owned):
            if self._writer is None:
                self._writer = await self._connect()
                self._file = identity(self._path)
            [*found] = await self._writer.execute_fetchall(sql.GET_META, ("journal",))
            if not found or found[0][0] != journal:
                return None
            [(position,)] = await self._writer.execute_fetchall(sql.GET_META, ("position",))
            return Position.parse(position)

    async def _connect(self) -> aiosqlite.Connection:
        connection = await _connection(self._path or ":memory:", timeout=self._busy_timeout)
        try:
            if self._path is not None:
                await migrate_in_wal(connection, self._path, self._terms.wal)
            else:
                await migrate(connection, "in memory")
            await rolling.prepare(connection)
            await rolling.catch_up(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def close(self) -> None:
        """Disconnect; the last connection to close folds the WAL into the database."""
        connections = [*self._readers, *([] if self._writer is None else [self._writer])]
        self._readers.clear()
        self._writer = self._file = None
        self._applying.rolled_back()
        self._tidying.reopened()
        for connection in connections:
            with _translated(self._path):
                await connection.close()

    async def set_aside(self, now: float) -> str | None:
        """See Backend.set_aside."""
        self._damaged = None
        if self._path is None:
            return None
        try:
            aside = await asyncio.to_thread(set_aside, self._path, now)
        except OSError as error:
            raise Unavailable(
                f"the damaged database {self._path} cannot be set aside: {error.strerror}", reopen=True
            ) from error
        self._aside.append(aside)
        return str(aside)

    def aside(self) -> list[str]:
        """See Backend.aside."""
        self._aside = [path for path in self._aside if path.exists()]
        return [str(path) for path in self._aside]

    async def apply(self, entries: Sequence[Entry], position: Position, *, durable: bool) -> None:
        """One transaction; see Backend.apply."""
        with _translated(self._path):
            if self._damaged is not None:
                raise self._damaged  # a question has met it
            if self._writer is None:
                raise Unavailable(f"the database {self._path} is not open", reopen=True)
            if identity(self._path) != self._file:
                # SQLite itself would go on writing to the file that no longer has a name.
                raise Unavailable(f"the database {self._path} was moved or deleted; it is opened anew", reopen=True)
            try:
                async with self._whole:
                    await within(self._writer, lambda direct: self._apply(direct, entries, position, durable))
            except BaseException:
                self._applying.rolled_back()
                raise

    async def _apply(self, connection: Direct, entries: Sequence[Entry], position: Position, durable: bool) -> None:
        async with _transaction(connection, durable=durable):
            await self._applying.apply(connection, entries)
            await self._trim(connection)
            meta = [("journal", self._journal), ("position", str(position))]
            await write_rows(connection, sql.SET_META, meta)

    async def tidy(self, now: float) -> Tidied:
        """One step; see Backend.tidy."""
        with _translated(self._path):
            if self._writer is None:
                raise Unavailable(f"the database {self._path} is not open", reopen=True)
            async with self._whole:
                return await within(self._writer, lambda direct: self._tidying.step(direct, now))

    async def _trim(self, connection: Direct) -> None:
        if self._keep is not None:
            await connection.execute_fetchall(sql.TRIM_CALLS, (self._keep,))
            await connection.execute_fetchall(sql.TRIM_SESSIONS, (self._keep * _SESSIONS_PER_CALL,))
            await connection.execute_fetchall(spending.TRIM_SESSIONS)
            await rolling.trim(connection, self._keep)

    async def ask(self, statement: str, *values: Any) -> list[Mapping[str, Any]]:
        """The rows that a statement reads; see Backend.ask."""
        with self._noticing_damage(), _translated(self._path):
            try:
                async with asyncio.timeout(self._query_timeout), self._reader() as connection:
                    return await fetched(connection, statement, values)
            except TimeoutError:
                limit = f"{self._query_timeout:g} s ([store] query_timeout)"
                raise Unavailable(f"the answer was not found within {limit}: ask for less", reopen=False) from None

    @contextmanager
    def _noticing_damage(self) -> Iterator[None]:
        try:
            yield
        except Damaged as damaged:
            self._damaged = damaged
            raise

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[aiosqlite.Connection]:
        if self._path is None:
            if self._writer is None:
                raise Unavailable("the database in memory is closed", reopen=False)
            async with self._whole:
                yield self._writer
            return
        async with self._free:
            file = self._file
            connection = self._readers.pop() if self._readers else await self._connect_reader(self._path)
            sound = True
            try:
                yield connection
            except sqlite3.Error:
                sound = False
                raise
            finally:
                # Closed or opened anew meanwhile: then this connection belongs to the past.
                if sound and self._writer is not None and self._file == file:
                    self._readers.append(connection)
                else:
                    await connection.close()

    async def _connect_reader(self, path: Path) -> aiosqlite.Connection:
        if not path.exists():
            raise Unavailable(f"the database {path} does not exist yet", reopen=False)
        connection = await _connection(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=self._busy_timeout)
        try:
            await connection.execute_fetchall("PRAGMA query_only = 1")
        except BaseException:
            await connection.close()
            raise
        return connection


def _connection(database: Path | str, *, timeout: float, uri: bool = False) -> aiosqlite.Connection:
    """A connection to be awaited. Its thread cannot keep a process alive that is ending because of a bug elsewhere."""
    connection = aiosqlite.connect(database, uri=uri, isolation_level=None, timeout=timeout)
    connection._thread.daemon = True
    return connection


async def migrate_in_wal(connection: aiosqlite.Connection, path: Path, wal: int = 64 << 20) -> None:
    """Set up the one connection that writes: migrations, then WAL (of `wal` bytes), where a commit waits for no fsync.

    What a power cut takes back from the WAL is in the journal still, as its segments go only after a synced commit.
    Raises StoreError where the file system cannot share memory between connections.
    """
    await migrate(connection, path)
    [(mode,)] = await connection.execute_fetchall("PRAGMA journal_mode = WAL")
    if mode != "wal":
        raise StoreError(f"the database {path} cannot use WAL (its mode stays {mode!r}): put it on a local file system")
    await connection.execute_fetchall("PRAGMA synchronous = NORMAL")
    # Some builds of SQLite write every page once more that becomes free, only to blank it: twice the log and the time.
    await connection.execute_fetchall("PRAGMA secure_delete = FAST")
    await connection.execute_fetchall(f"PRAGMA journal_size_limit = {wal}")
    [(page_size,)] = await connection.execute_fetchall("PRAGMA page_size")
    await connection.execute_fetchall(f"PRAGMA wal_autocheckpoint = {max(wal // page_size // 4, 1)}")
    await connection.execute_fetchall(f"PRAGMA cache_size = -{_CACHE_KIB}")


@asynccontextmanager
async def _transaction(connection: Direct, *, durable: bool) -> AsyncIterator[None]:
    if durable:
        await connection.execute_fetchall("PRAGMA synchronous = FULL")
    try:
        async with transaction(connection):
            yield
    finally:
        if durable:
            await connection.execute_fetchall("PRAGMA synchronous = NORMAL")


@contextmanager
def _translated(path: Path | None, *, foreign: bool = False) -> Iterator[None]:
    """Turn SQLite's errors into the ledger's own, at the one border between them."""
    where = f"the database {path or 'in memory'}"
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, OverflowError, TypeError) as error:
        raise Unacceptable(f"{where} refuses a record: {error}") from error
    except sqlite3.Error as error:
        if isinstance(error, sqlite3.ProgrammingError) and "binding" in str(error):
            raise Unacceptable(f"{where} refuses a record: {error}") from error
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if foreign and code == sqlite3.SQLITE_NOTADB:
            raise StoreError(f"{path} is not a database: name another file in [store] path") from error
        if code in _DAMAGE and path is not None:
            raise Damaged(f"{where} is damaged: {error}") from error
        advice = _ADVICE.get(code, "see the log of the system")
        raise Unavailable(f"{where} cannot be used: {error}: {advice}", reopen=code not in _TRANSIENT) from error
    except ValueError as error:
        # How aiosqlite says that a connection was closed meanwhile.
        raise Unavailable(f"{where} cannot be used: {error}", reopen=True) from error
