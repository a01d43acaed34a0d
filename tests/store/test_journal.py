from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.errors import StoreError
from llmqd.store.journal import FileJournal
from llmqd.store.lines import line
from llmqd.store.position import BEGINNING, Position

HEADER = b'{"run":1}'


def entry(number: int) -> bytes:
    return b'{"entry":%d,"text":"some words to fill the line"}' % number


def opened(directory: Path, segment_size: int = 1 << 20) -> FileJournal:
    journal = FileJournal(directory, segment_size=segment_size, header=HEADER)
    journal.open()
    return journal


def read_all(
    journal: FileJournal, position: Position = BEGINNING, max_bytes: int = 1 << 16
) -> tuple[list[bytes], Position, int]:
    entries: list[bytes] = []
    damaged = 0
    while (batch := journal.read(position, max_bytes, 50)) is not None:
        entries += [payload for payload, _ in batch.entries if payload != HEADER]
        damaged += batch.damaged
        position = batch.next
    return entries, position, damaged


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow beyond `size`: the kernel cuts a write there and refuses the next, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_entries_come_back_in_order_over_many_segments(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_size=300)
    for number in range(50):
        journal.append(entry(number))
    entries, position, damaged = read_all(journal)
    assert entries == [entry(number) for number in range(50)]
    assert position == journal.end
    assert damaged == 0
    assert len(list(tmp_path.glob("*.journal"))) > 5
    assert all(path.stat().st_size <= 300 for path in tmp_path.glob("*.journal"))
    journal.close()


def test_every_segment_begins_with_the_header(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_size=300)
    for number in range(20):
        journal.append(entry(number))
    for path in tmp_path.glob("*.journal"):
        assert path.read_bytes().startswith(line(HEADER))
    journal.close()


def test_each_position_reads_on_exactly_there(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_size=300)
    for number in range(10):
        journal.append(entry(number))
    position, seen = BEGINNING, 0
    while (batch := journal.read(position, 64, 1)) is not None:
        [(payload, position)] = batch.entries
        seen += payload != HEADER
        assert read_all(journal, position)[0] == [entry(number) for number in range(seen, 10)]
    assert seen == 10
    journal.close()


def test_an_entry_longer_than_max_bytes_is_read_whole(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(b"x" * 100_000)
    journal.append(entry(1))
    assert read_all(journal, max_bytes=64)[0] == [b"x" * 100_000, entry(1)]
    journal.close()


def test_an_entry_longer_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_size=100)
    journal.append(b"x" * 1000)
    journal.append(entry(1))
    assert read_all(journal)[0] == [b"x" * 1000, entry(1)]
    journal.close()


