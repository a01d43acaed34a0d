"""Complaints about the books: records that are lost, booked twice or not at all, and prices that were made up."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.fake_upstream import FakeUpstream
from tests.fake_upstream import anthropic_answers as anthropic
from tests.fake_upstream import openai_answers as openai
from tests.process import llmqd
from tests.regressions.chat import CHAT, JSON, MESSAGES, PLAIN, chat, many, record_of
from tests.under_test import RawClient, call, running, upstream_toml

CLAUDE = b'{"model":"claude-sonnet-4-6","max_tokens":9,"messages":[]}'


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Somebody else has the database to themselves, as a backup or an analysis may."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


async def test_calls_with_the_same_id_of_the_provider_are_all_booked(tmp_path: Path) -> None:
    """litellm #28376: the provider's response id was the primary key, so a repeated one dropped the row."""
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url), store="sqlite") as daemon,
    ):
        answers = await many(daemon, 20)
        records = [await record_of(daemon, answer) for answer in answers]
        assert {record.outcome.provider_id for record in records} == {"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT"}
        assert await daemon.ledger.count_by_status() == {"done": 20}


async def test_a_flush_of_more_than_a_hundred_rows_keeps_them_all(tmp_path: Path) -> None:
    """litellm #29292: of each flush only the first 100 rows were kept."""
    async with FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url, "learn = false") + '[store]\nbatch_every = "1h"\n'
        async with llmqd(tmp_path, toml) as process:

            async def client() -> None:
                async with RawClient.to(process.port) as connection:
                    for _ in range(25):
                        await connection.call("POST", "/v1/session/s/chat/completions", PLAIN, JSON)

            await asyncio.gather(*(client() for _ in range(16)))
            assert await process.stop() == 0
            [(rows,)] = process.rows("SELECT count(*) FROM calls WHERE status = 'done'")
            assert rows == 400
            [(requests, tokens)] = process.rows("SELECT request_count, prompt_tokens FROM sessions")
            assert (requests, tokens) == (400, 400 * openai.CHAT_USAGE["prompt_tokens"])


async def test_a_batch_that_the_database_refuses_is_not_dropped(tmp_path: Path) -> None:
    """litellm #33873: when the database was in trouble during a flush, the whole batch was thrown away."""
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url), store="sqlite") as daemon,
    ):
        await many(daemon, 5)
        assert await daemon.ledger.settled(5)
        with locked(tmp_path / "state" / "llmqd.db"):
            answers = await many(daemon, 10)
            await daemon.until(lambda: not daemon.ledger.health().ok, within=20)
        assert {answer.status for answer in answers} == {200}
        assert await daemon.ledger.settled(30)
        assert await daemon.ledger.count_by_status() == {"done": 15}


async def test_a_locked_database_fails_no_call_and_holds_none_up(tmp_path: Path) -> None:
    """litellm #18708, #6895: the database was a single point of failure for calls that only passed through."""
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url), store="sqlite") as daemon,
    ):
        await chat(daemon)
        assert await daemon.ledger.settled(5)
        with locked(tmp_path / "state" / "llmqd.db"):
            async with asyncio.timeout(2):
                for _ in range(20):
                    assert (await chat(daemon)).status == 200
            health: Any = (await call(daemon.port, "GET", "/health")).json()
            assert health["status"] in ("ok", "degraded")
        assert await daemon.ledger.settled(30)


async def test_records_survive_a_kill_while_the_database_is_away(tmp_path: Path) -> None:
    """langfuse #6380: what came in while the database was down was lost."""
    async with FakeUpstream() as upstream, llmqd(tmp_path, upstream_toml("openai", upstream.url)) as process:
        await call(process.port, "POST", CHAT, PLAIN, JSON)
        with locked(tmp_path / "state" / "llmqd.db"):
            answers = [await call(process.port, "POST", CHAT, PLAIN, JSON) for _ in range(10)]
            await process.kill()
        await process.start()
        await process.stop()
        booked = {row[0] for row in process.rows("SELECT id FROM calls WHERE status = 'done'")}
        assert {answer.header("X-LLMQD-Request-Id") for answer in answers} <= booked
        assert len(booked) == 11


async def test_tokens_from_the_cache_are_priced_apart(tmp_path: Path) -> None:
    """litellm #6215, #11364: cached tokens were charged in full, or twice."""
    price = '[[price]]\nmodel = "gpt-4o"\ninput = 100\noutput = 1000\ncache_read = 10\n'
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url) + price) as daemon:
        cost = (await record_of(daemon, await chat(daemon))).outcome.cost
    usage = openai.CHAT_USAGE
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert cost is not None
    micro = 10**6
    assert cost.total == micro * (
        100 * (usage["prompt_tokens"] - cached) + 10 * cached + 1000 * usage["completion_tokens"]
    )


async def test_tokens_written_to_the_cache_are_priced_apart(tmp_path: Path) -> None:
    """litellm #11364: for Anthropic models what was written to the cache and read from it came out at a wrong price."""
    price = '[[price]]\nmodel = "claude-*"\ninput = 100\noutput = 1000\ncache_read = 10\ncache_write = 125\n'
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("anthropic", upstream.url) + price) as daemon,
    ):
        answer = await chat(daemon, {"anthropic-version": "2023-06-01"}, body=CLAUDE, path=MESSAGES)
        cost = (await record_of(daemon, answer)).outcome.cost
    usage = anthropic.USAGE
    written, read = usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]
    assert cost is not None
    fresh, output = usage["input_tokens"], usage["output_tokens"]
    assert cost.total == 10**6 * (100 * fresh + 125 * written + 10 * read + 1000 * output)


async def test_a_price_that_nobody_knows_is_not_zero(tmp_path: Path) -> None:
    """litellm #35691, PR #36561: calls of models that the price list did not have were booked at $0.00."""
    body = b'{"model":"a-model-of-our-own","messages":[]}'
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        answer = await chat(daemon, body=body, path="/v1/session/s/chat/completions")
        outcome = (await record_of(daemon, answer)).outcome
        assert outcome.usage is not None
        assert (outcome.usage.source, outcome.cost) == ("exact", None)
        detail: Any = (await call(daemon.port, "GET", "/sessions/status?detail=1")).json()
        assert detail["s"]["unknown_cost_count"] == 1
