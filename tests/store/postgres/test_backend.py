"""The ledger in PostgreSQL: what is its own, beside what it has in common with the other one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from llmqd.config.secret import Secret
from llmqd.config.store import Store
from llmqd.errors import NewerDatabase, StoreError
from llmqd.store.backend import Unacceptable, Unavailable
from llmqd.store.entries import Closed, decode, encode_opened, encode_run
from llmqd.store.histogram import added, packed
from llmqd.store.ledger import Ledger
from llmqd.store.position import Position
from llmqd.store.postgres.backend import PostgreSQL
from tests.postgres import Postgres, server
from tests.store.conversing import Scribe, Talk, words
from tests.store.records import answer, make_record
from tests.store.usage_records import closed

HERE = Position(1, 10)


@asynccontextmanager
async def opened(dsn: str, journal: str = "journal") -> AsyncIterator[PostgreSQL]:
    backend = PostgreSQL(dsn)
    await backend.open(journal)
    try:
        yield backend
    finally:
        await backend.close()


async def well(ledger: Ledger) -> None:
    """Waits until the ledger says so."""
    async with asyncio.timeout(10):
        while not ledger.health().ok:  # noqa: ASYNC110 (it has no events for tests)
            await asyncio.sleep(0.01)


async def test_the_position_is_kept_with_the_rows_and_belongs_to_one_journal(postgres: Postgres) -> None:
    dsn = postgres.database()
    async with opened(dsn, "one") as backend:
        await backend.apply([], Position(3, 44), durable=False)
    again = PostgreSQL(dsn)
    assert await again.open("one") == Position(3, 44)
    await again.close()
    assert await again.open("another") is None
    await again.close()


async def test_a_batch_is_written_whole_or_not_at_all(postgres: Postgres) -> None:
    good, bad = closed(answer(make_record("s"))), closed(answer(make_record("s")))
    assert isinstance(bad, Closed)
    wrong = Closed(bad.id, bad.seen, (bad.row[0], "no time", *bad.row[2:]), bad.tally)
    async with opened(postgres.database()) as backend:
        with pytest.raises(Unacceptable, match="refuses a record"):
            await backend.apply([good, wrong], HERE, durable=True)
        assert await backend.count_by_status() == {}
        await backend.apply([good], HERE, durable=True)
        assert await backend.count_by_status() == {"done": 1}


async def test_a_daemon_that_starts_ends_only_its_own_calls(postgres: Postgres) -> None:
    dsn = postgres.database()
    mine, theirs = make_record("s"), make_record("s")
    async with opened(dsn, "mine") as one, opened(dsn, "theirs") as other:
        await one.apply([decode(encode_run("r1")), decode(encode_opened(mine))], HERE, durable=False)
        await other.apply([decode(encode_run("r1")), decode(encode_opened(theirs))], HERE, durable=False)
        await one.apply([decode(encode_run("r2"))], HERE, durable=False)
        assert await one.count_by_status() == {"interrupted": 1, "running": 1}
        await other.apply([closed(answer(theirs))], HERE, durable=False)
        assert await one.count_by_status() == {"interrupted": 1, "done": 1}
        [totals] = await other.session_totals(10)
        assert (totals.request_count, totals.error_count) == (1, 1)


async def test_daemons_that_write_at_once_lose_nothing_and_do_not_stop_each_other(postgres: Postgres) -> None:
    dsn = postgres.database()

    async def one(number: int) -> None:
        async with opened(dsn, f"journal{number}") as backend:
            for turn in range(20):
                records = [answer(make_record(f"s{each % 5}", agent=f"a{each % 3}")) for each in range(10)]
                await backend.apply([closed(record) for record in records], Position(1, turn), durable=False)

    await asyncio.gather(*(one(number) for number in range(4)))
    async with opened(dsn) as backend:
        assert await backend.count_by_status() == {"done": 800}
        [row] = await backend.ask("SELECT sum(calls) AS calls FROM usage WHERE by = 'all' AND step = 3600")
        assert row["calls"] == 800
        assert sum(each.request_count for each in await backend.session_totals(10)) == 800


async def test_two_daemons_that_make_dictionaries_can_read_each_other(postgres: Postgres, tmp_path: Path) -> None:
    settings = Store(backend="postgresql", dsn=Secret(postgres.database()), batch_every=0.01)
    scribes = [Scribe(), Scribe()]
    async with (
        Ledger(settings, tmp_path / "one", transcripts=scribes[0].transcripts) as one,
        Ledger(settings, tmp_path / "other", transcripts=scribes[1].transcripts) as other,
    ):
        talks = [Talk(scribes[0], one), Talk(scribes[1], other)]
        for number in range(500):
            for who, talk in enumerate(talks):
                record = talk.say(f"the question {number} of {who}, which is long enough", f"answer {number} to {who}")
                talk.history[:-4] = []
            if number % 100 == 99:
                assert await one.settled(10)
                assert await other.settled(10)
        assert (one.health().set_aside, other.health().set_aside) == (0, 0)
        found = await one.messages_of_call(record.call.id)
        assert found is not None
        assert words(found.messages)[-1] == "the question 499 of 1, which is long enough"
        [row] = await one._backend.ask("SELECT count(*) AS dictionaries FROM dictionaries")
        assert row["dictionaries"] >= 1


async def test_a_newer_database_and_one_of_another_program_are_refused(postgres: Postgres) -> None:
    dsn = postgres.database()
    async with opened(dsn):
        pass
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(NewerDatabase, match="version 99"):
        await PostgreSQL(dsn).open("journal")
    await connection.execute("DROP TABLE meta; CREATE TABLE meta (a text)")
    with pytest.raises(StoreError, match="another program"):
        await PostgreSQL(dsn).open("journal")
    await connection.execute("DROP TABLE meta")
    with pytest.raises(StoreError, match="schema of its own"):
        await PostgreSQL(dsn).open("journal")
    await connection.close()
    async with opened(f"{dsn}&schema=llm%22qd") as backend:
        assert await backend.count_by_status() == {}


async def test_a_database_that_is_not_there_is_said_and_may_come_later(postgres: Postgres) -> None:
    missing = postgres.dsn("nobody_made_this")
    with pytest.raises(Unavailable, match="create the database") as caught:
        await PostgreSQL(missing).open("journal")
    assert "postgres@" not in str(caught.value)
    with pytest.raises(Unavailable, match="see that it runs"):
        await PostgreSQL("postgresql://llmqd:secret@127.0.0.1:1/llmqd").open("journal")
    with pytest.raises(Unavailable):
        await PostgreSQL(missing).ask("SELECT 1")


async def test_a_question_that_takes_too_long_is_given_up(postgres: Postgres) -> None:
    backend = PostgreSQL(postgres.database(), query_timeout=0.1)
    await backend.open("journal")
    with pytest.raises(Unavailable, match="query_timeout"):
        await backend.ask("SELECT pg_sleep(30) AS slept")
    assert await backend.count_by_status() == {}
    await backend.close()


async def test_questions_change_nothing(postgres: Postgres) -> None:
    async with opened(postgres.database()) as backend:
        with pytest.raises(Unavailable, match="read-only"):
            await backend.ask("DELETE FROM calls")


async def test_histograms_are_added_as_everywhere(postgres: Postgres) -> None:
    histograms = [packed({}), packed({0: 1, 7: 300, 255: 2**32 - 1}), packed({7: 1, 9: 70_000, 255: 5})]
    async with opened(postgres.database()) as backend:
        for one in histograms:
            for other in histograms:
                [row] = await backend.ask("SELECT add_histograms(?, ?) AS sum", one, other)
                assert row["sum"] == added(one, other)


async def test_while_the_server_is_away_records_wait_and_nothing_is_lost(tmp_path: Path) -> None:
    with server() as own:
        settings = Store(backend="postgresql", dsn=Secret(own.database()), batch_every=0.01)
        async with Ledger(settings, tmp_path) as ledger:
            ledger.unsent(answer(make_record("before")))
            assert await ledger.settled(10)
            await asyncio.to_thread(own.kill)
            for _ in range(300):
                record = make_record("meanwhile")
                ledger.opened(record)
                ledger.closed(answer(record))
            assert not await ledger.settled(0.3)
            health = ledger.health()
            assert not health.ok
            assert "PostgreSQL" in str(health.reason)
            assert (health.behind, health.lost) == (600, 0)
            assert ledger.alive()
            with pytest.raises(StoreError):
                await ledger.count_by_status()
            await asyncio.to_thread(own.start)
            assert await ledger.settled(30)
            assert await ledger.count_by_status() == {"done": 301}
            await well(ledger)
            assert ledger.health().lost == 0


async def test_a_daemon_starts_while_the_server_is_away(tmp_path: Path) -> None:
    with server() as own:
        settings = Store(backend="postgresql", dsn=Secret(own.database()), batch_every=0.01)
        own.kill()
        async with Ledger(settings, tmp_path) as ledger:
            ledger.unsent(answer(make_record("s")))
            assert not ledger.health().ok
            await asyncio.to_thread(own.start)
            assert await ledger.settled(30)
            assert await ledger.count_by_status() == {"done": 1}


async def test_what_the_server_forgot_in_its_crash_is_told_again(postgres: Postgres) -> None:
    """Not every commit waits for the disk: the server may be at an earlier position than it was told."""
    dsn = postgres.database()
    first, second = closed(answer(make_record("s"))), closed(answer(make_record("s")))
    async with opened(dsn) as backend:
        await backend.apply([first], Position(1, 10), durable=True)
    backend = PostgreSQL(dsn)
    assert await backend.open("journal") == Position(1, 10)
    await backend.apply([first, second], Position(1, 20), durable=False)
    assert await backend.count_by_status() == {"done": 2}
    await backend.close()