def test_a_line_torn_at_any_byte_costs_only_itself(tmp_path: Path) -> None:
    whole = len(line(entry(2)))
    for cut in range(1, whole):
        directory = tmp_path / str(cut)
        journal = opened(directory)
        journal.append(entry(1))
        journal.append(entry(2))
        journal.close()
        [segment] = directory.glob("*.journal")
        os.truncate(segment, segment.stat().st_size - cut)
        again = opened(directory)
        again.append(entry(3))
        entries, _, damaged = read_all(again)
        assert entries == [entry(1), entry(3)]
        assert damaged == 1
        assert segment.with_suffix(".bad").read_bytes() == line(entry(2))[: whole - cut]
        again.close()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_anywhere_costs_two_entries_at_most(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    journal = opened(directory, segment_size=400)
    for number in range(12):
        journal.append(entry(number))
    journal.close()
    segment = data.draw(st.sampled_from(sorted(directory.glob("*.journal"))))
    raw = bytearray(segment.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    segment.write_bytes(raw)
    again = opened(directory)
    again.append(entry(12))
    entries, position, damaged = read_all(again)
    assert len(entries) >= 11
    assert entries == [payload for payload in map(entry, range(13)) if payload in entries]
    assert damaged in {1, 2}
    assert position == again.end
    again.close()


def test_a_start_after_a_start_never_continues_a_segment(tmp_path: Path) -> None:
    for number in range(3):
        journal = opened(tmp_path)
        journal.append(entry(number))
        assert journal.end.segment == number + 1
        journal.close()
    journal = opened(tmp_path)
    assert read_all(journal)[0] == [entry(0), entry(1), entry(2)]
    journal.close()


async def test_segments_left_behind_are_deleted_and_the_rest_stays(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_size=300)
    for number in range(30):
        journal.append(entry(number))
    batch = journal.read(Position(4, 0), 1 << 16, 50)
    assert batch is not None
    await journal.drop_before(batch.next)
    assert min(int(path.stem) for path in tmp_path.glob("*.journal")) == 4
    assert journal.size == sum(path.stat().st_size for path in tmp_path.glob("*.journal"))
    await journal.drop_before(journal.end)
    assert len(list(tmp_path.glob("*.journal"))) == 1
    journal.close()


def test_behind_counts_the_bytes_that_reading_would_give(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_size=300)
    for number in range(30):
        journal.append(entry(number))
    position, left = BEGINNING, journal.size
    assert journal.behind(position) == left
    while (batch := journal.read(position, 100, 1)) is not None:
        left -= len(line(batch.entries[0][0]))
        position = batch.next
        assert journal.behind(position) == left
    assert left == 0
    journal.close()


def test_a_write_that_ends_early_leaves_nothing_behind(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(entry(1))
    end = journal.end
    with file_size_limit(end.offset + 10), pytest.raises(OSError, match="no space left") as caught:
        journal.append(entry(2))
    assert caught.value.errno == errno.ENOSPC
    assert journal.end == end
    assert Path(caught.value.filename).stat().st_size == end.offset
    journal.append(entry(3))
    assert read_all(journal) == ([entry(1), entry(3)], journal.end, 0)
    journal.close()


def test_a_segment_whose_header_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_size=100)
    journal.append(entry(1))
    with file_size_limit(5), pytest.raises(OSError, match="no space left"):
        journal.append(entry(2))
    assert len(list(tmp_path.glob("*.journal"))) == 1
    journal.append(entry(3))
    assert read_all(journal) == ([entry(1), entry(3)], journal.end, 0)
    journal.close()


def test_a_start_on_a_full_disk_can_read_and_later_write(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(entry(1))
    journal.close()
    journal = FileJournal(tmp_path, segment_size=1 << 20, header=HEADER)
    with file_size_limit(5), pytest.raises(OSError, match="no space left"):
        journal.open()
    assert read_all(journal)[0] == [entry(1)]
    journal.append(entry(2))
    assert read_all(journal)[0] == [entry(1), entry(2)]
    journal.close()


def test_reading_a_torn_end_on_a_full_disk_ends(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(entry(1))
    journal.close()
    [segment] = tmp_path.glob("*.journal")
    os.truncate(segment, segment.stat().st_size - 4)
    journal = FileJournal(tmp_path, segment_size=1 << 20, header=HEADER)
    with file_size_limit(5), pytest.raises(OSError, match="no space left"):
        journal.open()
    assert read_all(journal)[0] == []
    journal.append(entry(2))
    assert read_all(journal)[::2] == ([entry(2)], 1)
    journal.close()


def test_a_segment_deleted_by_hand_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = opened(tmp_path, segment_size=100)
    for number in range(3):
        journal.append(entry(number))
    sorted(tmp_path.glob("*.journal"))[1].unlink()
    assert read_all(journal)[0] == [entry(0), entry(2)]
    assert "is gone" in caplog.text
    journal.close()


def test_a_segment_that_is_finished_while_another_is_synced_is_neither_closed_nor_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path, segment_size=100)
    for number in range(3):
        journal.append(entry(number))
    fsync, synced = os.fsync, list[int]()

    def slowly(fd: int) -> None:
        """A disk that takes so long that the loop finishes a segment meanwhile."""
        fsync(fd)
        synced.append(os.fstat(fd).st_ino)
        if len(synced) == 1:
            for number in range(3, 6):
                journal.append(entry(number))

    monkeypatch.setattr(os, "fsync", slowly)
    journal.sync()
    journal.sync()
    segments = {path.stat().st_ino for path in tmp_path.glob("*.journal")}
    assert segments <= set(synced)
    journal.close()


def test_sync_covers_segments_that_were_finished_meanwhile(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_size=100)
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(10):
        journal.append(entry(number))
    assert len(os.listdir("/proc/self/fd")) > descriptors
    journal.sync()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    journal.close()


def test_a_second_journal_on_the_directory_is_refused(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    with pytest.raises(StoreError, match="in use by another llmqd"):
        opened(tmp_path)
    journal.close()
