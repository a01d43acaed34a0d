"""Whether the database is sound, and what waits or was set aside in the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from llmqd.doctor.finding import Finding, fault, ok, warning
from llmqd.errors import StoreError
from llmqd.store.inspection import DatabaseFound, JournalFound, inspect_database
from llmqd.store.postgres.inspection import ServerFound, inspect_server

_MUCH_BEHIND = 256 << 20
_MENDING = (
    "stop llmqd, keep a copy, and make a new one of what can be read: sqlite3 {path} .recover | sqlite3 new.db;"
    " or move it away: llmqd goes on with an empty one"
)


def look_at_database(path: Path, step: Callable[[], object]) -> tuple[DatabaseFound | None, Finding]:
    """Reads the whole of it; `step` is called now and then meanwhile."""
    try:
        path.stat()
    except FileNotFoundError:
        return None, warning("database", f"{path} does not exist yet; the daemon makes it when it starts")
    except OSError as error:
        advice = "run this as root or as the daemon's user"
        return None, warning("database", f"{path} cannot be looked at: {error.strerror}", advice)
    try:
        found = inspect_database(path, step)
    except StoreError as error:
        return None, fault("database", str(error), _MENDING.format(path=path))
    if found.complaints:
        text = f"{path} is damaged: {'; '.join(found.complaints[:3])}"
        return found, fault("database", text, _MENDING.format(path=path))
    if found.version > found.known_version:
        return found, fault(
            "database",
            f"{path} has schema version {found.version}, this llmqd knows versions up to {found.known_version}",
            "install the newer llmqd again",
        )
    text = f"{path} is sound: {found.size / 1e6:,.1f} MB, schema version {found.version} of {found.known_version}"
    return found, ok("database", text)


def look_at_server(dsn: str) -> tuple[ServerFound | None, Finding]:
    """Asks a PostgreSQL server for its ledger."""
    try:
        found = asyncio.run(inspect_server(dsn))
    except StoreError as error:
        return None, fault("database", str(error), "calls go on meanwhile, and their records wait in the journal")
    if found.version > found.known_version:
        return found, fault(
            "database",
            f"{found.name} has schema version {found.version}, this llmqd knows versions up to {found.known_version}",
            "install the newer llmqd again",
        )
    if not found.version:
        text = (
            f"PostgreSQL {found.server} answers; {found.name} has no tables yet, the daemon makes them when it starts"
        )
        return found, warning("database", text)
    text = (
        f"PostgreSQL {found.server} answers: {found.name}, {found.size / 1e6:,.1f} MB,"
        f" schema version {found.version} of {found.known_version}"
    )
    return found, ok("database", text)


def look_at_journal(found: JournalFound) -> Iterator[Finding]:
    """Its lines that nobody could read, databases that were set aside, and how much waits."""
    for path in found.bad:
        yield warning("journal", f"lines that could not be read or stored were set aside in {path}", "look, delete it")
    for path in found.corrupt:
        yield warning(
            "database", f"a damaged database was set aside as {path}", _MENDING.split(";")[0].format(path=path)
        )
    state = f"{found.segments} segments, {found.size / 1e6:,.1f} MB"
    if found.size > _MUCH_BEHIND:
        yield fault("journal", f"{state}: the database does not keep up or cannot be written", "see the daemon's log")
    elif found.holder is None and found.size:
        yield ok("journal", f"{state}; what the database lacks of it is taken up at the next start")
    else:
        yield ok("journal", state)
