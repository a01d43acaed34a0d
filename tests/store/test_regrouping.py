from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from llmqd.call import Record, SessionRef
from llmqd.messages.message import Message, Text
from llmqd.store.entries import Entry, Opened, Regrouped, decode, encode_opened, encode_regrouped
from llmqd.store.ledger import Ledger
from llmqd.store.position import Position
from tests.store.conversing import Scribe, words
from tests.store.databases import database_at, stored
from tests.store.test_sqlite import closed

pytestmark = pytest.mark.usefixtures("each_database")

BEGIN = 1_000_000.0 * 3600
OUTCOMES: Sequence[dict[str, Any]] = ({}, {"http_status": 500, "cost": None}, {"cost": None}, {"function_calls": 2})


def talks(seed: int, count: int = 24) -> list[Record]:
    """Calls of three sessions by turns, some hours apart, in two threads each, each with its whole history."""
    dice, now = random.Random(seed), [BEGIN]
    scribe = Scribe(wall=lambda: now[0])
    histories: dict[tuple[str, int], list[dict[str, Any]]] = {}
    records = []
    for number in range(count):
        now[0] += dice.choice((1.0, 60.0, 5000.0, 90_000.0))
        session, thread = dice.choice("abc"), dice.randrange(2)
        history = histories.setdefault((session, thread), [])
        history.append({"role": "user", "content": f"question {number} of {session}"})
        record = scribe.record(
            {"messages": list(history)},
            (f"answer {number}", Message("assistant", (Text(f"other {number}"),)))[: dice.choice((1, 2))],
            session=session,
            id=f"id{number:04}",
            model=dice.choice(("one", "two")),
            agent=dice.choice((None, "x", "y")),
            user=dice.choice((None, "u")),
            tags=dice.choice(((), ("t",))),
        )
        for name, value in dice.choice(OUTCOMES).items():
            setattr(record.outcome, name, value)
        history.append({"role": "assistant", "content": f"answer {number}"})
        records.append(record)
    return records


def with_sessions(records: Sequence[Record], names: dict[str, str]) -> None:
    """As if these calls had been of other sessions from the beginning, by their ids."""
    for record in records:
        name = names.get(record.call.id)
        if name is not None:
            record.call.session = SessionRef(name, record.call.session.source)
            assert record.transcript is not None
            record.transcript.session = name


async def apply(path: Path, entries: Sequence[Entry]) -> None:
    async with database_at(path) as backend:
        await backend.apply(entries, Position(1, 1), durable=False)


async def state(path: Path) -> dict[str, list[Any]]:
    """Everything that depends on which session a call is of."""
    async with database_at(path) as backend:
        return {
            name: [tuple(row.values()) for row in await backend.ask(query)]
            for name, query in {
                "calls": "SELECT id, session_id FROM calls ORDER BY id",
                "sessions": "SELECT * FROM sessions ORDER BY session_id",
                "facets": "SELECT * FROM facets ORDER BY 1, 2, 3",
                "visits": "SELECT * FROM visits ORDER BY 1, 2, 3, 4",
                "returns": "SELECT * FROM returns WHERE sessions <> 0 ORDER BY 1, 2, 3, 4",
            }.items()
        }


async def said(path: Path, session: str) -> list[str | None]:
    async with database_at(path) as backend:
        page = await backend.conversations.of_session(session, 1000)
    assert page is not None
    return words(page.lines)


@pytest.mark.parametrize("seed", range(6))
async def test_merged_sessions_are_as_if_they_had_been_one_from_the_beginning(tmp_path: Path, seed: int) -> None:
    records = talks(seed)
    merge = Regrouped(("b", "c"), "a", BEGIN)
    half = len(records) // 2
    entries = [closed(record) for record in records]
    await apply(tmp_path / "merged", [*entries[:half], merge, *entries[half:]])
    with_sessions(records, dict.fromkeys((record.call.id for record in records), "a"))
    await apply(tmp_path / "one", [closed(record) for record in records])
    assert await state(tmp_path / "merged") == await state(tmp_path / "one")
    assert await said(tmp_path / "merged", "a") == await said(tmp_path / "one", "a")


