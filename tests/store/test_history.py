"""What the ledger knows of each lane's past: complete, counted once, quick to ask, and bounded."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmqd.call import Record
from llmqd.config.model import Store
from llmqd.store import history
from llmqd.store.entries import Entry, decode, encode_closed, encode_opened, encode_run
from llmqd.store.ledger import Ledger
from llmqd.store.position import Position
from llmqd.store.schema import MIGRATIONS
from llmqd.usage import LaneUsage, Sample, Usage
from tests.store.databases import database
from tests.store.records import answer, make_record

pytestmark = pytest.mark.usefixtures("each_database")

HERE = Position(1, 10)
NOON = 1_800_000_000.0
"""A whole multiple of a quarter of an hour."""

STATEMENTS = {
    name: text for name, text in vars(history).items() if name.isupper() and name[0] != "_" and isinstance(text, str)
}


def sent(at: float, lane: str = "openai", *, model: str | None = "gpt-4o", **outcome: Any) -> Record:
    record = make_record("s", received_at=at - 0.5, model=model)
    fields: dict[str, Any] = {"lane": lane, "sent_ms": 500.0, "counted": True}
    return answer(record, **(fields | outcome))


def closed(record: Record) -> Entry:
    return decode(encode_closed(record))


@pytest.mark.parametrize("name", STATEMENTS)
def test_each_statement_fits_the_schema(name: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in MIGRATIONS:
            connection.executescript(script)
        values = [None] * STATEMENTS[name].count("?")
        assert connection.execute("EXPLAIN " + STATEMENTS[name], values).fetchall()


async def test_calls_are_summed_by_lane_model_and_ten_seconds() -> None:
    calls = [sent(NOON + 1), sent(NOON + 9.5), sent(NOON + 10), sent(NOON + 1, "other"), sent(NOON + 2, model=None)]
    async with database() as backend:
        await backend.apply([closed(call) for call in calls[:2]], HERE, durable=False)
        await backend.apply([closed(call) for call in calls[2:]], HERE, durable=False)
        assert await backend.lane_usage(NOON, NOON) == [
            LaneUsage("other", "gpt-4o", NOON + 1, 1, 10, 20, 0),
            LaneUsage("openai", "", NOON + 2, 1, 10, 20, 0),
            LaneUsage("openai", "gpt-4o", NOON + 9.5, 2, 20, 40, 0),
            LaneUsage("openai", "gpt-4o", NOON + 10, 1, 10, 20, 0),
        ]
        assert [each.calls for each in await backend.lane_usage(NOON + 10, NOON)] == [1]


async def test_before_the_time_that_matters_in_detail_a_quarter_of_an_hour_is_one() -> None:
    async with database() as backend:
        await backend.apply(
            [closed(sent(NOON + at)) for at in (1, 500, 899, 901, 1799, 1805, 1811)], HERE, durable=False
        )
        told = await backend.lane_usage(NOON, NOON + 1800)
        assert [(each.calls, each.last - NOON) for each in told] == [(3, 899), (2, 1799), (1, 1805), (1, 1811)]


@pytest.mark.parametrize(
    "outcome",
    [{"counted": False}, {"sent_ms": None}, {"lane": None}],
    ids=["refused or failed", "needs no turn", "never had a lane"],
)
async def test_what_the_provider_does_not_count_is_left_out(outcome: dict[str, Any]) -> None:
    async with database() as backend:
        await backend.apply([closed(sent(NOON, **outcome))], HERE, durable=False)
        assert await backend.lane_usage(0, 0) == []


async def test_a_close_that_is_told_twice_counts_once() -> None:
    entry = closed(sent(NOON))
    async with database() as backend:
        await backend.apply([entry, entry], HERE, durable=False)
        await backend.apply([entry], HERE, durable=False)
        assert [each.calls for each in await backend.lane_usage(0, 0)] == [1]


async def test_calls_under_which_the_daemon_died_count_with_a_guess_of_their_input() -> None:
    in_turn, at_once = sent(NOON), sent(NOON)
    in_turn.call.text_bytes = 4000
    in_turn.outcome.queued_ms, at_once.outcome.queued_ms = 250.0, None
    async with database() as backend:
        opened = [decode(encode_opened(record)) for record in (in_turn, at_once)]
        await backend.apply([decode(encode_run("r1")), *opened], HERE, durable=False)
        assert await backend.lane_usage(0, 0) == []
        await backend.apply([decode(encode_run("r2"))], HERE, durable=False)
        [told] = await backend.lane_usage(0, 0)
        assert told == LaneUsage("openai", "gpt-4o", NOON - 0.25, 1, 1000, 0, 0)
        await backend.apply([closed(in_turn), decode(encode_run("r3"))], HERE, durable=False)
        assert await backend.lane_usage(0, 0) == [told]


async def test_a_running_call_shows_its_lane_and_its_wait() -> None:
    record = sent(NOON)
    record.outcome.queued_ms = 250.0
    async with database() as backend:
        await backend.apply([decode(encode_opened(record))], HERE, durable=False)
        found = await backend.call(record.call.id)
        assert found is not None
        assert (found.outcome.status, found.outcome.lane, found.outcome.queued_ms) == ("running", "openai", 250.0)


async def test_two_days_are_kept() -> None:
    async with database() as backend:
        await backend.apply([closed(sent(NOON)), closed(sent(NOON + 60))], HERE, durable=False)
        await backend.apply([closed(sent(NOON + 30 + history.KEPT))], HERE, durable=False)
        assert [each.last for each in await backend.lane_usage(0, 0)] == [NOON + 60, NOON + 30 + history.KEPT]


async def test_a_day_of_a_million_calls_is_told_in_well_below_a_second(tmp_path: Path) -> None:
    path = tmp_path / "llmqd.db"
    async with database(path) as backend:
        with closing(sqlite3.connect(path)) as other:
            other.execute(
                "WITH RECURSIVE s(value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM s WHERE value < 8639),"
                " l(value) AS (VALUES (1), (2), (3), (4)), m(value) AS (VALUES (1), (2), (3))"
                " INSERT INTO lane_usage SELECT :noon + 10 * s.value, 'lane' || l.value, 'model' || m.value,"
                " :noon + 10 * s.value + 9, 10, 10000, 2000, 0 FROM s, l, m",
                {"noon": int(NOON)},
            )
            other.commit()
        began = time.process_time()
        told = await backend.lane_usage(NOON, NOON + 86_400 - 3600)
        assert time.process_time() - began < 0.9
        assert sum(each.calls for each in told) == 1_036_800
        assert len(told) == 12 * (23 * 4 + 360)


async def test_samples_are_the_latest_exact_calls_of_each_model() -> None:
    def call(at: float, upstream: str = "openai", *, text_bytes: int = 400, **outcome: Any) -> Entry:
        record = sent(NOON + at, **outcome)
        record.call.upstream, record.call.text_bytes, record.call.media = upstream, text_bytes, 1
        record.call.id = f"{round(at):05}"
        return closed(record)

    async with database() as backend:
        kept = [call(at, prompt=at) for at in range(1, history.SAMPLES + 11)]
        others = [
            call(900, "groq"),
            call(901, text_bytes=0),
            call(902, usage=Usage(input=1, source="estimated")),
            call(903, usage=None),
        ]
        await backend.apply([*kept, *others], HERE, durable=False)
        samples = await backend.samples()
    assert [each.usage.input for each in samples if each.upstream == "openai"] == list(range(11, history.SAMPLES + 11))
    assert samples[-1] == Sample("groq", "gpt-4o", 400, 1, Usage(input=10, output=20, source="exact"))


async def test_no_more_than_the_latest_calls_are_read_for_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "SAMPLED", 3)
    async with database() as backend:
        for number in range(5):
            record = sent(NOON + number, prompt=number)
            record.call.id, record.call.text_bytes = str(number), 10
            await backend.apply([closed(record)], HERE, durable=False)
        assert [each.usage.input for each in await backend.samples()] == [2, 3, 4]


@pytest.mark.parametrize("backend", ["sqlite", "memory"])
async def test_the_ledger_answers_for_what_has_just_ended(tmp_path: Path, backend: Any) -> None:
    async with Ledger(Store(backend=backend, batch_every=0.01), tmp_path) as ledger:
        record = sent(time.time())
        record.call.text_bytes = 40
        ledger.opened(record)
        ledger.closed(record)
        assert await ledger.settled(5)
        assert [each.calls for each in await ledger.lane_usage(NOON - 1e8, NOON - 1e8)] == [1]
        assert [each.text_bytes for each in await ledger.samples()] == [40]


async def test_a_renamed_call_is_known_by_the_model_that_was_sent() -> None:
    interrupted = make_record("s", received_at=NOON, sent_model="mini", text_bytes=400)
    interrupted.outcome.lane, interrupted.outcome.queued_ms = "openai", 0.0
    done = make_record("s", received_at=NOON, sent_model="mini", text_bytes=400)
    entries = [decode(encode_opened(interrupted)), closed(answer(done)), decode(encode_run("another"))]
    async with database() as backend:
        await backend.apply(entries, HERE, durable=False)
        assert [each.model for each in await backend.lane_usage(NOON, NOON)] == ["mini"]
        assert [each.model for each in await backend.samples()] == ["mini"]
