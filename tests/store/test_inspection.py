"""Database and journal can be looked at beside the daemon that uses them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmqd.errors import StoreError
from llmqd.store.inspection import inspect_database, inspect_journal
from llmqd.store.schema import MIGRATIONS
from tests.fake_upstream import FakeUpstream
from tests.under_test import call, running, upstream_toml

BODY = b'{"model":"gpt-4o","messages":[]}'


async def test_a_database_and_journal_in_use(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url), store="sqlite") as daemon,
    ):
        answer = await call(daemon.port, "POST", "/v1/chat/completions", BODY)
        record = await daemon.record(answer.header("X-LLMQD-Request-Id") or "")
        found = inspect_database(state / "llmqd.db")
        assert (found.complaints, found.version, found.known_version) == ([], len(MIGRATIONS), len(MIGRATIONS))
        assert found.newest == pytest.approx(record.call.received_at, abs=0.01)
        journal = inspect_journal(state / "journal", state / "llmqd.db")
        assert (journal.holder, journal.bad, journal.corrupt) == (os.getpid(), [], [])
        assert await daemon.ledger.settled(5)
    assert inspect_journal(state / "journal", state / "llmqd.db").holder is None


async def test_a_page_that_was_overwritten(tmp_path: Path) -> None:
    async with running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9"), store="sqlite"):
        pass
    path = tmp_path / "state" / "llmqd.db"
    assert not inspect_database(path).complaints
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 8192)
    assert inspect_database(path).complaints


def test_what_was_set_aside_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "00000000000000000001.bad").touch()
    (tmp_path / "journal" / "00000000000000000002.journal").write_bytes(b"x" * 10)
    (tmp_path / "llmqd.db.corrupt-20260101T000000Z").touch()
    found = inspect_journal(tmp_path / "journal", tmp_path / "llmqd.db")
    assert (found.segments, found.size, found.holder) == (1, 10, None)
    assert [path.name for path in (*found.bad, *found.corrupt)] == [
        "00000000000000000001.bad",
        "llmqd.db.corrupt-20260101T000000Z",
    ]


def test_a_database_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        inspect_database(tmp_path / "no.db")
