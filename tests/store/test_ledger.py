"""What the ledger promises, on every backend."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmqd.config.model import Store
from llmqd.errors import NewerDatabase, StoreError
from llmqd.store.ledger import Ledger
from llmqd.usage import Cost, Usage
from tests.store.databases import settings_of
from tests.store.records import answer, make_record

BACKENDS = ("sqlite", "memory")


def settings(**overrides: Any) -> Store:
    return Store(**({"batch_every": 0.01} | overrides))


@pytest.fixture(params=(*BACKENDS, "postgresql"))
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with Ledger(settings_of(request.param, request), tmp_path) as opened:
        yield opened


async def test_a_call_is_seen_running_and_then_as_it_ended(ledger: Ledger) -> None:
    record = make_record("s", tags=("a", "b"), agent="coder", max_wait=1.5)
    ledger.opened(record)
    assert await ledger.settled(5)
    found = await ledger.call(record.call.id)
    assert found == record
    usage = Usage(input=100, output=50, cached=80, reasoning=20, audio_seconds=1.5, service_tier="flex", source="exact")
    answer(record, usage=usage, cost=Cost(total=5, output=5), provider_id="chatcmpl-1", finish_reason="stop")
    ledger.closed(record)
    assert await ledger.settled(5)
    assert await ledger.call(record.call.id) == record


async def test_a_call_that_was_never_sent_stands_in_the_ledger(ledger: Ledger) -> None:
    record = answer(make_record("s"), status="refused", http_status=None, error="queue_full", usage=None, cost=None)
    ledger.unsent(record)
    assert await ledger.settled(5)
    assert await ledger.call(record.call.id) == record
    [totals] = await ledger.session_totals(10)
    assert (totals.request_count, totals.error_count, totals.total_tokens) == (0, 1, 0)


async def test_an_unknown_call_is_none(ledger: Ledger) -> None:
    assert await ledger.call("01arz3ndektsv4rrffq69g5fav") is None


async def test_sessions_add_up_as_their_calls_close(ledger: Ledger) -> None:
    assert await ledger.session_totals(10) == []
    first, second, failed = make_record("doc"), make_record("doc"), make_record("doc")
    for record in (first, second, failed):
        ledger.opened(record)
    await ledger.settled(5)
    [totals] = await ledger.session_totals(10)
    assert (totals.request_count, totals.total_tokens, totals.source) == (0, 0, "header")
    ledger.closed(answer(first, 10, 15, cost=Cost(total=7)))
    ledger.closed(answer(second, 15, 20, cost=None))
    ledger.closed(answer(failed, status="failed", http_status=None, usage=None, cost=None))
    await ledger.settled(5)
    [totals] = await ledger.session_totals(10)
    assert (totals.prompt_tokens, totals.completion_tokens, totals.total_tokens) == (25, 35, 60)
    assert (totals.request_count, totals.error_count) == (2, 1)
    assert (totals.cost_pico, totals.unknown_cost_count) == (7, 1)


async def test_the_sessions_seen_last_come_first_and_can_be_named(ledger: Ledger) -> None:
    for number in range(5):
        ledger.unsent(answer(make_record(f"s{number}", received_at=1000.0 + number)))
    await ledger.settled(5)
    assert [totals.session_id for totals in await ledger.session_totals(3)] == ["s4", "s3", "s2"]
    named = await ledger.session_totals(10, ["s1", "s3", "nobody"])
    assert [totals.session_id for totals in named] == ["s3", "s1"]


async def test_a_second_close_is_ignored_and_counted(ledger: Ledger) -> None:
    record = make_record("s")
    ledger.opened(record)
    ledger.closed(answer(record, 1, 1))
    ledger.closed(answer(record, 500, 500))
    await ledger.settled(5)
    [totals] = await ledger.session_totals(10)
    assert (totals.total_tokens, totals.request_count) == (2, 1)
    assert ledger.health().closed_twice == 1


async def test_calls_with_the_same_provider_id_are_all_kept(ledger: Ledger) -> None:
    for _ in range(250):
        record = make_record("s")
        ledger.opened(record)
        ledger.closed(answer(record, provider_id="chatcmpl-same"))
    await ledger.settled(5)
    assert await ledger.count_by_status() == {"done": 250}
    [totals] = await ledger.session_totals(10)
    assert totals.request_count == 250


async def test_a_ledger_at_rest_is_well_and_alive(ledger: Ledger) -> None:
    ledger.unsent(answer(make_record()))
    await ledger.settled(5)
    health = ledger.health()
    assert (health.ok, health.reason, health.behind, health.behind_bytes, health.lost) == (True, None, 0, 0, 0)
    assert ledger.alive()


async def test_text_that_utf8_cannot_hold_is_no_obstacle(ledger: Ledger) -> None:
    record = make_record("s\ud800", model="\udc80")
    ledger.opened(record)
    ledger.closed(answer(record))
    await ledger.settled(5)
    assert await ledger.count_by_status() == {"done": 1}


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("backend", BACKENDS)
async def test_durable_returns_soon_and_for_many_at_once(tmp_path: Path, backend: str, durability: str) -> None:
    async with Ledger(settings(backend=backend, durability=durability), tmp_path) as ledger:

        async def one() -> None:
            ledger.unsent(answer(make_record("s")))
            await ledger.durable()

        async with asyncio.timeout(10):
            await asyncio.gather(*(one() for _ in range(200)))
        await ledger.settled(5)
        assert await ledger.count_by_status() == {"done": 200}


async def test_memory_leaves_nothing_on_disk(tmp_path: Path) -> None:
    async with Ledger(settings(backend="memory"), tmp_path) as ledger:
        ledger.unsent(answer(make_record("s")))
        await ledger.settled(5)
    assert list(tmp_path.iterdir()) == []


async def test_a_call_open_at_the_last_end_is_interrupted_at_the_next_start(tmp_path: Path) -> None:
    running, ended = make_record("s"), make_record("s")
    async with Ledger(settings(), tmp_path) as ledger:
        ledger.opened(running)
        ledger.opened(ended)
        ledger.closed(answer(ended))
    async with Ledger(settings(), tmp_path) as ledger:
        assert await ledger.settled(5)
        found = await ledger.call(running.call.id)
        assert found is not None
        assert found.outcome.status == "interrupted"
        assert await ledger.count_by_status() == {"done": 1, "interrupted": 1}
        [totals] = await ledger.session_totals(10)
        assert (totals.request_count, totals.error_count) == (1, 1)


async def test_a_second_daemon_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    async with Ledger(settings(), tmp_path):
        with pytest.raises(StoreError, match="in use by another llmqd"):
            async with Ledger(settings(), tmp_path):
                raise AssertionError


async def test_a_newer_database_is_refused_and_the_lock_given_back(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "llmqd.db")
    database.execute("PRAGMA user_version = 99")
    for _ in range(2):
        with pytest.raises(NewerDatabase):
            async with Ledger(settings(), tmp_path):
                raise AssertionError
    database.execute("PRAGMA user_version = 0")
    database.close()
    async with Ledger(settings(), tmp_path) as ledger:
        assert ledger.alive()


async def test_a_locked_database_slows_nobody_and_misses_nothing(tmp_path: Path) -> None:
    async with Ledger(settings(), tmp_path) as ledger:
        await ledger.settled(5)
        other = sqlite3.connect(tmp_path / "llmqd.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        slowest = 0.0
        for _ in range(2000):
            record = make_record("s")
            began = time.perf_counter()
            ledger.opened(record)
            ledger.closed(answer(record))
            slowest = max(slowest, time.perf_counter() - began)
            await asyncio.sleep(0)
        assert slowest < 0.5
        assert not await ledger.settled(0.05)
        assert ledger.health().behind == 4000
        assert ledger.alive()
        other.execute("ROLLBACK")
        other.close()
        assert await ledger.settled(10)
        assert await ledger.count_by_status() == {"done": 2000}
        assert ledger.health().ok


async def test_a_full_disk_is_survived_in_memory_and_said(tmp_path: Path) -> None:
    async with Ledger(settings(), tmp_path) as ledger:
        ledger.unsent(answer(make_record("s")))
        await ledger.settled(5)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.health().journal_bytes + 100, hard))
        try:
            for _ in range(300):
                record = make_record("s")
                ledger.opened(record)
                ledger.closed(answer(record))
            health = ledger.health()
            assert not health.ok
            assert "free or repair the disk" in str(health.reason)
            assert health.waiting > 500
            assert not await ledger.settled(0.1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await ledger.settled(10)
        assert await ledger.count_by_status() == {"done": 301}
        health = ledger.health()
        assert (health.ok, health.waiting, health.lost, health.set_aside) == (True, 0, 0, 0)


async def test_past_its_cap_the_journal_takes_ends_only_and_all_calls_are_there(tmp_path: Path) -> None:
    async with Ledger(settings(journal_max=20_000), tmp_path) as ledger:
        await ledger.settled(5)
        other = sqlite3.connect(tmp_path / "llmqd.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(100):
            record = make_record("s")
            ledger.opened(record)
            ledger.closed(answer(record))
        health = ledger.health()
        assert 50 < health.unopened < 100
        assert not health.ok
        other.close()
        assert await ledger.settled(10)
        assert await ledger.count_by_status() == {"done": 100}
        assert ledger.health().ok


async def test_a_database_that_stays_behind_is_told_after_a_while_and_no_longer_when_it_has_caught_up(
    tmp_path: Path,
) -> None:
    now = 100.0
    async with Ledger(settings(behind_max=60.0), tmp_path, clock=lambda: now) as ledger:
        await ledger.settled(5)
        now += 3600
        ledger.unsent(answer(make_record("s")))
        assert ledger.health().ok  # it has been idle, not behind
        now += 59
        assert ledger.health().ok
        ledger.unsent(answer(make_record("s")))
        now += 1
        assert (ledger.health().reason or "").startswith("the database has been behind the journal for 60 s, by 2 ")
        assert await ledger.settled(5)
        assert ledger.health().ok
    async with Ledger(settings(behind_max=0.0), tmp_path, clock=lambda: now) as ledger:
        ledger.unsent(answer(make_record("s")))
        now += 1e6
        assert ledger.health().ok


async def test_memory_stays_flat_over_200_000_records_while_the_database_is_away(tmp_path: Path) -> None:
    page = resource.getpagesize()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    async with Ledger(settings(journal_max=0), tmp_path) as ledger:
        await ledger.settled(5)
        other = sqlite3.connect(tmp_path / "llmqd.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        record = answer(make_record("s"))
        before = 0
        for number in range(200_000):
            call = msgspec.structs.replace(record.call, id=f"{number:026d}")
            record.call = call
            ledger.unsent(record)
            if number == 2_000:
                before = resident()
            if number % 500 == 0:
                await asyncio.sleep(0)
        assert resident() - before < 16 * 1024 * 1024
        assert ledger.health().behind == 200_000
        other.close()
        assert await ledger.settled(120)
        assert resident() - before < 40 * 1024 * 1024
        [totals] = await ledger.session_totals(10)
        assert totals.request_count == 200_000
