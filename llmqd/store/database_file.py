"""The database's file: made for this user alone, told from others, and put out of the way when it is damaged."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from llmqd.errors import StoreError
from llmqd.store.backend import Unavailable

_OLDEST_SQLITE = (3, 37, 0)
"""STRICT tables."""
_MARK = ".corrupt-"
_BESIDE = ("", "-wal", "-shm")
"""What belongs to a database in WAL mode; without its WAL less could be read from it."""


def set_aside(path: Path, now: float) -> Path:
    """Renames the files of a database and gives the new name of its main one. Raises OSError."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}{_MARK}{stamp}")
    for suffix in _BESIDE:
        try:
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
        except FileNotFoundError:
            continue
    return aside


def found_aside(path: Path) -> list[Path]:
    """The main files of databases that were set aside, the oldest first."""
    return [each for each in sorted(path.parent.glob(f"{path.name}{_MARK}*")) if not each.name.endswith(_BESIDE[1:])]


def check_file(path: Path) -> None:
    """Create the database file for this user alone. Raises StoreError where that can never work."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: version 3.37 or newer is needed")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never opened here when it exists: closing such a descriptor would drop the locks that SQLite holds on the
        # file in this process (POSIX advisory locks belong to the process, not to the descriptor).
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except (NotADirectoryError, FileExistsError, PermissionError) as error:
        raise StoreError(f"the database {path} cannot be opened: {error.strerror}; see [store] path") from error
    except OSError as error:
        raise Unavailable(f"the database {path} cannot be opened: {error.strerror}", reopen=True) from error
    if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(f"the database {path} is no file that may be read and written; see [store] path")


def identity(path: Path | None) -> tuple[int, int] | None:
    """Which file the path names now; None for none."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status else None
