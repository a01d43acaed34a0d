from __future__ import annotations

import pytest

from llmqd.store.memory import MemoryJournal
from llmqd.store.position import BEGINNING


def test_entries_are_read_by_position_and_forgotten_when_dropped() -> None:
    journal = MemoryJournal(limit=1000, header=b"header")
    journal.open()
    assert journal.end > BEGINNING
    journal.append(b"one")
    batch = journal.read(BEGINNING, 1000, 10)
    assert batch is not None
    assert [payload for payload, _ in batch.entries] == [b"header", b"one"]
    assert batch.next == journal.end
    assert journal.read(batch.next, 1000, 10) is None


async def test_a_dropped_entry_gives_its_room_back() -> None:
    journal = MemoryJournal(limit=16, header=b"header")
    journal.open()
    for _ in range(100):
        journal.append(b"x" * 10)
        with pytest.raises(OSError, match="full"):
            journal.append(b"x" * 10)
        end = journal.end
        await journal.drop_before(end)
        assert journal.size == 0
        assert journal.end == end
        assert journal.read(end, 1000, 10) is None


def test_reading_is_bounded_by_entries_and_by_bytes() -> None:
    journal = MemoryJournal(limit=1000, header=b"header")
    journal.open()
    for _ in range(10):
        journal.append(b"x" * 10)
    by_count, by_bytes = journal.read(BEGINNING, 1000, 3), journal.read(BEGINNING, 25, 100)
    assert by_count is not None
    assert len(by_count.entries) == 3
    assert by_bytes is not None
    assert len(by_bytes.entries) == 3
