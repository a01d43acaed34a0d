from __future__ import annotations

import asyncio
import itertools
import logging
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from llmqd.config.store import Store
from llmqd.store.ledger import Ledger
from llmqd.store.position import Position
from llmqd.store.retention import Terms
from llmqd.store.sqlite import SQLite
from tests.store.conversing import Scribe, Talk, words
from tests.store.test_sqlite import closed

DAY = 86_400.0
NOISE = random.Random(5)


def noise(size: int) -> str:
    """Text that does not get smaller."""
    return "".join(NOISE.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ", k=size))


def count(path: Path, table: str) -> int:
    database = sqlite3.connect(path)
    try:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        database.close()


def question(text: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}]}


async def tidied(backend: SQLite, now: float) -> float:
    """Steps until there is nothing more to do; the longest of them in seconds."""
    longest = 0.0
    for _ in range(10_000):
        began = time.perf_counter()
        done = await backend.tidy(now)
        longest = max(longest, time.perf_counter() - began)
        if not done.more:
            return longest
    raise AssertionError("it never ends")


async def test_age_takes_texts_then_calls_with_their_nodes_and_marks_and_leaves_totals(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    clock = [1000 * DAY]
    scribe = Scribe(wall=lambda: clock[0])
    backend = SQLite(path, terms=Terms(calls=90 * DAY, texts=30 * DAY))
    await backend.open("journal")
    for day in range(120):
        clock[0] = (1000 + day) * DAY
        for number in range(3):
            record = scribe.record(question(f"question {day}/{number}"), [f"answer {day}/{number}"])
            await backend.apply([closed(record)], Position(1, day * 10 + number + 1), durable=False)
    assert await tidied(backend, clock[0] + 1) < 1.0
    assert count(path, "calls") == 90 * 3
    assert count(path, "texts") == 30 * 6
    assert count(path, "nodes") == 90 * 6
    assert 0 < count(path, "marks") < 120 * 3 * 6
    assert count(path, "sessions") == 360
    database = sqlite3.connect(path)
    assert database.execute("SELECT sum(request_count) FROM sessions").fetchone() == (360,)
    assert database.execute("SELECT min(at) FROM marks").fetchone()[0] >= (1000 + 30) * DAY
    database.close()
    await tidied(backend, clock[0] + 1000 * DAY)
    assert [count(path, table) for table in ("calls", "texts", "nodes", "marks")] == [0, 0, 0, 0]
    assert count(path, "sessions") == 360
    await backend.close()


async def test_calls_of_one_millisecond_keep_their_marks_whatever_the_order_of_their_ids(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    clock = [1000 * DAY]
    scribe = Scribe(wall=lambda: clock[0])
    backend = SQLite(path, terms=Terms(calls=90 * DAY))
    await backend.open("journal")
    for number in range(3):
        clock[0] += 0.0001
        record = scribe.record(question(f"question {number}"), [f"answer {number}"], id=f"id{9 - number}")
        await backend.apply([closed(record)], Position(1, number + 1), durable=False)
    before = count(path, "marks"), count(path, "nodes")
    assert before[0] >= 6
    await tidied(backend, clock[0] + 1)
    assert (count(path, "marks"), count(path, "nodes")) == before
    await backend.close()


async def test_a_text_that_is_still_said_outlives_its_age(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    clock = [1000 * DAY]
    scribe = Scribe(wall=lambda: clock[0])
    backend = SQLite(path, terms=Terms(texts=5 * DAY))
    await backend.open("journal")
    body = {"messages": [{"role": "system", "content": "Always the same."}, {"role": "user", "content": "x"}]}
    for day in range(20):
        clock[0] = (1000 + day) * DAY
        record = scribe.record(body | {"user": str(day)}, [f"answer {day}"])
        assert record.transcript is not None
        scribe.transcripts.kept(record.transcript)
        await backend.apply([closed(record)], Position(1, day + 1), durable=False)
        await tidied(backend, clock[0])
    said = await backend.conversations.of_call(record.call.id)
    assert said is not None
    assert [message and message.text for message in said.system] == ["Always the same."]
    assert words(said.messages) == ["x"]
    await backend.close()


async def test_the_file_holds_its_cap_while_records_are_written_and_nobody_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cap = 6 << 20
    scribe = Scribe()
    settings = Store(batch_every=0.01, max_size=cap)
    largest = largest_with_log = 0
    async with Ledger(settings, tmp_path, transcripts=scribe.transcripts) as ledger:
        for _ in range(60):
            for _ in range(50):
                scribe.keep(ledger, question(noise(3000)), noise(1000))
            assert await ledger.settled(20)
            size, log = [(tmp_path / name).stat().st_size for name in ("llmqd.db", "llmqd.db-wal")]
            largest, largest_with_log = max(largest, size), max(largest_with_log, size + log)
        health = ledger.health()
        assert (health.ok, health.lost, health.set_aside) == (True, 0, 0)
        assert health.given_up > 1000
        assert 0 < health.database_bytes <= cap
        last = scribe.keep(ledger, question("the last question"), "the last answer")
        assert await ledger.settled(20)
        said = await ledger.messages_of_call(last.call.id)
        assert said is not None
        assert words(said.messages) == ["the last question"]
        assert await ledger.count_by_status() == {"done": 3001}
    batch = 1 << 20
    assert cap / 2 < largest <= cap
    assert largest_with_log <= cap + 3 * batch
    assert (tmp_path / "llmqd.db").stat().st_size <= cap
    assert len([line for line in caplog.records if "max_size" in line.message]) == 1
    assert caplog.records[0].levelno == logging.WARNING


async def test_no_call_goes_for_what_the_index_of_words_holds_of_texts_that_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    scribe = Scribe()
    backend = SQLite(path, terms=Terms(max_size=3 << 20))
    await backend.open("journal")
    spoken = [closed(scribe.record(question(noise(6000)), [noise(1000)])) for _ in range(300)]
    await backend.apply(spoken, Position(1, 1), durable=False)
    with closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM texts")  # as if they had gone in a rush, and the index not been put in order since
        other.commit()
    await tidied(backend, time.time())
    assert count(path, "calls") == 300
    assert path.stat().st_size < 3 << 20
    await backend.apply([closed(scribe.record(question("the last one"), ["of them"]))], Position(1, 2), durable=False)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM words WHERE words MATCH 'last'").fetchall() == [(1,)]
    await backend.close()


async def test_when_the_texts_are_gone_the_oldest_calls_go_and_totals_stay(tmp_path: Path) -> None:
    cap = 1 << 20
    settings = Store(batch_every=0.01, max_size=cap, capture="usage")
    scribe = Scribe(settings)
    async with Ledger(settings, tmp_path, transcripts=scribe.transcripts) as ledger:
        first = scribe.keep(ledger, question("x"), "y", session="s", id="0" * 26)
        for _ in range(6000):
            scribe.keep(ledger, question("x"), "y", session="s")
        assert await ledger.settled(20)
        assert await ledger.call(first.call.id) is None
        [totals] = await ledger.session_totals(10)
        assert totals.request_count == 6001
    assert (tmp_path / "llmqd.db").stat().st_size <= cap
    assert count(tmp_path / "llmqd.db", "texts") == 0
    assert 100 < count(tmp_path / "llmqd.db", "calls") < 6001


async def test_a_conversation_whose_texts_had_to_go_has_them_again_when_it_goes_on(tmp_path: Path) -> None:
    scribe = Scribe()
    settings = Store(batch_every=0.01, max_size=2 << 20)
    async with Ledger(settings, tmp_path, transcripts=scribe.transcripts) as ledger:
        talk = Talk(scribe, ledger)
        early = talk.say("what was said at first", "what was answered at first")
        for _ in range(700):
            scribe.keep(ledger, question(noise(3000)), noise(1000))
        assert await ledger.settled(20)
        said = await ledger.messages_of_call(early.call.id)
        assert said is not None
        assert words(said.messages) == [None]
        record = talk.say("and now", "now what")
        assert await ledger.settled(20)
        said = await ledger.messages_of_call(record.call.id)
        assert said is not None
        assert words(said.messages) == ["what was said at first", "what was answered at first", "and now"]


async def test_a_cap_that_totals_alone_exceed_is_told(tmp_path: Path) -> None:
    scribe = Scribe()
    async with Ledger(Store(batch_every=0.01, max_size=65536), tmp_path, transcripts=scribe.transcripts) as ledger:
        for _ in range(10):
            scribe.keep(ledger, question("x"), "y")
        assert await ledger.settled(20)
        for _ in range(200):
            if not ledger.health().ok:
                break
            await asyncio.sleep(0.02)
        assert "max_size" in str(ledger.health().reason)
        assert ledger.health().lost == 0


async def test_memory_is_bounded_in_calls_and_in_bytes() -> None:
    seconds = itertools.count(1000 * int(DAY))
    scribe = Scribe(wall=lambda: float(next(seconds)))
    settings = Store(backend="memory", batch_every=0.01, memory_calls=50, max_size=2 << 20)
    later = 1000 * DAY + 600
    async with Ledger(settings, Path("/nonexistent"), transcripts=scribe.transcripts, wall=lambda: later) as ledger:
        for _ in range(10):
            for _ in range(60):
                scribe.keep(ledger, question(noise(3000)), noise(1000))
            assert await ledger.settled(20)
        assert await ledger.count_by_status() == {"done": 50}
        for _ in range(500):
            if ledger.health().database_bytes <= 2 << 20 and len(await ledger.latest_marks(100_000)) < 600:
                break
            await asyncio.sleep(0.02)
        assert ledger.health().database_bytes <= 2 << 20
        assert len(await ledger.latest_marks(100_000)) < 600
