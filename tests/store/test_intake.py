from __future__ import annotations

import asyncio
import errno

import pytest

from llmqd.store.intake import Intake
from llmqd.store.memory import MemoryJournal
from llmqd.store.position import BEGINNING


class FailingJournal(MemoryJournal):
    """A journal on a disk that is full while `full` is set."""

    full = False

    def append(self, entry: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(entry)


def entries(journal: MemoryJournal) -> list[bytes]:
    batch = journal.read(BEGINNING, 1 << 20, 10_000)
    return [] if batch is None else [payload for payload, _ in batch.entries]


async def test_entries_wait_in_order_while_the_journal_cannot_be_written() -> None:
    journal = FailingJournal(limit=1 << 20, header=b"")
    intake = Intake(journal, limit=1000)
    intake.append(b"1")
    journal.full = True
    intake.append(b"2")
    journal.full = False
    intake.append(b"3")
    assert entries(journal) == [b"1"]
    assert intake.waiting == 2
    assert "No space left" in str(intake.error)
    await intake.flush()
    assert entries(journal) == [b"1", b"2", b"3"]
    assert (intake.error, intake.waiting, intake.waiting_bytes, intake.lost) == (None, 0, 0, 0)


async def test_beyond_the_limit_the_oldest_go_and_are_counted() -> None:
    journal = FailingJournal(limit=1 << 20, header=b"")
    journal.full = True
    intake = Intake(journal, limit=30)
    for number in range(10):
        intake.append(b"%010d" % number)
    assert (intake.waiting, intake.waiting_bytes, intake.lost) == (3, 30, 7)
    journal.full = False
    await intake.flush()
    assert entries(journal) == [b"%010d" % number for number in (7, 8, 9)]


async def test_what_has_waited_is_flushed_while_as_much_arrives() -> None:
    journal = FailingJournal(limit=1 << 20, header=b"")
    journal.full = True
    intake = Intake(journal, limit=1 << 20)
    for number in range(3000):
        intake.append(b"%d" % number)
    journal.full = False
    flushing = asyncio.create_task(intake.flush())
    number = 3000
    while not flushing.done():
        for _ in range(100):
            intake.append(b"%d" % number)
            number += 1
        await asyncio.sleep(0)
        assert number < 10_000, "others got no turn, or what waits was never flushed"
    assert number > 3000
    assert (intake.waiting, intake.error) == (0, None)
    assert entries(journal) == [b"%d" % each for each in range(number)]


async def test_an_episode_is_logged_once_at_each_end(caplog: pytest.LogCaptureFixture) -> None:
    journal = FailingJournal(limit=1 << 20, header=b"")
    intake = Intake(journal, limit=1000)
    for _ in range(2):
        journal.full = True
        for _ in range(5):
            intake.append(b"x")
            await intake.flush()
        journal.full = False
        await intake.flush()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"] * 2
