"""A ledger in PostgreSQL many times over, made within the server: for questions to more calls than are waited for.

Every copy has calls, sessions and what they are found by under names of its own, and roll-ups say so many times as
much. Indices are dropped meanwhile and built at the end; texts are there once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import asyncpg

from llmqd.store.histogram import packed, unpacked
from llmqd.store.rollups import SUMS

_AT_ONCE = 20
"""Copies that are made in one transaction."""
_OF_SESSIONS = ("sessions", "facets", "visits")
_INDICES = """
SELECT conname, coalesce(conrelid, indrelid)::regclass::text AS table, indexrelid::regclass::text AS name,
    replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') AS index, pg_get_constraintdef(con.oid) AS key
FROM pg_index LEFT JOIN pg_constraint AS con ON conindid = indexrelid AND contype = 'p'
WHERE indrelid = ANY($1::regclass[])
"""
_COLUMNS = """
SELECT column_name FROM information_schema.columns WHERE table_name = $1 AND table_schema = current_schema()
"""
_USAGE_KEY = ("by", "step", "start", "value", "part")


async def multiply(dsn: str, times: int) -> None:
    """Makes the ledger of a database that nobody uses so many times as large."""
    connection = await _connected(dsn)
    for table in ("calls", *_OF_SESSIONS):
        await connection.execute(f"CREATE UNLOGGED TABLE one_{table} AS SELECT * FROM {table}")
    indices = await connection.fetch(_INDICES, ["calls", *_OF_SESSIONS])
    for index in indices:
        await connection.execute(
            f"DROP INDEX {index['name']}"
            if index["key"] is None
            else f"ALTER TABLE {index['table']} DROP CONSTRAINT {index['conname']}"
        )
    await asyncio.gather(_copied(dsn, ["calls"], times), _copied(dsn, _OF_SESSIONS, times))
    _say("copies made")
    for index in sorted(indices, key=lambda index: index["key"] is None):
        if index["key"] is None:
            await connection.execute(index["index"])
        else:
            await connection.execute(f"ALTER TABLE {index['table']} ADD CONSTRAINT {index['conname']} {index['key']}")
    for table in ("calls", *_OF_SESSIONS):
        await connection.execute(f"DROP TABLE one_{table}")
    _say("indices built")
    await _rolled_up(connection, times)
    await connection.execute("VACUUM ANALYZE")
    _say("vacuumed and analysed")
    await connection.close()


async def _connected(dsn: str) -> asyncpg.Connection[Any]:
    # As if it were what a primary tells: triggers have run where the rows come from.
    settings = {"synchronous_commit": "off", "session_replication_role": "replica", "maintenance_work_mem": "1GB"}
    return await asyncpg.connect(dsn, timeout=60, server_settings=settings)


async def _copied(dsn: str, tables: Sequence[str], times: int) -> None:
    connection = await _connected(dsn)
    new = {
        "id": "left(id, 10) || left(md5(id || copy), 16)",
        "session_id": "session_id || '-' || copy",
        "provider_id": "provider_id || '-' || copy",
    }
    for table in tables:
        names = [row[0] for row in await connection.fetch(_COLUMNS, table)]
        copies = (
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(new.get(name, name) for name in names)}"
            f" FROM generate_series($1::int, $2::int) AS copy, one_{table}"
        )
        for first in range(1, times, _AT_ONCE):
            await connection.execute(copies, first, min(first + _AT_ONCE, times) - 1)
    await connection.close()


async def _rolled_up(connection: asyncpg.Connection[Any], times: int) -> None:
    """So many times as much in each roll-up."""

    def more(data: bytes) -> bytes:
        return packed({bucket: count * times for bucket, count in unpacked(data).items()})

    key = ", ".join(_USAGE_KEY)
    rows = await connection.fetch(f"SELECT {key}, latency, ttft FROM usage")
    await connection.execute(f"CREATE TEMP TABLE histograms AS SELECT {key}, latency, ttft FROM usage LIMIT 0")
    await connection.copy_records_to_table(
        "histograms", records=[(*row[:-2], more(row["latency"]), more(row["ttft"])) for row in rows]
    )
    sums = ", ".join(f"{name} = {name} * {times}" for name in SUMS)
    await connection.execute(
        f"UPDATE usage SET {sums}, latency = h.latency, ttft = h.ttft"
        f" FROM histograms AS h WHERE {' AND '.join(f'usage.{name} = h.{name}' for name in _USAGE_KEY)}"
    )
    await connection.execute(f"UPDATE returns SET sessions = sessions * {times}")
    for table, names in (("spending", ("calls", "tokens")), ("lane_usage", ("calls", "input_tokens", "output_tokens"))):
        await connection.execute(f"UPDATE {table} SET {', '.join(f'{name} = {name} * {times}' for name in names)}")


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)
