"""The same calls in PostgreSQL, asked as the traceability API for LiteLLM asks: each question reads and sums up rows.

The table is LiteLLM's (LiteLLM_SpendLogs, with its indices), a row for each call of a ledger; stored answers are filler
of the length that the real ones had. The statements are that API's, mended where they could not run. They are timed
over one connection without HTTP, so the figures flatter them. Meanwhile rows
are inserted at the rate at which calls are made.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from tests.litellm.spend_table import COLUMNS, create
from tests.postgres import Postgres

_WINDOW = """ "startTime" >= now() - interval '30 days' """
_TOOK = """ extract(epoch FROM ("endTime" - "startTime")) """
_CALLED = """
CASE WHEN response::text LIKE '%tool_call%' OR response::text LIKE '%function_call%' THEN 1 ELSE 0 END
"""
_HIT = """ CASE WHEN cache_hit = 'True' THEN 1 ELSE 0 END """
_NAMES = """ metadata->>'agent_name' AS agent_name, metadata->>'conversation_name' AS conversation_name """
_SUMMARY = f"""
SELECT session_id, "user", {_NAMES}, count(*), min("startTime") AS began, max("endTime"), sum(total_tokens), sum(spend),
    avg({_TOOK}), sum({_CALLED}), sum({_HIT}), array_agg(DISTINCT model)
FROM "LiteLLM_SpendLogs" WHERE session_id IS NOT NULL {{and}}
GROUP BY session_id, "user", agent_name, conversation_name ORDER BY began DESC LIMIT 50
"""
_SUMS = f"""
count(*), count(DISTINCT session_id), sum(total_tokens), sum(spend), avg({_TOOK}), sum({_CALLED}), sum({_HIT})
"""

STATEMENTS = {
    "overview, 30 days": f"""
        SELECT {_SUMS}, count(DISTINCT "user") FROM "LiteLLM_SpendLogs" WHERE {_WINDOW}
    """,
    "agents": f"""
        SELECT metadata->>'agent_name' AS agent, {_SUMS}, avg(length(messages::text) + length(response::text))
        FROM "LiteLLM_SpendLogs" WHERE {_WINDOW} AND session_id IS NOT NULL GROUP BY agent ORDER BY 2 DESC
    """,
    "models": f"""
        SELECT model, custom_llm_provider, count(*), sum(prompt_tokens), sum(completion_tokens), sum(spend),
            avg({_TOOK}), min({_TOOK}), max({_TOOK}), sum({_HIT})
        FROM "LiteLLM_SpendLogs" WHERE {_WINDOW} AND model <> '' GROUP BY 1, 2 ORDER BY 3 DESC
    """,
    "usage-trends by day": f"""
        SELECT date_trunc('day', "startTime") AS day, {_SUMS} FROM "LiteLLM_SpendLogs" WHERE {_WINDOW}
        GROUP BY day ORDER BY day
    """,
    "cost-breakdown by model": f"""
        SELECT model, count(*), sum(total_tokens), sum(spend), avg(spend),
            sum(spend) * 100 / (SELECT sum(spend) FROM "LiteLLM_SpendLogs" WHERE {_WINDOW})
        FROM "LiteLLM_SpendLogs" WHERE {_WINDOW} AND spend > 0 GROUP BY model ORDER BY 4 DESC
    """,
    "search, first page": _SUMMARY.replace("{and}", ""),
    "session summary": _SUMMARY.replace("{and}", "AND session_id = $1"),
    "session messages": f"""
        SELECT request_id, row_number() OVER (ORDER BY "startTime"), "startTime", model, total_tokens, spend, {_TOOK},
            length(messages::text), length(response::text), {_CALLED}, cache_hit
        FROM "LiteLLM_SpendLogs" WHERE session_id = $1 ORDER BY "startTime"
    """,
}
"""By the names of the same questions to the API."""

_WRITTEN = (
    *("request_id", "call_type", "api_key", "spend", "total_tokens", "prompt_tokens", "completion_tokens", "startTime"),
    *("endTime", "completionStartTime", "model", "model_group", "custom_llm_provider", "user", "metadata", "cache_hit"),
    *("request_tags", "messages", "response", "session_id", "status", "proxy_server_request"),
)
_CALLS = """
SELECT id, cost_pico, input_tokens, output_tokens, received_at, total_ms, first_byte_ms, model, upstream, user_id,
    agent, session_id, response_bytes FROM calls WHERE status = 'done'