@pytest.mark.parametrize("seed", range(6))
async def test_a_split_session_is_as_if_there_had_been_two_from_the_beginning(tmp_path: Path, seed: int) -> None:
    records = talks(seed)
    own = [record.call.id for record in records if record.call.session.id == "a"]
    at = own[len(own) // 2]
    entries = [closed(record) for record in records]
    await apply(tmp_path / "split", [*entries, Regrouped(("a",), "new", BEGIN, at, "id9")])
    with_sessions(records, dict.fromkeys((each for each in own if each >= at), "new"))
    await apply(tmp_path / "two", [closed(record) for record in records])
    assert await state(tmp_path / "split") == await state(tmp_path / "two")
    new = await said(tmp_path / "split", "new")
    assert f"question {int(at[2:])} of a" in new
    assert None not in new
    left = await said(tmp_path / "split", "a")
    assert f"question {int(at[2:])} of a" not in left
    assert f"question {int(own[0][2:])} of a" in left


async def test_a_merge_undone_by_a_split_and_said_again_changes_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    entries: list[Entry] = [closed(record) for record in talks(7)]
    entries += [Regrouped(("b",), "a", BEGIN), Regrouped(("a",), "new", BEGIN, "id0012", "id9")]
    entries += [Regrouped(("a",), "new", BEGIN + 1)]
    await apply(path, entries)
    before = await state(path)
    assert {row[1] for row in before["calls"]} == {"new", "c"}
    await apply(path, entries)
    assert await state(path) == before


async def test_calls_that_run_or_come_later_are_led_to_where_they_belong(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    records = [record for record in talks(3, 40) if record.call.session.id in ("a", "b")]
    running = next(record for record in records[8:] if record.call.session.id == "b")
    others = [record for record in records if record is not running]
    opened = decode(encode_opened(running))
    assert isinstance(opened, Opened)
    split = Regrouped(("a",), "new", BEGIN, running.call.id, "id9")
    entries = [closed(record) for record in others]
    await apply(path, [*entries, opened, Regrouped(("b",), "a", BEGIN), split, closed(running)])
    found = dict((await state(path))["calls"])
    assert found == {r.call.id: "new" if r.call.id >= running.call.id else "a" for r in records}
    assert running.call.session.id == "b"
    totals = {row[0]: row[4] + row[5] for row in (await state(path))["sessions"]}
    assert totals == {name: list(found.values()).count(name) for name in ("a", "new")}


async def test_a_call_whose_session_was_merged_shows_its_whole_history(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    records = talks(5)
    await apply(path, [*map(closed, records), Regrouped(("a", "b"), "c", BEGIN)])
    async with database_at(path) as backend:
        for record in records:
            call = await backend.conversations.of_call(record.call.id)
            assert call is not None
            assert call.missing == 0
            assert f"question {int(record.call.id[2:])} of" in str(words(call.messages)[-1])


async def test_an_entry_is_read_as_it_was_written() -> None:
    entry = Regrouped(("a", "b"), "c", 1.5, "x", "y")
    assert decode(encode_regrouped(entry)) == entry


async def test_what_only_the_journal_has_when_the_daemon_dies_is_moved_by_the_next_one(tmp_path: Path) -> None:
    records = talks(1)
    dead, next_one, settings = tmp_path / "dead", tmp_path / "next", stored()
    async with Ledger(settings, dead) as ledger:
        for record in records:
            ledger.unsent(record)
        assert await ledger.settled(10)
    async with Ledger(dataclasses.replace(settings, batch_every=600), dead) as ledger:
        ledger.regrouped(Regrouped(("b",), "a", BEGIN))
        shutil.copytree(dead, next_one)
    async with Ledger(settings, next_one) as ledger:
        assert await ledger.settled(10)
        assert await ledger.sessions.session("b") is None
        merged = await ledger.sessions.session("a")
        assert merged is not None
        count = sum(record.call.session.id in ("a", "b") for record in records)
        assert merged.request_count + merged.error_count == count


async def test_merges_are_told_after_a_restart(tmp_path: Path) -> None:
    settings = stored()
    async with Ledger(settings, tmp_path) as ledger:
        ledger.regrouped(Regrouped(("a",), "b", 1.0))
        ledger.regrouped(Regrouped(("b",), "s", 2.0, "id", "ie"))
        ledger.regrouped(Regrouped(("b",), "c", 3.0))
        assert await ledger.settled(5)
    async with Ledger(settings, tmp_path) as ledger:
        assert await ledger.merged_sessions(10) == [("a", "b"), ("b", "c")]
