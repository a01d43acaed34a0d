"""`make bench-postgresql`: how long each question to the API takes with 10,000,000 calls in PostgreSQL.

A ledger of 50,000 calls in conversations over 30 days is filled in SQLite, moved to a PostgreSQL server of its own with
its default settings (`llmqd import sqlite`), and multiplied there (`bench/multiplied.py`). Then a daemon is asked every
question over HTTP, `--rounds` times, in turn. It says how many records a second go in, too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import uvloop

from bench.analytics import _once, prepared, questions
from bench.multiplied import multiply
from llmqd.store.entries import decode, encode_closed
from llmqd.store.position import Position
from llmqd.store.postgres.backend import PostgreSQL
from llmqd.store.postgres.moving import Moving, Source
from tests.postgres import server
from tests.store.records import answer, make_record
from tests.under_test import running, upstream_toml

LONGEST = 0.100
"""Seconds that the 95th percentile of every question of analytics may take."""
_FIRST = 50_000
"""Calls that the daemon's own code has recorded."""
_BATCH, _BATCHES = 2000, 10
_WARM_UP = 3


async def _moved(path: Path, dsn: str) -> None:
    source, target = Source(path), PostgreSQL(dsn)
    await target.open(source.journal)
    began = time.perf_counter()
    await Moving(source, target).run(lambda rows: None)
    print(f"{source.count():,} rows moved from SQLite in {time.perf_counter() - began:.0f} s", flush=True)
    await target.close()


async def _written(dsn: str) -> None:
    """How many records a second the database takes, in batches as the journal gives them."""
    backend = PostgreSQL(dsn)
    await backend.open("bench")
    took = 0.0
    for number in range(_BATCHES):
        records = [answer(make_record(f"written-{number}-{each % 100}")) for each in range(_BATCH)]
        entries = [decode(encode_closed(record)) for record in records]
        began = time.perf_counter()
        await backend.apply(entries, Position(1, number + 1), durable=False)
        took += time.perf_counter() - began
    await backend.close()
    print(f"{_BATCH * _BATCHES / took:,.0f} records a second written", flush=True)


async def _multiplied(dsn: str, times: int) -> None:
    began = time.perf_counter()
    await multiply(dsn, times)
    connection = await asyncpg.connect(dsn, timeout=60)
    calls = await connection.fetchval("SELECT count(*) FROM calls")
    size = await connection.fetchval("SELECT pg_database_size(current_database())")
    print(f"{calls:,} calls, {size / 1e9:.1f} GB, made in {time.perf_counter() - began:.0f} s", flush=True)
    await connection.close()


async def _asked(directory: Path, dsn: str, rounds: int) -> dict[str, float]:
    took: dict[str, list[float]] = {}
    # All of it is to stay.
    upstream = "max_size = 0\nretention = 0\n" + upstream_toml("openai", "http://127.0.0.1:1/v1")
    async with running(directory, upstream, store="postgresql", dsn=dsn) as daemon, aiohttp.ClientSession() as http:
        asked: dict[str, tuple[str, dict[str, Any] | None]] = await questions(http, daemon.url)
        for number in range(_WARM_UP + rounds):
            for name, (path, body) in asked.items():
                seconds = await _once(http, f"{daemon.url}/api/v1/{path}", body)
                if number >= _WARM_UP:
                    took.setdefault(name, []).append(seconds)
    return {name: statistics.quantiles(seconds, n=20)[-1] for name, seconds in took.items()}


async def main(directory: Path, calls: int, rounds: int) -> bool:
    """Prints the table; whether every question of analytics is quick enough."""
    first = min(_FIRST, calls)
    await prepared(directory, first)
    with server() as own:
        dsn = own.database()
        await _moved(directory / "llmqd.db", dsn)
        await _written(own.database())
        await _multiplied(dsn, calls // first)
        took = await _asked(directory, dsn, rounds)
    good = True
    for name, seconds in took.items():
        wanted = name.startswith(("overview", "agents", "models", "usage", "cost"))
        good = good and (seconds <= LONGEST or not wanted)
        print(
            f"{name:<32}{seconds * 1000:>10.1f} ms{'' if seconds <= LONGEST else '  too slow' if wanted else '  slow'}"
        )
    print(f"p95 of every question of analytics within {LONGEST * 1000:.0f} ms: {'yes' if good else 'NO'}")
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000_000, help="calls in the ledger")
    parser.add_argument("--rounds", type=int, default=40, help="how often each question is asked")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        ok = uvloop.run(main(Path(temporary), arguments.calls, arguments.rounds))
    raise SystemExit(0 if ok else 1)
