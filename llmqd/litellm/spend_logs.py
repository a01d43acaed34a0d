"""Reads the table LiteLLM_SpendLogs page by page, whatever columns its version has; never writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from llmqd.config.dsn import parse
from llmqd.errors import SourceError
from llmqd.litellm.key import Key, key_of

TABLE = "LiteLLM_SpendLogs"
_CONNECT, _ANSWER = 10.0, 60.0
"""Seconds that the database may take."""

_WANTED = (
    *("request_id", "startTime", "endTime", "completionStartTime", "call_type", "api_key", "spend", "prompt_tokens"),
    *("completion_tokens", "model", "model_group", "custom_llm_provider", "user", "end_user", "metadata", "cache_hit"),
    *("request_tags", "messages", "response", "session_id", "status", "agent_id", "proxy_server_request"),
)
_COLUMNS = """
SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2
"""
_SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"
_DATABASE = "SELECT current_database()"
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError)


class SpendLogs:
    """One connection to a LiteLLM database. Every question raises SourceError where it cannot be answered."""

    def __init__(
        self, connection: asyncpg.Connection[Any], table: str, types: Mapping[str, str], identity: str
    ) -> None:
        self._connection = connection
        self._table = table
        self._zoned = types["startTime"] == "timestamp with time zone"
        self._columns = ", ".join(f'"{name}"' for name in _WANTED if name in types)
        self.identity = identity
        """Names this table among all of the world, however it is reached."""

    def __repr__(self) -> str:
        return f"<SpendLogs {self._table} in {self.identity}>"

    @classmethod
    @asynccontextmanager
    async def connect(cls, dsn: str) -> AsyncIterator[SpendLogs]:
        """Opens the table. Raises SourceError where there is none."""
        try:
            address, schema = parse(dsn)
            connection = await asyncpg.connect(
                address,
                timeout=_CONNECT,
                command_timeout=_ANSWER,
                statement_cache_size=0,  # pgbouncer gives each statement another server
                server_settings={"application_name": "llmqd"},
            )
        except (*_FAILURES, TimeoutError) as error:
            raise SourceError(f"LiteLLM's database cannot be reached: {_said(error)}") from None
        try:
            yield await cls._opened(connection, schema, urlsplit(address).netloc.rpartition("@")[2])
        finally:
            try:
                await connection.close(timeout=_CONNECT)
            except (*_FAILURES, TimeoutError):
                connection.terminate()

    @classmethod
    async def _opened(cls, connection: asyncpg.Connection[Any], schema: str, place: str) -> SpendLogs:
        with _translated():
            types = dict(map(tuple, await connection.fetch(_COLUMNS, schema, TABLE)))
            database = await connection.fetchval(_DATABASE)
            try:
                system = await connection.fetchval(_SYSTEM)
            except asyncpg.PostgresError:  # not everybody may ask that everywhere
                system = place
        lacking = {"request_id", "startTime"}.difference(types)
        if lacking:
            why = f"its table lacks {', '.join(sorted(lacking))}" if types else f'there is no table "{TABLE}" in it'
            raise SourceError(f'the database "{database}", schema "{schema}", is none of LiteLLM\'s: {why}')
        quoted = schema.replace('"', '""')
        return cls(connection, f'"{quoted}"."{TABLE}"', types, f"{system}/{database}/{schema}")

    async def count(self, after: Key) -> int:
        """How many rows come after a place."""
        statement = f'SELECT count(*) FROM {self._table} WHERE ("startTime", request_id) > ($1, $2)'
        with _translated():
            return int(await self._connection.fetchval(statement, self._moment(after.at), after.request_id))

    async def keys(self, after: Key, limit: int) -> list[Key]:
        """The next rows, in their order."""
        statement = f"""
            SELECT "startTime", request_id FROM {self._table} WHERE ("startTime", request_id) > ($1, $2)
            ORDER BY "startTime", request_id LIMIT $3
        """
        with _translated():
            rows = await self._connection.fetch(statement, self._moment(after.at), after.request_id, limit)
        return [key_of(row) for row in rows]

    async def rows(self, request_ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """These rows, by the names of their columns, the earliest first."""
        statement = f"""
            SELECT {self._columns} FROM {self._table} WHERE request_id = ANY($1::text[])
            ORDER BY "startTime", request_id
        """
        with _translated():
            return [dict(row) for row in await self._connection.fetch(statement, list(request_ids))]

    def _moment(self, at: datetime) -> datetime:
        """As the column has it: without a zone they are in UTC."""
        return at if self._zoned else at.astimezone(UTC).replace(tzinfo=None)


@contextmanager
def _translated() -> Iterator[None]:
    """Failures of the driver as SourceError."""
    try:
        yield
    except TimeoutError:
        raise SourceError(f"LiteLLM's database has not answered within {_ANSWER:g} s") from None
    except _FAILURES as error:
        raise SourceError(f"LiteLLM's database cannot be read: {_said(error)}") from None


def _said(error: BaseException) -> str:
    """What went wrong, in one line; the driver's texts hold no password."""
    if isinstance(error, TimeoutError):
        return f"no answer within {_CONNECT:g} s"
    return str(error).partition("\n")[0] or type(error).__name__
