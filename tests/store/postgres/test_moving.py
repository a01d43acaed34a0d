"""A ledger moves from SQLite to PostgreSQL: everything, once, however often it is begun, and the journal goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmqd.config.secret import Secret
from llmqd.config.store import Store
from llmqd.errors import StoreError
from llmqd.store.entries import Regrouped
from llmqd.store.ledger import Ledger
from llmqd.store.postgres import moving
from llmqd.store.postgres.backend import PostgreSQL
from llmqd.store.postgres.moving import Moved, Moving, Source
from llmqd.store.session_questions import SessionFilters
from llmqd.store.sqlite import SQLite
from tests.postgres import Postgres
from tests.store.conversing import Scribe, Talk, words
from tests.store.records import answer, make_record

TABLES = {
    "calls": "SELECT * FROM calls ORDER BY id",
    "sessions": "SELECT * FROM sessions ORDER BY session_id",
    "facets": "SELECT * FROM facets ORDER BY 1, 2, 3",
    "visits": "SELECT * FROM visits ORDER BY 1, 2, 3, 4",
    "returns": "SELECT * FROM returns WHERE sessions <> 0 ORDER BY 1, 2, 3, 4",
    "usage": "SELECT * FROM usage ORDER BY 1, 2, 3, 4, 5",
    "spending": "SELECT * FROM spending ORDER BY 1, 2, 3",
    "lane_usage": "SELECT * FROM lane_usage ORDER BY 1, 2, 3",
    "moves": "SELECT session_id, into_id, first, until, at FROM moves ORDER BY at",
    "marks": "SELECT mark, session_id, at FROM marks JOIN session_numbers ON number = session ORDER BY 1, 2",
    "texts": "SELECT key, at FROM texts ORDER BY key",
    "meta": "SELECT key, value FROM meta WHERE key LIKE 'note:%' AND key NOT LIKE 'note:import sqlite%' ORDER BY key",
}


@pytest.fixture
async def old(tmp_path: Path) -> Path:
    """A ledger with all that can be in one: talks, failures, a merge, something noted, a call that was cut off."""
    scribe = Scribe()
    async with Ledger(Store(batch_every=0.01), tmp_path, transcripts=scribe.transcripts) as ledger:
        for talker in range(4):
            talk = Talk(scribe, ledger, [{"role": "system", "content": "Be kind."}])
            for turn in range(5):
                talk.say(
                    f"question {turn} of {talker}", f"answer {turn}", agent=f"a{talker % 2}", tags=("x",), user="u"
                )
        for status in (429, 500):
            ledger.unsent(answer(make_record("failing", client_retry=1), http_status=status, usage=None, cost=None))
        counted = answer(make_record("counted", key="ci"), queued_ms=1.0, sent_ms=2.0, counted=True)
        ledger.unsent(counted)
        one, other = make_record("one"), make_record("other")
        for record in (one, other):
            ledger.opened(record)
        ledger.closed(answer(one))
        ledger.regrouped(Regrouped(("one",), "other", 5.0))
        ledger.note("litellm", "as far as this")
        assert await ledger.settled(10)
    return tmp_path


async def moved(path: Path, dsn: str) -> Moved:
    source = Source(path / "llmqd.db")
    target = PostgreSQL(dsn)
    await target.open(source.journal)
    try:
        return await Moving(source, target).run(lambda rows: None)
    finally:
        await target.close()


async def content(backend: Any) -> dict[str, list[dict[str, Any]]]:
    found = {name: [dict(row) for row in await backend.ask(query)] for name, query in TABLES.items()}
    for row in found["calls"]:
        row.pop("journal", None)
    return found


async def both(path: Path, dsn: str) -> tuple[dict[str, Any], dict[str, Any]]:
    sqlite, postgres = SQLite(path / "llmqd.db"), PostgreSQL(dsn)
    await sqlite.open("journal")
    await postgres.open("journal")
    try:
        return await content(sqlite), await content(postgres)
    finally:
        await sqlite.close()
        await postgres.close()


async def test_everything_is_there_afterwards_and_a_second_time_changes_nothing(old: Path, postgres: Postgres) -> None:
    dsn = postgres.database()
    assert await moved(old, dsn) == Moved(25, whole=True)
    before, after = await both(old, dsn)
    for table, rows in before.items():
        assert after[table] == rows, table
        assert rows
    assert await moved(old, dsn) == Moved(25, whole=False)
    assert (await both(old, dsn))[1] == after


async def test_it_goes_on_where_it_was_stopped(old: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    dsn = postgres.database()
    monkeypatch.setattr(moving, "_AT_ONCE", 3)
    steps = 0

    def some(rows: int) -> None:
        nonlocal steps
        steps += 1
        if steps % 7 == 0:
            raise KeyboardInterrupt

    for _ in range(100):
        source, target = Source(old / "llmqd.db"), PostgreSQL(dsn)
        await target.open(source.journal)
        try:
            await Moving(source, target).run(some)
            break
        except KeyboardInterrupt:
            continue
        finally:
            await target.close()
    assert steps > 30
    before, after = await both(old, dsn)
    assert after == before


async def test_the_daemon_goes_on_with_its_journal_and_its_conversations(old: Path, postgres: Postgres) -> None:
    dsn = postgres.database()
    await moved(old, dsn)
    scribe = Scribe()
    settings = Store(backend="postgresql", dsn=Secret(dsn), batch_every=0.01)
    async with Ledger(settings, old, transcripts=scribe.transcripts) as ledger:
        assert await ledger.settled(10)
        assert await ledger.count_by_status() == {"done": 24, "interrupted": 1}
        assert await ledger.noted("litellm") == "as far as this"
        page = await ledger.sessions.search(SessionFilters(agent="a1"), 10)
        assert len(page.sessions) == 2
        said = await ledger.messages_of_session(page.sessions[0].session_id, 100)
        assert said is not None
        assert len(said.lines) == 10
        assert None not in words(said.lines)
        found = await ledger.sessions.search_text(SessionFilters(), "question 3", 10)
        assert len(found.sessions) == 4
        ledger.unsent(answer(make_record("new")))
        assert await ledger.settled(10)
        assert await ledger.count_by_status() == {"done": 25, "interrupted": 1}


async def test_where_the_daemon_has_begun_already_calls_are_added_that_are_not_there(
    old: Path, postgres: Postgres
) -> None:
    dsn = postgres.database()
    settings = Store(backend="postgresql", dsn=Secret(dsn), batch_every=0.01)
    async with Ledger(settings, old) as ledger:  # applies what is left of the old journal
        assert await ledger.settled(10)
        known = await ledger.count_by_status()
    result = await moved(old, dsn)
    assert not result.whole
    assert sum(known.values()) == 25
    before, after = await both(old, dsn)
    assert [row["id"] for row in after["calls"]] == [row["id"] for row in before["calls"]]
    sums = {row["session_id"]: row["request_count"] for row in before["sessions"]}
    assert {row["session_id"]: row["request_count"] for row in after["sessions"]} == sums


async def test_what_is_no_ledger_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no ledger"):
        Source(tmp_path / "nothing")
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(StoreError, match="cannot be read"):
        Source(tmp_path / "text")
