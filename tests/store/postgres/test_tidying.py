"""What is too old or too much goes by whole partitions; totals stay."""

from __future__ import annotations

import asyncpg
import pytest

from llmqd.call import new_call_id
from llmqd.store.position import Position
from llmqd.store.postgres.backend import PostgreSQL
from llmqd.store.retention import Terms
from tests.postgres import Postgres
from tests.store.conversing import Scribe
from tests.store.usage_records import closed

DAY = 86_400.0
NOW = 20_000 * DAY + 3600


async def spoken(backend: PostgreSQL, *ages: float) -> list[str]:
    """A call of each age in days, in a session of its own; their ids."""
    now = [NOW]
    scribe = Scribe(wall=lambda: now[0])
    ids = []
    for age in sorted(ages, reverse=True):
        now[0] = NOW - age * DAY
        record = scribe.record(
            {"messages": [{"role": "user", "content": f"what was asked {age} days ago"}]}, [f"answered {age}"],
            id=new_call_id(now[0]), session=f"s{age}",
        )  # fmt: skip
        await backend.apply([closed(record)], Position(1, 1), durable=False)
        ids.append(record.call.id)
    return ids


async def tidied(backend: PostgreSQL, now: float = NOW) -> int:
    """Steps until nothing is left to do; how many rows were given up."""
    given_up = 0
    for _ in range(100):
        done = await backend.tidy(now)
        given_up += done.given_up
        if not done.more:
            return given_up
    pytest.fail("it does not come to an end")


async def counts(backend: PostgreSQL) -> dict[str, int]:
    tables = ("calls", "sessions", "texts", "words", "nodes", "marks")
    return {name: (await backend.ask(f"SELECT count(*) AS rows FROM {name}"))[0]["rows"] for name in tables}


async def test_what_is_too_old_goes_and_totals_stay(postgres: Postgres) -> None:
    backend = PostgreSQL(postgres.database(), terms=Terms(calls=90 * DAY, texts=30 * DAY))
    await backend.open("journal")
    ids = await spoken(backend, 100, 95, 40, 35, 5, 0)
    before = await counts(backend)
    assert before | {"marks": 0} == {"calls": 6, "sessions": 6, "texts": 12, "words": 12, "nodes": 12, "marks": 0}
    assert await tidied(backend) == 0
    after = await counts(backend)
    assert after | {"marks": 0} == {"calls": 4, "sessions": 6, "texts": 4, "words": 4, "nodes": 8, "marks": 0}
    assert 0 < after["marks"] < before["marks"]
    assert await backend.call(ids[0]) is None
    said = await backend.conversations.of_call(ids[2])
    assert said is not None
    assert [line.message for line in said.messages] == [None]
    [row] = await backend.ask("SELECT sum(calls) AS calls FROM usage WHERE by = 'all' AND step = 3600")
    assert row["calls"] == 6
    await backend.close()


async def test_a_minute_passes_before_it_looks_again(postgres: Postgres) -> None:
    backend = PostgreSQL(postgres.database(), terms=Terms(calls=90 * DAY))
    await backend.open("journal")
    await tidied(backend)
    await spoken(backend, 100)
    await backend.tidy(NOW + 59)
    assert (await counts(backend))["calls"] == 1
    await tidied(backend, NOW + 61)
    assert (await counts(backend))["calls"] == 0
    await backend.close()


async def test_at_its_cap_the_oldest_texts_go_then_the_oldest_calls_and_it_is_said(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    backend = PostgreSQL(postgres.database(), terms=Terms(calls=90 * DAY, texts=90 * DAY, max_size=1))
    await backend.open("journal")
    await spoken(backend, 60, 40, 0)
    assert await tidied(backend) == 6
    assert await counts(backend) | {"nodes": 0, "marks": 0} == {
        "calls": 1, "sessions": 3, "texts": 2, "words": 2, "nodes": 0, "marks": 0,
    }  # fmt: skip
    assert "max_size" in caplog.text
    last = await backend.tidy(NOW + 100)
    assert last.too_small
    assert last.size > 1
    await backend.close()


async def test_who_reads_for_long_is_not_cut_off_and_keeps_nobody_waiting(postgres: Postgres) -> None:
    dsn = postgres.database()
    backend = PostgreSQL(dsn, terms=Terms(calls=90 * DAY))
    await backend.open("journal")
    await spoken(backend, 100, 0)
    reader = await asyncpg.connect(dsn)
    async with reader.transaction():
        assert await reader.fetchval("SELECT count(*) FROM calls") == 2
        assert not (await backend.tidy(NOW)).more
        assert (await counts(backend))["calls"] == 2
    await reader.close()
    await tidied(backend, NOW + 61)
    assert (await counts(backend))["calls"] == 1
    await backend.close()
