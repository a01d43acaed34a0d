from __future__ import annotations

import asyncio
import errno
import threading

from llmqd.store.durability import Durability
from llmqd.store.intake import Intake
from llmqd.store.memory import MemoryJournal


class SlowDisk(MemoryJournal):
    """A journal whose fsync ends when the test says so."""

    def __init__(self) -> None:
        super().__init__(limit=1 << 20, header=b"")
        self.syncs = 0
        self.go = threading.Event()
        self.synced = threading.Event()
        self.broken = False

    def sync(self) -> None:
        self.go.wait(10)
        self.syncs += 1
        self.synced.set()
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")


async def test_all_who_wait_share_one_fsync() -> None:
    journal = SlowDisk()
    intake = Intake(journal, limit=1000)
    durability = Durability(journal, intake, every=60)
    durability.start()
    waiting = []
    for _ in range(20):
        intake.append(b"x")
        waiting.append(asyncio.create_task(durability.durable()))
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    journal.go.set()
    await asyncio.gather(*waiting)
    assert journal.syncs == 1
    await durability.stop()


async def test_who_comes_during_an_fsync_waits_for_the_next() -> None:
    journal = SlowDisk()
    intake = Intake(journal, limit=1000)
    durability = Durability(journal, intake, every=60)
    intake.append(b"x")
    running = asyncio.create_task(durability.sync())
    await asyncio.sleep(0)
    intake.append(b"y")
    late = asyncio.create_task(durability.durable())
    await asyncio.sleep(0)
    journal.go.set()
    await running
    await asyncio.sleep(0)
    assert not late.done()
    await durability.sync()
    await late
    await durability.stop()


async def test_nothing_new_needs_no_fsync() -> None:
    journal = SlowDisk()
    journal.go.set()
    durability = Durability(journal, Intake(journal, limit=1000), every=60)
    await durability.durable()
    assert journal.syncs == 0
    await durability.stop()


async def test_a_journal_that_grows_is_synced_every_so_often() -> None:
    journal = SlowDisk()
    journal.go.set()
    intake = Intake(journal, limit=1000)
    durability = Durability(journal, intake, every=0.01)
    durability.start()
    intake.append(b"x")
    assert await asyncio.to_thread(journal.synced.wait, 5)
    journal.synced.clear()
    assert not await asyncio.to_thread(journal.synced.wait, 0.05)
    intake.append(b"y")
    assert await asyncio.to_thread(journal.synced.wait, 5)
    await durability.stop()


async def test_a_failing_disk_lets_calls_go_and_is_said() -> None:
    journal = SlowDisk()
    journal.go.set()
    journal.broken = True
    intake = Intake(journal, limit=1000)
    durability = Durability(journal, intake, every=60)
    durability.start()
    intake.append(b"x")
    async with asyncio.timeout(5):
        await durability.durable()
    assert "Input/output error" in str(durability.error)
    journal.broken = False
    intake.append(b"y")
    await durability.durable()
    assert str(durability.error) == "None"
    await durability.stop()
