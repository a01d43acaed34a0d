"""Connections to PostgreSQL: made, given the store's statements, and their failures in the ledger's own words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from llmqd.config.dsn import parse, place_of
from llmqd.store.backend import Unacceptable, Unavailable
from llmqd.store.postgres.dialect import Dialect, Statement

CONNECT = 10.0
"""Seconds that a connection may take to be made."""
_ANSWER = 30.0
"""Seconds that a statement of a batch may take: none reads more than a batch needs."""
_READERS = 4
_GONE = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, ValueError)
_REFUSED = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)
_PASSING = (
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.DiskFullError,
)
"""Failures that leave the connection as good as it was."""
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (asyncpg.InvalidAuthorizationSpecificationError, "check user and password in [store] dsn"),
    (asyncpg.InvalidCatalogNameError, "create the database, or name another in [store] dsn"),
    (asyncpg.InsufficientPrivilegeError, "the user needs CREATE on the schema and owns its tables"),
    (asyncpg.ReadOnlySQLTransactionError, "it is a standby: name the primary in [store] dsn"),
    (asyncpg.InsufficientResourcesError, "see its log, its disk and max_connections"),
    (OSError, "see that it runs, and [store] dsn"),
)


class Address:
    """Where a database is. Shown without user and password."""

    def __init__(self, dsn: str) -> None:
        self._dsn, self._schema = parse(dsn)
        self.name = place_of(dsn)

    def __repr__(self) -> str:
        return f"<Address {self.name}>"

    async def connect(self) -> asyncpg.Connection[Any]:
        """A connection that writes. Raises what `translated` translates."""
        connection = await asyncpg.connect(
            self._dsn, timeout=CONNECT, command_timeout=_ANSWER, server_settings=self._settings()
        )
        try:
            await _prepare(connection)
            if not await connection.fetchval("SELECT current_schema() IS NOT NULL"):
                await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._quoted()}")
        except BaseException:
            connection.terminate()
            raise
        return connection

    def pool(self) -> asyncpg.Pool[Any]:
        """Connections that only read, made when they are needed."""
        settings = self._settings() | {"default_transaction_read_only": "on"}
        return asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=_READERS,
            timeout=CONNECT,
            init=_prepare,
            reset=_leave,
            server_settings=settings,
        )

    def _settings(self) -> dict[str, str]:
        # Compiling costs more than it gains where a question touches many partitions, each a little.
        settings = {"application_name": "llmqd", "jit": "off"}
        if self._schema != "public":
            settings["search_path"] = self._quoted()
        return settings

    def _quoted(self) -> str:
        return '"' + self._schema.replace('"', '""') + '"'


async def _prepare(connection: asyncpg.Connection[Any]) -> None:
    """Sums of whole numbers are `numeric` there, and whole numbers here."""
    await connection.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=int, format="text")


async def _leave(connection: asyncpg.Connection[Any]) -> None:
    """Questions leave nothing behind in a connection that would have to be put in order."""


class Writing:
    """A connection that writes, for the statements that both databases share; see store.connection."""

    def __init__(self, connection: asyncpg.Connection[Any], dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    async def execute_fetchall(self, sql: str, parameters: Iterable[Any] | None = None) -> Iterable[Sequence[Any]]:
        """See Connection.execute_fetchall."""
        statement = self._dialect.of(sql)
        if not statement.sql:
            return []
        return [tuple(row) for row in await self._connection.fetch(statement.sql, *statement.row(parameters or ()))]

    @asynccontextmanager
    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> AsyncIterator[None]:
        """See Connection.executemany."""
        statement = self._dialect.of(sql)
        if statement.columns is not None:
            await self._connection.fetch(statement.columns, *await asyncio.to_thread(_columns, statement, parameters))
        elif statement.sql:
            rows = await asyncio.to_thread(_rows, statement, parameters)
            await self._connection.executemany(statement.sql, rows)
        yield


def _rows(statement: Statement, parameters: Iterable[Iterable[Any]]) -> list[Sequence[Any]]:
    return [statement.row(values) for values in parameters]


def _columns(statement: Statement, parameters: Iterable[Iterable[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*_rows(statement, parameters), strict=True)]


async def fetched(connection: Any, dialect: Dialect, sql: str, values: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The rows that a question reads, by the names of their columns."""
    statement = dialect.of(sql)
    return [dict(row) for row in await connection.fetch(statement.sql, *statement.row(values))]


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Turns the driver's errors into the ledger's own, at the one border between them."""
    where = f"the PostgreSQL database {address.name}"
    try:
        yield
    except _REFUSED as error:
        raise Unacceptable(f"{where} refuses a record: {_said(error)}") from error
    except TimeoutError as error:
        raise Unavailable(f"{where} does not answer", reopen=True) from error
    except (asyncpg.PostgresError, *_GONE) as error:
        advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), "see its log")
        reopen = not isinstance(error, _PASSING)
        raise Unavailable(f"{where} cannot be used: {_said(error)}: {advice}", reopen=reopen) from error


def _said(error: BaseException) -> str:
    """What went wrong, in one line; the driver's texts hold no password."""
    return str(error).partition("\n")[0] or type(error).__name__
