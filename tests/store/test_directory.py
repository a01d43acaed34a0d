from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from llmqd.errors import StoreError
from llmqd.store.directory import JournalDirectory


def test_a_second_daemon_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    first, second = JournalDirectory(tmp_path), JournalDirectory(tmp_path)
    first.open()
    with pytest.raises(StoreError, match=rf"in use by another llmqd \(process {os.getpid()}\)"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_the_id_stays_for_the_life_of_the_directory(tmp_path: Path) -> None:
    ids = set()
    for _ in range(3):
        directory = JournalDirectory(tmp_path)
        directory.open()
        ids.add(directory.id)
        directory.close()
    assert len(ids) == 1
    other = JournalDirectory(tmp_path / "other")
    other.open()
    assert other.id not in ids
    other.close()


def test_only_segments_are_listed(tmp_path: Path) -> None:
    directory = JournalDirectory(tmp_path)
    directory.segment(7).write_bytes(b"1234")
    (tmp_path / "notes.journal").write_bytes(b"x")
    (tmp_path / "00000000000000000007.bad").write_bytes(b"x")
    assert directory.open() == {7: 4}
    directory.close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"file/journal cannot be used: Not a directory"):
        JournalDirectory(tmp_path / "file" / "journal").open()


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match=r"cannot be used: No space left on device$"):
        JournalDirectory(tmp_path).open()


def test_what_is_set_aside_is_bounded_to_the_latest_files(tmp_path: Path) -> None:
    directory = JournalDirectory(tmp_path)
    for number in range(1, 40):
        directory.set_aside(number, [b"bad\n"])
    left = sorted(path.name for path in tmp_path.glob("*.bad"))
    assert len(left) == 16
    assert left[-1] == f"{39:020d}.bad"


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    directory = JournalDirectory(tmp_path / "journal")
    directory.open()
    os.close(directory.create(1))
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert directory.segment(1).stat().st_mode & 0o777 == 0o600
    directory.close()
