"""Roll-ups add up to the calls they were made of, once, however they are told."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.call import Record
from llmqd.store.columns import CALL_COLUMNS, OUTCOME_COLUMNS
from llmqd.store.entries import Closed, decode, encode_opened, encode_run
from llmqd.store.histogram import unpacked
from llmqd.store.rollups import COLUMNS, DIMENSIONS, SUMS, ended, usage_rows
from llmqd.store.schema import APPLICATION_ID, MIGRATIONS
from llmqd.usage import Cost, Usage
from tests.store.databases import database
from tests.store.usage_records import HERE, MIDNIGHT, closed, ended_call, figures, told

pytestmark = pytest.mark.usefixtures("each_database")

BEFORE_ROLL_UPS = next(number for number, script in enumerate(MIGRATIONS) if "CREATE TABLE usage" in script)


def rows(*records: Record) -> list[dict[str, Any]]:
    calls = []
    for record in records:
        entry = closed(record)
        assert isinstance(entry, Closed)
        calls.append(ended(entry.row))
    return [dict(zip(COLUMNS, row, strict=True)) for row in usage_rows(calls)]


def test_a_call_is_in_one_row_of_each_dimension_for_its_hour_and_its_day() -> None:
    call = ended_call(MIDNIGHT + 3700, agent="a", user="u", client="k", upstream="groq", model="llama")
    found = {(row["by"], row["step"], row["start"], row["value"], row["part"]) for row in rows(call)}
    values = [("all", "", ""), ("model", "llama", "groq"), ("agent", "a", ""), ("user", "u", ""), ("key", "k", "")]
    values.append(("upstream", "groq", ""))
    assert found == {
        (by, step, start, value, part)
        for by, value, part in values
        for step, start in ((3600, MIDNIGHT + 3600), (86_400, MIDNIGHT))
    }


def test_what_a_call_adds() -> None:
    call = ended_call(
        MIDNIGHT, stream=True, total_ms=1500.4, first_byte_ms=200.0, queued_ms=50.0, function_calls=2,
        usage=Usage(input=100, output=20, cached=60, cache_write_5m=5, cache_write_1h=7, reasoning=9, source="exact"),
        cost=Cost(total=10, input=1, output=2, cache_read=3, cache_write=4),
    )  # fmt: skip
    row = rows(call)[0]
    assert {name: row[name] for name in SUMS} == {
        "calls": 1, "errors": 0, "input_tokens": 100, "output_tokens": 20, "cached_tokens": 60,
        "cache_write_tokens": 12, "reasoning_tokens": 9, "cost_pico": 10, "cost_input_pico": 1, "cost_output_pico": 2,
        "cost_cache_read_pico": 3, "cost_cache_write_pico": 4, "unknown_cost_count": 0, "cache_hits": 1,
        "function_calls": 2, "queued_ms": 50, "total_ms": 1500, "first_ms": 200, "streams": 1,
    }  # fmt: skip
    assert (row["shortest_ms"], row["longest_ms"]) == (1500.4, 1500.4)
    assert [sum(unpacked(row[name]).values()) for name in ("latency", "ttft")] == [1, 1]


def test_errors_count_but_drag_no_average() -> None:
    failed = ended_call(
        MIDNIGHT, http_status=500, status="failed", usage=None, cost=None, stream=True, first_byte_ms=9.0
    )
    row = rows(failed)[0]
    assert (row["calls"], row["errors"], row["total_ms"], row["streams"], row["unknown_cost_count"]) == (1, 1, 0, 0, 0)
    assert (row["latency"], row["ttft"], row["shortest_ms"]) == (b"", b"", None)


def test_a_price_that_is_not_known_is_counted_and_not_taken_for_nothing() -> None:
    assert rows(ended_call(MIDNIGHT, cost=None))[0]["unknown_cost_count"] == 1
    assert rows(ended_call(MIDNIGHT, usage=None, cost=None))[0]["unknown_cost_count"] == 0


def test_the_time_to_the_first_byte_counts_for_streams_alone() -> None:
    assert rows(ended_call(MIDNIGHT, stream=False, first_byte_ms=5.0))[0]["streams"] == 0


async def test_a_close_that_is_told_twice_counts_once() -> None:
    call = ended_call(MIDNIGHT)
    async with database() as backend:
        await told(backend, call, call)
        await told(backend, call)
        assert await figures(backend) == [(MIDNIGHT, "", 1)]
        assert [row["sessions"] for row in await backend.ask("SELECT sessions FROM returns WHERE by = 'all'")] == [1]
        [session] = await backend.ask("SELECT * FROM sessions")
        assert session["total_ms"] == 1500


async def test_calls_under_which_the_daemon_died_are_errors() -> None:
    call = ended_call(MIDNIGHT, agent="a")
    async with database() as backend:
        await backend.apply([decode(encode_run("r1")), decode(encode_opened(call))], HERE, durable=False)
        assert await figures(backend) == []
        await backend.apply([decode(encode_run("r2"))], HERE, durable=False)
        assert await figures(backend, columns="calls, errors, total_ms") == [(MIDNIGHT, "", 1, 1, 0)]
        await told(backend, call)
        assert await figures(backend) == [(MIDNIGHT, "", 1)]
        facets = await backend.ask("SELECT kind, value FROM facets")
        assert {(row["kind"], row["value"]) for row in facets} == {
            ("agent", "a"), ("model", "gpt-4o-mini"), ("status", "interrupted"),
        }  # fmt: skip


async def test_a_session_is_of_the_key_whose_call_came_first_though_a_later_one_runs() -> None:
    async with database() as backend:
        first = ended_call(MIDNIGHT, key="mine", agent="a")
        later = ended_call(MIDNIGHT + 1, key="theirs", agent="b")
        await backend.apply([closed(first), decode(encode_opened(later))], HERE, durable=False)
        [row] = await backend.ask("SELECT client_key, agent FROM sessions")
        assert row == {"client_key": "mine", "agent": "a"}


async def test_a_running_call_names_its_session_already() -> None:
    call = ended_call(MIDNIGHT, agent="a", user="u", conversation="c", tags=("x", "y:z"))
    async with database() as backend:
        await backend.apply([decode(encode_opened(call))], HERE, durable=False)
        [session] = await backend.ask("SELECT agent, user_id, conversation FROM sessions")
        assert tuple(session.values()) == ("a", "u", "c")
        await told(backend, call, ended_call(MIDNIGHT + 1, agent="later", user="other"))
        [session] = await backend.ask("SELECT agent, user_id, conversation FROM sessions")
        assert tuple(session.values()) == ("a", "u", "c")
        tags = await backend.ask("SELECT value FROM facets WHERE kind = 'tag'")
        assert [row["value"] for row in tags] == ["x", "y:z"]


calls = st.builds(
    lambda number, minute, model, agent, user, ok, ms: ended_call(
        MIDNIGHT + 60 * minute,
        f"s{number % 4}",
        id=f"{number:026}",
        model=model,
        agent=agent,
        user=user,
        total_ms=ms,
        http_status=200 if ok else 502,
        prompt=number,
    ),
    number=st.integers(0, 400),
    minute=st.integers(0, 3000),
    model=st.sampled_from([None, "m1", "m2"]),
    agent=st.sampled_from([None, "", "a"]),
    user=st.sampled_from([None, "u", "v", "w"]),
    ok=st.booleans(),
    ms=st.floats(0.1, 1e6),
)


@settings(max_examples=25, deadline=None)
@given(batches=st.lists(st.lists(calls, max_size=12), max_size=6))
async def test_each_dimension_of_each_step_adds_up_to_the_calls(batches: list[list[Record]]) -> None:
    async with database() as backend:
        for batch in batches:
            await told(backend, *batch)
        truth: dict[str, Record] = {}
        for record in (record for batch in batches for record in batch):
            truth.setdefault(record.call.id, record)
        for by in ("all", *DIMENSIONS):
            for step in (3600, 86_400):
                found = await figures(backend, by, "calls, errors, input_tokens, latency", step)
                assert sum(row[2] for row in found) == len(truth)
                assert sum(row[3] for row in found) == sum(each.outcome.http_status != 200 for each in truth.values())
                assert sum(row[4] for row in found) == sum(
                    each.outcome.usage.input for each in truth.values() if each.outcome.usage
                )
                answered = sum(each.outcome.http_status == 200 for each in truth.values())
                assert sum(sum(unpacked(row[5]).values()) for row in found) == answered
                by_start = Counter(int(each.call.received_at // step * step) for each in truth.values())
                totals: Counter[int] = Counter()
                for row in found:
                    totals[row[0]] += row[2]
                assert totals == by_start


async def test_a_database_of_an_older_llmqd_is_rolled_up_when_it_is_opened(tmp_path: Path) -> None:
    path, records = tmp_path / "llmqd.db", [ended_call(MIDNIGHT + 400 * n, f"s{n % 7}", agent="a") for n in range(60)]
    with closing(sqlite3.connect(path)) as old:
        for script in MIGRATIONS[:BEFORE_ROLL_UPS]:
            old.executescript(script)
        known = [row[1] for row in old.execute("PRAGMA table_info(calls)")]
        columns = [column for column in (*CALL_COLUMNS, *OUTCOME_COLUMNS) if column in known]
        for number, record in enumerate(records):
            entry = closed(record)
            assert isinstance(entry, Closed)
            values = dict(zip((*CALL_COLUMNS, *OUTCOME_COLUMNS), entry.row, strict=False))
            if number == 59:
                values["status"] = "running"
            old.execute(
                f"INSERT INTO calls ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                [values[column] for column in columns],
            )
            old.execute(
                "INSERT INTO sessions VALUES (?, 'header', ?, ?, 0, 0, 0, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
                (record.call.session.id, MIDNIGHT, MIDNIGHT),
            )
        old.execute(f"PRAGMA user_version = {BEFORE_ROLL_UPS}")
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.commit()
    async with database(path) as backend:
        assert sum(row[2] for row in await figures(backend)) == 59
        assert [row["agent"] for row in await backend.ask("SELECT agent FROM sessions")] == ["a"] * 7
        await backend.apply([decode(encode_run("new"))], HERE, durable=False)
        assert sum(row[2] for row in await figures(backend)) == 60
    async with database(path) as backend:
        assert sum(row[2] for row in await figures(backend)) == 60


async def test_rolling_up_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path, records = tmp_path / "llmqd.db", [ended_call(MIDNIGHT + n, id=f"{n:026}") for n in range(20)]
    async with database(path) as backend:
        await told(backend, *records)
        before = await figures(backend, columns="calls, latency")
    with closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM usage")
        other.execute("DELETE FROM visits")
        other.execute("DELETE FROM returns")
        other.execute("INSERT INTO meta VALUES ('rolled_up_to', '')")
        other.commit()
    async with database(path) as backend:
        assert await figures(backend, columns="calls, latency") == before
        assert await backend.ask("SELECT * FROM meta WHERE key = 'rolled_up_to'") == []
    with closing(sqlite3.connect(path)) as other:
        other.execute("INSERT INTO meta VALUES ('rolled_up_to', ?)", (records[14].call.id,))
        other.commit()
    async with database(path) as backend:
        assert [row[2] for row in await figures(backend)] == [25]


async def test_in_memory_roll_ups_are_bounded() -> None:
    async with database(None, keep=5) as backend:
        for hour in range(200):
            await told(backend, ended_call(MIDNIGHT + 3600 * hour, f"s{hour}", user=f"u{hour}"))
        [usage] = await backend.ask("SELECT count(*) AS found, max(start) AS latest FROM usage")
        assert usage["found"] <= 70
        assert usage["latest"] == MIDNIGHT + 3600 * 199
        [kept] = await backend.ask("SELECT count(*) AS found FROM sessions")
        for table in ("facets", "visits"):
            [row] = await backend.ask(f"SELECT count(DISTINCT session_id) AS found FROM {table}")
            assert row["found"] == kept["found"]
