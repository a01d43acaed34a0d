"""The databases that the tests of the store run against: each test that asks for one gets a new and empty one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest

from llmqd.config.secret import Secret
from llmqd.config.store import Store
from llmqd.store.postgres.backend import PostgreSQL
from llmqd.store.sqlite import SQLite

Database = SQLite | PostgreSQL
KINDS = ("sqlite", "postgresql")
_NUMBERS = count(1)


class Place:
    """Where `database` and `stored` make theirs: in SQLite, or in schemas of the database that `dsn` names."""

    dsn: str | None = None
    named: ClassVar[dict[Path, str]] = {}

    @classmethod
    def new(cls) -> str:
        """The address of a new schema; it does not exist yet."""
        assert cls.dsn is not None
        return f"{cls.dsn}&schema=s{next(_NUMBERS)}"


@asynccontextmanager
async def database(path: Path | None = None, *, keep: int | None = None) -> AsyncIterator[Any]:
    """A database that is open; of a `path`, or with a bound, of SQLite alone."""
    if Place.dsn is None:
        new: Database = SQLite(path, keep=keep, busy_timeout=0.05)
    elif path is not None or keep is not None:
        pytest.skip("of SQLite alone")
    else:
        new = PostgreSQL(Place.new())
    async with _opened(new):
        yield new


@asynccontextmanager
async def database_at(path: Path) -> AsyncIterator[Any]:
    """The database of that name, as it was left."""
    if Place.dsn is None:
        new: Database = SQLite(path)
    else:
        new = PostgreSQL(Place.named.setdefault(path, Place.new()))
    async with _opened(new):
        yield new


@asynccontextmanager
async def _opened(new: Database) -> AsyncIterator[None]:
    await new.open("journal")
    try:
        yield
    finally:
        await new.close()


def settings_of(kind: str, request: pytest.FixtureRequest, **settings: Any) -> Store:
    """Settings of a ledger in a new database of that kind."""
    if kind == "postgresql":
        settings["dsn"] = Secret(request.getfixturevalue("postgres").database())
    usual: dict[str, Any] = {"batch_every": 0.01, "backend": kind}
    return Store(**(usual | settings))


def stored(**settings: Any) -> Store:
    """Settings of a ledger in a new database."""
    usual: dict[str, Any] = {"batch_every": 0.01}
    if Place.dsn is not None:
        usual |= {"backend": "postgresql", "dsn": Secret(Place.new())}
    return Store(**(usual | settings))
