from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llmqd.call import Record
from llmqd.errors import NewerDatabase, StoreError
from llmqd.store.backend import Unacceptable, Unavailable
from llmqd.store.entries import Closed, Entry, Opened, decode, encode_closed, encode_opened, encode_run
from llmqd.store.position import Position
from llmqd.store.sqlite import SQLite
from tests.store.records import answer, make_record

HERE = Position(1, 10)


def opened(record: Record) -> Entry:
    return decode(encode_opened(record))


def closed(record: Record) -> Entry:
    return decode(encode_closed(record))


@asynccontextmanager
async def database(path: Path | None, *, keep: int | None = None) -> AsyncIterator[SQLite]:
    backend = SQLite(path, keep=keep, busy_timeout=0.05)
    await backend.open("journal")
    try:
        yield backend
    finally:
        await backend.close()


async def test_the_position_is_kept_with_the_rows_and_belongs_to_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    async with database(path) as backend:
        await backend.apply([], Position(3, 44), durable=False)
    again = SQLite(path)
    assert await again.open("journal") == Position(3, 44)
    await again.close()
    assert await again.open("another") is None
    await again.close()


async def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    good, bad = closed(answer(make_record("s"))), closed(answer(make_record("s")))
    assert isinstance(bad, Closed)
    wrong = Closed(bad.id, bad.seen, (bad.row[0], "no time", *bad.row[2:]), bad.tally)
    async with database(tmp_path / "llmqd.db") as backend:
        with pytest.raises(Unacceptable, match="refuses a record"):
            await backend.apply([good, wrong], HERE, durable=True)
        assert await backend.count_by_status() == {}
        assert await backend.session_totals(10) == []
        await backend.apply([good], HERE, durable=True)
        assert await backend.count_by_status() == {"done": 1}


@pytest.mark.parametrize("value", [{"a": 1}, 2**70], ids=["unsupported type", "too large"])
async def test_a_value_that_sqlite_cannot_bind_is_the_entrys_fault(tmp_path: Path, value: object) -> None:
    entry = opened(make_record())
    assert isinstance(entry, Opened)
    async with database(tmp_path / "llmqd.db") as backend:
        with pytest.raises(Unacceptable):
            await backend.apply([Opened(entry.id, None, (*entry.row[:-1], value))], HERE, durable=False)


async def test_a_run_interrupts_what_another_left_open_but_not_its_own(tmp_path: Path) -> None:
    first, second = make_record("s"), make_record("s")
    async with database(tmp_path / "llmqd.db") as backend:
        await backend.apply([decode(encode_run("r1")), opened(first)], HERE, durable=False)
        await backend.apply([decode(encode_run("r1"))], HERE, durable=False)
        assert await backend.count_by_status() == {"running": 1}
        await backend.apply([decode(encode_run("r2")), opened(second)], HERE, durable=False)
        assert await backend.count_by_status() == {"running": 1, "interrupted": 1}
        [totals] = await backend.session_totals(10)
        assert (totals.request_count, totals.error_count) == (0, 1)


async def test_questions_see_only_whole_transactions_and_never_write(tmp_path: Path) -> None:
    async with database(tmp_path / "llmqd.db") as backend:
        with pytest.raises(Unavailable, match="readonly"):
            await backend.ask("DELETE FROM calls")
        await backend.apply([closed(answer(make_record()))], HERE, durable=False)
        assert await backend.count_by_status() == {"done": 1}


async def test_a_locked_database_is_unavailable_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    async with database(path) as backend:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            Unavailable, match=r"llmqd.db cannot be used: database is locked: another program"
        ) as caught:
            await backend.apply([], HERE, durable=False)
        assert not caught.value.reopen
        other.close()
        await backend.apply([], HERE, durable=False)


async def test_an_id_nobody_could_have_written_is_unknown(tmp_path: Path) -> None:
    async with database(tmp_path / "llmqd.db") as backend:
        assert await backend.call("no such call") is None
        assert await backend.call("\ud800") is None
        assert await backend.session_totals(10, ["\ud800", "x"]) == []


async def test_a_closed_database_is_unavailable() -> None:
    for path in (None, Path("/nonexistent/llmqd.db")):
        with pytest.raises(Unavailable):
            await SQLite(path).apply([], HERE, durable=False)
        with pytest.raises(Unavailable):
            await SQLite(path).count_by_status()


async def test_wal_and_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "below" / "llmqd.db"
    async with database(path) as backend:
        await backend.apply([], HERE, durable=False)
        assert {entry.name for entry in path.parent.iterdir()} == {"llmqd.db", "llmqd.db-wal", "llmqd.db-shm"}
        assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["llmqd.db"]


async def test_a_path_with_url_characters_is_read_and_written(tmp_path: Path) -> None:
    async with database(tmp_path / "a?b#c%20d.db") as backend:
        await backend.apply([closed(answer(make_record()))], HERE, durable=False)
        assert await backend.count_by_status() == {"done": 1}


async def test_files_that_can_never_be_the_database_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"this is not a database, " * 100)
    (tmp_path / "directory").mkdir()
    with pytest.raises(StoreError, match=r"text is not a database: name another file in \[store\] path"):
        await SQLite(tmp_path / "text", owned=False).open("journal")
    with pytest.raises(StoreError, match="directory is no file"):
        await SQLite(tmp_path / "directory").open("journal")
    with pytest.raises(StoreError, match="cannot be opened: "):
        await SQLite(tmp_path / "text" / "llmqd.db").open("journal")
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(NewerDatabase):
        await SQLite(tmp_path / "newer").open("journal")


async def test_a_damaged_database_is_unavailable_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    async with database(path) as backend:
        await backend.apply([closed(answer(make_record())) for _ in range(50)], HERE, durable=False)
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(len(whole) - 4096))
    backend = SQLite(path)
    with pytest.raises(Unavailable, match="is damaged: ") as caught:
        await backend.open("journal")
    assert caught.value.reopen
    await backend.close()
    path.write_bytes(whole)
    assert await backend.open("journal") == HERE
    await backend.close()


async def test_memory_keeps_the_latest_calls_and_those_that_run_and_all_totals() -> None:
    running = make_record("first")
    async with database(None, keep=10) as backend:
        await backend.apply([opened(running)], HERE, durable=False)
        ids = []
        for number in range(100):
            record = answer(make_record(f"s{number % 20}", id=f"{number:026d}"))
            ids.append(record.call.id)
            await backend.apply([closed(record)], HERE, durable=False)
        counts = await backend.count_by_status()
        assert counts["running"] == 1
        assert counts["done"] in {9, 10}
        assert await backend.call(ids[-1]) is not None
        assert await backend.call(ids[0]) is None
        totals = await backend.session_totals(1000)
        assert sum(one.request_count for one in totals) == 100


async def test_a_question_under_way_while_the_database_closes_leaves_no_connection_behind(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    async with database(path) as backend:
        async with backend._reader():
            await backend.close()
        assert [entry.name for entry in tmp_path.iterdir()] == ["llmqd.db"]
        assert await backend.open("journal") is None
        assert await backend.count_by_status() == {}


async def test_pages_that_become_free_are_not_written_to_the_log(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    backend = SQLite(path)
    await backend.open("journal")
    assert backend._writer is not None
    await backend._writer.execute("CREATE TABLE pages (content BLOB)")
    await backend._writer.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)"
        " INSERT INTO pages SELECT zeroblob(3000) FROM n"
    )
    await backend._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await backend._writer.execute("DELETE FROM pages")
    assert Path(f"{path}-wal").stat().st_size < 400 * 4096 / 4
    await backend.close()
