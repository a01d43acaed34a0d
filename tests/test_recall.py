"""A restart gives no key its quota anew: what the ledger knows counts, as soon as the ledger can tell."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmqd.config.load import load
from tests.fake_upstream import Answer, FakeUpstream
from tests.fake_upstream import openai_answers as openai
from tests.fake_upstream.openai_answers import chat_stream
from tests.process import llmqd
from tests.under_test import DaemonUnderTest, RawClient, RawResponse, call, running, upstream_toml

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
STREAM = b'{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"hi"}]}'
JSON = {"Content-Type": "application/json"}
SOON_OR_NEVER = JSON | {"X-LLMQD-Deadline": "5"}


def daily(url: str, limit: int, name: str = "openai") -> str:
    """An upstream with so many calls a day, of a zone where it is about noon: no test runs across its midnight."""
    shift = datetime.now(UTC).hour - 12
    return upstream_toml(name, url, f'requests_per_day = {limit}\nday_zone = "Etc/GMT{shift:+d}"')


async def ask(daemon: DaemonUnderTest) -> RawResponse:
    return await call(daemon.port, "POST", CHAT, BODY, SOON_OR_NEVER)


def used_today(daemon: DaemonUnderTest, lane: str = "openai") -> float:
    return next(
        round(figure.used * figure.limit, 6)
        for each in daemon.lanes
        if each.name == lane
        for figure in each.figures()
        if figure.dimension == "requests_per_day"
    )


@asynccontextmanager
async def restarted(tmp_path: Path, toml: str) -> AsyncIterator[DaemonUnderTest]:
    async with running(tmp_path, toml, store="sqlite") as daemon:
        yield daemon


async def test_a_restart_does_not_double_the_quota_of_a_day(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        toml = daily(upstream.url, 3)
        async with restarted(tmp_path, toml) as daemon:
            assert [(await ask(daemon)).status for _ in range(2)] == [200, 200]
        async with restarted(tmp_path, toml) as daemon:
            assert used_today(daemon) == 2
            assert [(await ask(daemon)).status for _ in range(2)] == [200, 429]
        async with restarted(tmp_path, toml) as daemon:
            refused = await ask(daemon)
            assert refused.status == 429
            assert int(refused.header("Retry-After") or 0) > 3600
    assert len(upstream.requests) == 3


REFUSAL = openai.error(429, "slow down", "requests", "rate_limit_exceeded").with_headers(("retry-after", "0.05"))


@pytest.mark.parametrize(
    ("answer", "headers", "counted"),
    [
        (REFUSAL, JSON | {"X-LLMQD-No-Queue": "1"}, 0),
        (REFUSAL, JSON, 1),
        (openai.error(500, "oops", "server_error", "server_error"), JSON, 0),
        (openai.error(400, "bad", "invalid_request_error", "bad"), JSON, 1),
    ],
    ids=["refused", "refused and then answered", "failed", "the caller's fault"],
)
async def test_only_what_the_provider_counts_is_recalled(
    tmp_path: Path, answer: Answer, headers: dict[str, str], counted: int
) -> None:
    async with FakeUpstream() as upstream:
        toml = daily(upstream.url, 50) + "retries = 0\n"
        async with restarted(tmp_path, toml) as daemon:
            upstream.play(answer)
            await call(daemon.port, "POST", CHAT, BODY, headers)
            await call(daemon.port, "GET", "/v1/models")  # needs no turn
            assert used_today(daemon) == counted
        async with restarted(tmp_path, toml) as daemon:
            assert used_today(daemon) == counted


async def test_calls_under_which_the_daemon_was_killed_count(tmp_path: Path) -> None:
    never = asyncio.Event()
    async with FakeUpstream() as upstream:
        toml = daily(upstream.url, 2)
        async with llmqd(tmp_path, toml) as process:
            upstream.play(openai.chat(), chat_stream().paused(never, after=1))
            assert (await call(process.port, "POST", CHAT, BODY, SOON_OR_NEVER)).status == 200
            async with RawClient.to(process.port) as client:
                await client.send("POST", CHAT, STREAM, JSON)
                await client.head()
                await process.kill()
            await process.start()
            assert (await call(process.port, "POST", CHAT, BODY, SOON_OR_NEVER)).status == 429


async def test_a_reload_that_sets_a_limit_counts_the_day_so_far(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        plain = upstream_toml("openai", upstream.url)
        async with restarted(tmp_path, plain) as daemon:
            for _ in range(2):
                await ask(daemon)
            path = tmp_path / "llmqd.toml"
            path.write_text(path.read_text().replace(plain, daily(upstream.url, 5)))
            daemon.reload(lambda: load(path, {}))
            await daemon.until(lambda: used_today(daemon) == 2)
            await ask(daemon)
            assert used_today(daemon) == 3
            daemon.reload(lambda: load(path, {}))
            await asyncio.sleep(0.05)
            assert used_today(daemon) == 3


async def test_a_key_that_comes_back_under_its_name_is_known(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        groq = upstream_toml("groq", upstream.url)
        async with restarted(tmp_path, daily(upstream.url, 5) + groq) as daemon:
            await ask(daemon)
        async with restarted(tmp_path, groq) as daemon:
            path = tmp_path / "llmqd.toml"
            path.write_text(path.read_text() + daily(upstream.url, 5))
            daemon.reload(lambda: load(path, {}))
            await daemon.until(lambda: used_today(daemon) == 1)


async def test_a_start_without_the_database_says_so_once_and_recalls_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = tmp_path / "state" / "llmqd.db"
    async with FakeUpstream() as upstream:
        toml = daily(upstream.url, 3)
        async with restarted(tmp_path, toml) as daemon:
            await ask(daemon)
            await ask(daemon)
        other = sqlite3.connect(database, isolation_level=None)
        other.execute("UPDATE lane_usage SET slot = slot - 60, last_sent = last_sent - 60")
        for statement in ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "DELETE FROM meta WHERE 0"):
            other.execute(statement)
        with caplog.at_level(logging.INFO):
            async with restarted(tmp_path, toml) as daemon:
                assert (await ask(daemon)).status == 200, "it starts anyway"
                assert used_today(daemon) == 1
                other.close()
                await daemon.until(lambda: used_today(daemon) == 3, within=15)
                assert (await ask(daemon)).status == 429
                await daemon.until(lambda: "known and counted now" in caplog.text)
        assert [record.levelname for record in caplog.records if "is not fully known" in record.message] == ["WARNING"]


async def test_what_only_the_journal_has_counts_as_well(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        toml = daily(upstream.url, 5)
        async with llmqd(tmp_path, toml) as process:
            with closing(sqlite3.connect(tmp_path / "state" / "llmqd.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")  # the daemon's writer gets no further
                for _ in range(3):
                    assert (await call(process.port, "POST", CHAT, BODY, SOON_OR_NEVER)).status == 200
                await process.kill()
            assert process.rows("SELECT count(*) FROM calls WHERE status = 'done'") == [(0,)]
            await process.start()
            statuses = [(await call(process.port, "POST", CHAT, BODY, SOON_OR_NEVER)).status for _ in range(3)]
            assert statuses == [200, 200, 429]


async def test_estimates_know_the_models_after_a_restart(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url)
        async with restarted(tmp_path, toml) as daemon:
            for _ in range(4):
                assert (await call(daemon.port, "POST", CHAT, BODY, JSON)).status == 200
            before = next(iter(daemon.lanes)).estimate_error()
        async with restarted(tmp_path, toml) as daemon:
            after = next(iter(daemon.lanes)).estimate_error()
    assert before.calls == after.calls == 4
    assert after.input_error == pytest.approx(before.input_error)