"""
_INSERT = f"""
INSERT INTO "LiteLLM_SpendLogs" ({", ".join(f'"{name}"' for name in _WRITTEN)})
VALUES ({", ".join(f"${number}" for number in range(1, len(_WRITTEN) + 1))})
"""
_SOME_SESSION = 'SELECT session_id FROM "LiteLLM_SpendLogs" ORDER BY request_id OFFSET 100 LIMIT 1'
_WORDS = ["a", "few", "words", "of", "filler", "that", "an", "answer", "could", "be", "made", "of", "in", "no", "order"]
_FILLER = " ".join(random.Random(4).choices(_WORDS, k=500_000))
"""Answers are stretches of this: to put each together from words takes longer than to store it."""
_INDICES = ('("startTime")', "(end_user)", "(session_id)")
"""Besides those that come with the table."""
assert set(_WRITTEN) <= set(COLUMNS)


def rows(database: Path) -> Iterator[tuple[Any, ...]]:
    """The calls of a ledger as rows of the table."""
    noise = random.Random(5)
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for call in connection.execute(_CALLS):
            yield _row(noise, *call)


def _row(noise: random.Random, id_: str, cost: int, prompt: int, completion: int, at: float, total: float, first: float,
         model: str, upstream: str, user: str, agent: str, session: str, size: int) -> tuple[Any, ...]:  # fmt: skip
    begin = noise.randrange(len(_FILLER) - size)
    text = _FILLER[begin : begin + size]
    said = {"role": "assistant", "content": text, "tool_calls": None, "function_call": None}
    response = {"id": id_, "choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}
    metadata = {
        "agent_name": agent,
        "user_api_key": "x",
        "status": "success",
        "spend_logs_metadata": {"agent_name": agent},
    }
    return (
        id_, "acompletion", "hash", cost / 1e12, prompt + completion, prompt, completion, _moment(at),
        _moment(at + total / 1000), _moment(at + first / 1000), model, model, upstream, user, json.dumps(metadata),
        "None", "[]", "{}", json.dumps(response), session, "success", "{}",
    )  # fmt: skip


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None)


async def filled(server: Postgres, database: Path) -> str:
    """The address of a new database that holds the calls of a ledger."""
    dsn = server.database()
    connection = await asyncpg.connect(dsn, command_timeout=3600)
    await create(connection)
    await connection.copy_records_to_table("LiteLLM_SpendLogs", records=rows(database), columns=list(_WRITTEN))
    for columns in _INDICES:
        await connection.execute(f'CREATE INDEX ON "LiteLLM_SpendLogs" {columns}')
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return dsn


@asynccontextmanager
async def writing(dsn: str, rate: int) -> AsyncIterator[None]:
    """Inserts rows at a steady rate meanwhile."""
    noise = random.Random(6)
    connection = await asyncpg.connect(dsn)

    async def steadily() -> None:
        began, written = time.perf_counter(), 0
        while True:
            due = int((time.perf_counter() - began) * rate)
            now = time.time()
            some = [
                _row(noise, uuid.uuid4().hex, 10**9, 300, 100, now, 900.0, 300.0, "gpt-4o", "openai", "user-1",
                     "writer", f"bench-{number // 20 % 500}", 600)
                for number in range(written, due)
            ]  # fmt: skip
            await connection.executemany(_INSERT, some)
            written = due
            await asyncio.sleep(0.05)

    task = asyncio.create_task(steadily())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await connection.close()


async def measured(dsn: str, rounds: int, rate: int) -> dict[str, float]:
    """The 95th percentile of each question in seconds; the slowest of a few rounds where there are not twenty."""
    took: dict[str, list[float]] = {}
    connection = await asyncpg.connect(dsn, command_timeout=600)
    session = await connection.fetchval(
        'SELECT session_id FROM "LiteLLM_SpendLogs" ORDER BY request_id OFFSET 100 LIMIT 1'
    )
    async with writing(dsn, rate):
        for number in range(rounds + 1):
            for name, statement in STATEMENTS.items():
                began = time.perf_counter()
                await connection.fetch(statement, *([session] if "$1" in statement else []))
                if number:  # the first warms the cache
                    took.setdefault(name, []).append(time.perf_counter() - began)
    await connection.close()
    return {name: sorted(seconds)[int(0.95 * (len(seconds) - 1) + 0.5)] for name, seconds in took.items()}
