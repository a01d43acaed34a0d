"""The ledger in PostgreSQL: one connection that follows the journal, others that only read.

Several daemons may write into one database, each what its own journal says: their transactions take turns, and what is
remembered of a journal has its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import asyncpg

from llmqd.store import statements as sql
from llmqd.store.answering import Answering
from llmqd.store.applying import Applying
from llmqd.store.backend import Unavailable
from llmqd.store.connection import write_rows
from llmqd.store.conversations import Conversations
from llmqd.store.entries import Entry
from llmqd.store.position import Position
from llmqd.store.postgres.connecting import Address, Writing, fetched, translated
from llmqd.store.postgres.dialect import Dialect, position_of, run_of
from llmqd.store.postgres.migrating import LOCK, migrate
from llmqd.store.postgres.partitions import Cut, Partition, days_of, first_text
from llmqd.store.postgres.tidying import Tidying, make, read_partitions
from llmqd.store.retention import Terms
from llmqd.store.tidying import Tidied

_APPLY = 45.0
"""Seconds that a batch may take in all, the turns of other daemons included."""
_ROLL_BACK = 5.0
_ENTER = f"""
SELECT set_config('llmqd.journal', $1, true), set_config('synchronous_commit', $2, true),
    pg_advisory_xact_lock({LOCK}, hashtext(current_schema()))
"""
_NEWEST_DICTIONARY = "SELECT max(id) FROM dictionaries"


class PostgreSQL(Answering):
    """A backend on the database that `dsn` names, or on the schema in it (`?schema=`).

    A question that is not answered within `query_timeout` seconds is given up; None: never. `terms` say for how long
    and up to which size things are kept; without, all is.
    """

    def __init__(self, dsn: str, *, query_timeout: float | None = None, terms: Terms | None = None) -> None:
        self.address = Address(dsn)
        self._query_timeout = query_timeout
        terms = terms or Terms()
        self._cut = Cut.of(terms)
        self._tidying = Tidying(terms, self._cut, perf_counter)
        self.conversations = Conversations(self.ask)
        self._journal = ""
        self._dialect = Dialect("")
        self._applying = Applying()
        self._dictionary: int | None = None
        self._partitions: list[Partition] = []
        self._writer: asyncpg.Connection[Any] | None = None
        self._readers: asyncpg.Pool[Any] | None = None
        self._making = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<PostgreSQL {self.address.name}, {'open' if self._writer else 'closed'}>"

    async def open(self, journal: str) -> Position | None:
        """Connect and migrate; see Backend.open."""
        if journal != self._journal:
            self._journal, self._dialect = journal, Dialect(journal)
            self._applying = Applying(run_of(journal), first_text)
        with translated(self.address):
            if self._writer is None:
                self._writer = await self._connect()
            [*found] = await Writing(self._writer, self._dialect).execute_fetchall(
                sql.GET_META, (position_of(journal),)
            )
        return Position.parse(found[0][0]) if found else None

    async def _connect(self) -> asyncpg.Connection[Any]:
        connection = await self.address.connect()
        try:
            await migrate(connection, self.address.name)
            self._partitions = await read_partitions(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def close(self) -> None:
        """Disconnect."""
        writer, readers = self._writer, self._readers
        self._writer = self._readers = None
        self._applying.rolled_back()
        self._tidying.reopened()
        for connection in (writer, readers):
            if connection is not None:
                try:
                    async with asyncio.timeout(1.0):
                        await connection.close()
                except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                    connection.terminate()

    async def set_aside(self, now: float) -> str | None:
        """A server keeps its own files in order."""
        return None

    def aside(self) -> list[str]:
        """None ever."""
        return []

    async def apply(self, entries: Sequence[Entry], position: Position, *, durable: bool) -> None:
        """One transaction; see Backend.apply."""
        with translated(self.address):
            try:
                async with asyncio.timeout(_APPLY), self.transaction(durable=durable) as connection:
                    if self._dictionary != (newest := await self._newest_dictionary()):
                        self._dictionary = newest
                        self._applying.rolled_back()  # another daemon has made one, and its number is taken
                    await self.make_room(*days_of(entries))
                    await self._applying.apply(connection, entries)
                    await write_rows(connection, sql.SET_META, [(position_of(self._journal), str(position))])
            except BaseException:
                self._applying.rolled_back()
                raise

    async def _newest_dictionary(self) -> int | None:
        found: int | None = await self._connected().fetchval(_NEWEST_DICTIONARY)
        return found

    async def make_room(self, calls: Iterable[int], texts: Iterable[int]) -> None:
        """Makes the partitions that are needed for calls and texts of these days, within a transaction."""
        calls, texts = set(calls), set(texts)
        if self._cut.lacking(self._partitions, calls, texts):
            # Another daemon may have made them.
            self._partitions = await read_partitions(self._connected())
            made = self._cut.lacking(self._partitions, calls, texts)
            await make(self._connected(), made)

    @asynccontextmanager
    async def transaction(self, *, durable: bool = False) -> AsyncIterator[Writing]:
        """The one transaction that writes at a time. Not durable, what is committed may be taken back by a crash of the
        server, with the position that stands in it: the journal has it still."""
        connection = self._connected()
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.fetch(_ENTER, self._journal, "on" if durable else "off")
            yield Writing(connection, self._dialect)
        except BaseException:
            self._partitions = []
            await _roll_back(connection, transaction)
            raise
        await transaction.commit()

    def _connected(self) -> asyncpg.Connection[Any]:
        if self._writer is None or self._writer.is_closed():
            raise Unavailable(f"the PostgreSQL database {self.address.name} is not connected", reopen=True)
        return self._writer

    async def tidy(self, now: float) -> Tidied:
        """One step; see Backend.tidy."""
        if not self._tidying.due(now):
            return self._tidying.latest
        with translated(self.address):
            async with asyncio.timeout(_APPLY), self.transaction() as connection:
                tidied = await self._tidying.step(self._connected(), connection, now)
        self._partitions = []
        return tidied

    async def ask(self, statement: str, *values: Any) -> list[Mapping[str, Any]]:
        """The rows that a statement reads; see Backend.ask."""
        with translated(self.address):
            try:
                async with asyncio.timeout(self._query_timeout) as bound, (await self._pool()).acquire() as connection:
                    return await fetched(connection, self._dialect, statement, values)
            except TimeoutError:
                if not bound.expired():
                    raise
                limit = f"{self._query_timeout:g} s ([store] query_timeout)"
                raise Unavailable(f"the answer was not found within {limit}: ask for less", reopen=False) from None

    async def _pool(self) -> asyncpg.Pool[Any]:
        async with self._making:
            if self._readers is None:
                self._readers = await self.address.pool()
        return self._readers


async def _roll_back(connection: asyncpg.Connection[Any], transaction: Any) -> None:
    """Ends a transaction that has failed; where even that fails the connection goes, and what failed first is told."""
    try:
        if not connection.is_closed():
            async with asyncio.timeout(_ROLL_BACK):
                await transaction.rollback()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        connection.terminate()
