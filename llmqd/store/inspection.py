"""Looks at a database and a journal from outside, beside the daemon that uses them; changes nothing."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from llmqd.errors import StoreError
from llmqd.store.database_file import found_aside
from llmqd.store.schema import APPLICATION_ID, MIGRATIONS

STEPS = 100_000
"""Steps of SQLite's machine between two tellings of how far it is; some milliseconds."""
_COMPLAINTS = 20


@dataclass(frozen=True, slots=True)
class DatabaseFound:
    """A database that could be read. `complaints` are SQLite's own words for what is wrong in it, none when it is
    sound; `newest` is when the last call came, in Unix seconds; `wal` the bytes that are not folded into it yet.
    """

    version: int
    known_version: int
    complaints: list[str]
    newest: float | None
    size: int
    wal: int


@dataclass(frozen=True, slots=True)
class JournalFound:
    """A journal. `holder` is the process id of the daemon that uses it, None for none; `bad` are the files of lines and
    `corrupt` the databases that were set aside.
    """

    segments: int
    size: int
    holder: int | None
    bad: list[Path]
    corrupt: list[Path]


def inspect_database(path: Path, step: Callable[[], object] = lambda: None) -> DatabaseFound:
    """Reads the whole database once; `step` is called every STEPS steps meanwhile. Raises StoreError."""

    def told() -> None:
        step()

    try:
        size = path.stat().st_size
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)) as connection:
            connection.set_progress_handler(told, STEPS)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            if version and owner != APPLICATION_ID:
                raise StoreError(f"{path} is a database of another program")
            complaints = _complaints(connection)
            newest = None
            if version and complaints == ["ok"]:
                (newest,) = connection.execute("SELECT max(received_at) FROM calls").fetchone()
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    wal = path.with_name(f"{path.name}-wal")
    return DatabaseFound(
        version=version,
        known_version=len(MIGRATIONS),
        complaints=[] if complaints == ["ok"] else complaints,
        newest=newest,
        size=size,
        wal=wal.stat().st_size if wal.exists() else 0,
    )


def _complaints(connection: sqlite3.Connection) -> list[str]:
    """What SQLite says of the database: "ok", or what is broken. That may be all where it is broken badly."""
    try:
        return [str(row[0]) for row in connection.execute(f"PRAGMA quick_check({_COMPLAINTS})")]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return [str(error)]


def inspect_journal(directory: Path, database: Path) -> JournalFound:
    """Raises StoreError where it cannot be looked at."""
    try:
        segments = [path.stat().st_size for path in directory.glob("*.journal")]
        return JournalFound(
            segments=len(segments),
            size=sum(segments),
            holder=_holder(directory / "lock"),
            bad=sorted(directory.glob("*.bad")),
            corrupt=found_aside(database),
        )
    except OSError as error:
        raise StoreError(f"{directory}: {error.strerror}") from error


def _holder(lock: Path) -> int | None:
    """Who holds the lock; asking for it shared shows whether anybody does, and lets go at once."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        _, _, process = os.read(descriptor, 64).decode("ascii", "replace").partition(" ")
        return int(process) if process.strip().isdigit() else None
    finally:
        os.close(descriptor)
    return None
