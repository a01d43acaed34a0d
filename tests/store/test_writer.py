from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llmqd.errors import StoreError
from llmqd.store.backend import Damaged
from llmqd.store.entries import Entry, closed, encode_closed, encode_opened, encode_run
from llmqd.store.intake import Intake
from llmqd.store.journal import FileJournal
from llmqd.store.position import BEGINNING, Position
from llmqd.store.sqlite import SQLite
from llmqd.store.writer import Writer
from tests.clock import ManualClock
from tests.store.records import answer, make_record


class WatchedSQLite(SQLite):
    """Notes how it was asked to write, and can be made to hang."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, busy_timeout=0.02)
        self.writes: list[tuple[Position, bool]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def apply(self, entries: Sequence[Entry], position: Position, *, durable: bool) -> None:
        await self.go.wait()
        await super().apply(entries, position, durable=durable)
        self.writes.append((position, durable))


class Rig:
    """A journal, a database and a writer between them that moves when the test says so."""

    def __init__(self, directory: Path, run: str, segment_size: int) -> None:
        self.directory = directory
        self.clock = ManualClock()
        self.journal = FileJournal(directory / "journal", segment_size=segment_size, header=encode_run(run))
        self.intake = Intake(self.journal, limit=1 << 20)
        self.database = WatchedSQLite(directory / "llmqd.db")
        self.writer = Writer(
            self.journal, self.intake, self.database, batch_every=0.01, clock=self.clock, stuck_after=30.0
        )

    async def settle(self) -> None:
        while await self.writer.step():
            pass

    def add(self, count: int = 1, session: str = "s") -> None:
        for _ in range(count):
            record = make_record(session)
            self.intake.append(encode_opened(record))
            self.intake.append(encode_closed(answer(record)))

    async def requests(self) -> int:
        return sum(totals.request_count for totals in await self.database.session_totals(10_000))


@asynccontextmanager
async def rig(directory: Path, run: str = "r1", segment_size: int = 1 << 20) -> AsyncIterator[Rig]:
    parts = Rig(directory, run, segment_size)
    parts.journal.open()
    await parts.writer.open()
    try:
        yield parts
    finally:
        await parts.writer.stop()
        parts.journal.close()


async def test_more_than_one_batch_arrives_in_full(tmp_path: Path) -> None:
    async with rig(tmp_path) as parts:
        parts.add(1234)
        await parts.settle()
        assert await parts.requests() == 1234
        assert await parts.database.count_by_status() == {"done": 1234}
        assert parts.writer.position == parts.journal.end
        assert parts.writer.applied == 2468


async def test_reading_goes_on_where_the_last_run_stopped(tmp_path: Path) -> None:
    async with rig(tmp_path) as parts:
        parts.add(5)
        await parts.settle()
    async with rig(tmp_path, "r2") as parts:
        parts.add(3)
        await parts.settle()
        assert await parts.requests() == 8
        assert parts.writer.applied == 6


async def test_what_is_at_hand_is_written_as_if_it_had_been_read(tmp_path: Path) -> None:
    async with rig(tmp_path / "read") as read, rig(tmp_path / "at hand") as at_hand:
        for number in range(30):
            record = make_record(f"s{number % 7}", tags=("a",))
            read.intake.append(encode_opened(record))
            at_hand.intake.append(encode_opened(record))
            if number % 5:
                entry, made = closed(answer(record))
                assert made is not None
                read.intake.append(entry)
                at_hand.intake.append(entry, made)
            if number % 11 == 0:
                await at_hand.settle()
        await read.settle()
        await at_hand.settle()
        assert len(at_hand.intake.recent) == 0
        assert at_hand.writer.applied == read.writer.applied == 54
    rows = [
        sqlite3.connect(tmp_path / name / "llmqd.db").execute("SELECT * FROM calls").fetchall()
        for name in ("read", "at hand")
    ]
    assert len(rows[0]) == 30
    assert rows[0] == rows[1]


async def test_a_call_whose_beginning_is_of_another_run_than_its_end_was_interrupted(tmp_path: Path) -> None:
    async with rig(tmp_path) as parts:
        record = make_record("s")
        parts.intake.append(encode_opened(record))
        parts.intake.append(encode_run("r2"))
        parts.intake.append(encode_closed(answer(record)))
        await parts.settle()
        assert await parts.database.count_by_status() == {"interrupted": 1}


async def test_records_that_come_one_after_the_other_are_written_together(tmp_path: Path) -> None:
    async with rig(tmp_path) as parts:
        await parts.settle()
        parts.writer._batch_every = 600.0
        parts.writer.start()
        parts.add(1)
        assert await parts.writer.reached(parts.journal.end, 5)
        written = len(parts.database.writes)
        for _ in range(20):
            parts.add(1)
            await asyncio.sleep(0)
        assert len(parts.database.writes) == written
        assert await parts.writer.reached(parts.journal.end, 5)
        assert len(parts.database.writes) == written + 1


@pytest.mark.parametrize("lost", ["the position", "the database"])
async def test_a_journal_read_twice_gives_the_same_rows(tmp_path: Path, lost: str) -> None:
    async with rig(tmp_path) as parts:
        parts.add(40)
        await parts.settle()
        parts.add(40)
        await parts.settle()
        totals = await parts.database.session_totals(10)
    if lost == "the database":
        (tmp_path / "llmqd.db").unlink()
    else:
        database = sqlite3.connect(tmp_path / "llmqd.db")
        database.execute("DELETE FROM meta WHERE key <> 'run'")
        database.commit()
        database.close()
    async with rig(tmp_path, "r2") as parts:
        await parts.settle()
        assert await parts.database.session_totals(10) == totals
        assert await parts.database.count_by_status() == {"done": 80}


async def test_a_journal_emptied_by_hand_is_followed_from_its_beginning(tmp_path: Path) -> None:
    async with rig(tmp_path, segment_size=2000) as parts:
        parts.add(20)
        await parts.settle()
    for path in (tmp_path / "journal").glob("*.journal"):
        path.unlink()
    async with rig(tmp_path, "r2") as parts:
        assert parts.writer.position == BEGINNING
        parts.add(3)
        await parts.settle()
        assert await parts.requests() == 23


async def test_another_machines_database_does_not_hide_what_this_journal_holds(tmp_path: Path) -> None:
    async with rig(tmp_path / "other", segment_size=2000) as parts:
        parts.add(50)
        await parts.settle()
    async with rig(tmp_path / "here") as parts:
        parts.add(7)
    (tmp_path / "here" / "llmqd.db").unlink()
    shutil.copy(tmp_path / "other" / "llmqd.db", tmp_path / "here" / "llmqd.db")
    async with rig(tmp_path / "here", "r2") as parts:
        await parts.settle()
        assert await parts.requests() == 57


async def test_segments_go_only_after_a_commit_that_survives_a_power_cut(tmp_path: Path) -> None:
    async with rig(tmp_path, segment_size=4000) as parts:
        for _ in range(30):
            parts.add(2)
            before = parts.writer.position.segment
            await parts.settle()
            newer = [durable for position, durable in parts.database.writes if position.segment > before]
            assert newer[:1] in ([], [True])
            parts.database.writes.clear()
        assert parts.journal.end.segment > 5
        assert len(list((tmp_path / "journal").glob("*.journal"))) == 1


async def test_a_locked_database_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig(tmp_path) as parts:
        parts.add(10)
        await parts.settle()
        other = sqlite3.connect(tmp_path / "llmqd.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        for _ in range(3):
            parts.add(10)
            assert not await parts.writer.step()
            assert "locked" in str(parts.writer.error)
        other.execute("ROLLBACK")
        other.close()
        await parts.settle()
        assert str(parts.writer.error) == "None"
        assert await parts.requests() == 40
        said = [record.getMessage() for record in caplog.records if record.name == "llmqd.store.writer"]
        assert len(said) == 2
        assert "records wait in the journal" in said[0]
        assert "takes records again" in said[1]


async def test_a_database_locked_at_the_start_is_waited_for(tmp_path: Path) -> None:
    async with rig(tmp_path) as parts:
        parts.add(1)
        await parts.settle()
    other = sqlite3.connect(tmp_path / "llmqd.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    async with rig(tmp_path, "r2") as parts:
        assert "locked" in str(parts.writer.error)
        parts.add(1)
        other.close()
        await parts.settle()
        assert await parts.requests() == 2


async def test_a_database_deleted_under_the_daemon_is_made_anew(tmp_path: Path) -> None:
    async with rig(tmp_path) as parts:
        parts.add(20)
        await parts.settle()
        (tmp_path / "llmqd.db").unlink()
        parts.add(20)
        assert not await parts.writer.step()
        assert "was moved or deleted" in str(parts.writer.error)
        await parts.settle()
        assert str(parts.writer.error) == "None"
        assert await parts.requests() == 40


async def test_what_is_no_database_any_more_is_set_aside_and_a_new_one_has_what_the_journal_has(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    async with rig(tmp_path) as parts:
        parts.add(20)
        await parts.settle()
    path.unlink()
    path.write_bytes(b"rubbish" * 1000)
    async with rig(tmp_path, "r2") as parts:
        parts.add(20)
        await parts.settle()
        assert await parts.requests() == 40
        [aside] = parts.database.aside()
        assert aside.startswith(f"{path}.corrupt-")
        assert Path(aside).read_bytes() == b"rubbish" * 1000
        Path(aside).unlink()
        assert parts.database.aside() == []


async def test_damage_that_is_met_while_writing_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "llmqd.db"
    async with rig(tmp_path) as parts:
        parts.add(20)
        await parts.settle()
    overwrite(path, but=4096)  # it opens, as its first page is whole
    async with rig(tmp_path, "r2") as parts:
        parts.add(20)
        await parts.settle()
        assert str(parts.writer.error) == "None"
        assert await parts.requests() == 40
        [aside] = parts.database.aside()
    assert f"set aside as {aside}" in caplog.text


async def test_damage_that_a_question_meets_is_dealt_with_by_the_next_batch(tmp_path: Path) -> None:
    async with rig(tmp_path) as parts:
        parts.add(20)
        await parts.settle()
        overwrite(tmp_path / "llmqd.db")
        with pytest.raises(Damaged):
            await parts.requests()
        parts.add(20)
        await parts.settle()
        assert await parts.requests() == 40


async def test_a_damaged_database_that_cannot_be_moved_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    async with rig(tmp_path) as parts:
        parts.add(20)
        await parts.settle()
        overwrite(tmp_path / "llmqd.db")
        with pytest.raises(Damaged):
            await parts.requests()
        parts.add(1)
        with monkeypatch.context() as patched:
            patched.setattr("os.rename", refused)
            assert not await parts.writer.step()
            assert "cannot be set aside: Read-only file system" in str(parts.writer.error)
        await parts.settle()
        assert await parts.requests() == 21


def overwrite(path: Path, *, but: int = 0) -> None:
    """Damages every page behind the first `but` bytes, and the copies in the WAL where there is one."""
    for each in (path, path.with_name(f"{path.name}-wal")):
        if each.exists():
            with each.open("r+b") as file:
                file.seek(but)
                file.write(b"\xff" * (each.stat().st_size - but))


async def test_entries_that_nobody_understands_are_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    wrong_type = b'{"v":1,"e":"open","call":{"id":"x","received_at":"noon","session":null}}'
    async with rig(tmp_path) as parts:
        parts.add(2)
        parts.intake.append(b'{"v":99}')
        parts.add(2)
        parts.intake.append(wrong_type)
        parts.add(2)
        await parts.settle()
        assert await parts.requests() == 6
        assert parts.writer.set_aside == 2
        assert str(parts.writer.error) == "None"
        [bad] = (tmp_path / "journal").glob("*.bad")
        assert b'{"v":99}' in bad.read_bytes()
        assert b"noon" in bad.read_bytes()
        parts.add(1)
        await parts.settle()
        assert await parts.requests() == 7


async def test_the_watchdog_hears_of_an_attempt_that_hangs_but_not_of_a_database_that_is_away(tmp_path: Path) -> None:
    async with rig(tmp_path) as parts:
        assert not parts.writer.alive()
        parts.writer.start()
        parts.add(1)
        assert await parts.writer.reached(parts.journal.end, 5)
        assert parts.writer.alive()
        parts.database.go.clear()
        parts.add(1)
        assert not await parts.writer.reached(parts.journal.end, 0.1)
        parts.clock.advance(29)
        assert parts.writer.alive()
        parts.clock.advance(2)
        assert not parts.writer.alive()
        parts.database.go.set()
        assert await parts.writer.reached(parts.journal.end, 5)
        assert parts.writer.alive()


async def test_a_writer_that_died_is_not_alive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class BrokenSQLite(SQLite):
        async def apply(self, entries: Sequence[Entry], position: Position, *, durable: bool) -> None:
            raise RuntimeError("a fault of the program")

    async with rig(tmp_path) as parts:
        await parts.database.close()
        parts.writer._backend = BrokenSQLite(tmp_path / "other.db")
        parts.add(1)
        parts.writer.start()
        assert not await parts.writer.reached(parts.journal.end, 0.2)
        assert not parts.writer.alive()
        assert "a fault of the program" in caplog.text
        with pytest.raises(RuntimeError):
            parts.writer._task.result()  # type: ignore[union-attr]


async def test_stopping_applies_what_is_left(tmp_path: Path) -> None:
    async with rig(tmp_path) as parts:
        parts.writer.start()
        parts.add(700)
    database = sqlite3.connect(tmp_path / "llmqd.db")
    assert database.execute("SELECT count(*) FROM calls").fetchone() == (700,)
    database.close()


async def test_stopping_with_the_database_away_leaves_the_rest_to_the_next_start(tmp_path: Path) -> None:
    async with rig(tmp_path) as parts:
        await parts.settle()
        other = sqlite3.connect(tmp_path / "llmqd.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        parts.writer.start()
        parts.add(5)
        async with asyncio.timeout(5):
            await parts.writer.stop()
        other.close()
    async with rig(tmp_path, "r2") as parts:
        await parts.settle()
        assert await parts.requests() == 5


async def test_a_database_that_can_never_serve_is_refused_at_the_start(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "llmqd.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    parts = Rig(tmp_path, "r1", 1 << 20)
    parts.journal.open()
    with pytest.raises(StoreError, match="schema version 99"):
        await parts.writer.open()
    parts.journal.close()
