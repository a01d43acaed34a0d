"""Reads the calls of a ledger in the order in which they came, one at a time, without disturbing the daemon."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from llmqd.call import Record
from llmqd.errors import StoreError
from llmqd.store.columns import CALL_COLUMNS, OUTCOME_COLUMNS, record

_CALLS = "SELECT * FROM calls WHERE received_at >= ? ORDER BY id"
_COUNT = "SELECT upstream, count(*) FROM calls WHERE received_at >= ? GROUP BY upstream"
_UNKNOWN = dict.fromkeys((*CALL_COLUMNS, *OUTCOME_COLUMNS))
"""Columns that the ledger of an older llmqd lacks."""


def count_calls(path: Path, since: float = 0.0) -> Counter[str]:
    """How many calls the ledger holds from a moment (Unix seconds) on, by their upstream. Raises StoreError."""
    with _opened(path) as connection:
        return Counter(dict(connection.execute(_COUNT, (since,))))


def read_calls(path: Path, since: float = 0.0) -> Iterator[Record]:
    """The records from a moment on; memory does not grow with their number. Raises StoreError."""
    with _opened(path) as connection:
        connection.row_factory = sqlite3.Row
        for row in connection.execute(_CALLS, (since,)):
            yield record(_UNKNOWN | dict(row))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read."""
    if not path.is_file():
        raise StoreError(f"there is no ledger at {path}; name one with --db")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise StoreError(f"the ledger {path} cannot be read: {error}") from error
