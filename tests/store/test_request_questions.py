"""Which calls there were: every filter, in pages, without reading what cannot fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.store.entries import decode, encode_opened
from llmqd.store.request_questions import CallFilters, RequestQuestions
from llmqd.store.sqlite import SQLite
from llmqd.usage import Cost
from tests.store.databases import database
from tests.store.usage_records import HERE, MIDNIGHT, ended_call, told

pytestmark = pytest.mark.usefixtures("each_database")

HOUR = 3600


async def names(backend: SQLite, limit: int = 100, **filters: Any) -> list[str | None]:
    page = await RequestQuestions(backend.ask).search(CallFilters(**filters), limit)
    return [record.call.conversation for record in page.records]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["d", "c", "b", "a"]),
        ({"session": "s1"}, ["b", "a"]),
        ({"model": "m1"}, ["c", "a"]),
        ({"model": "m1", "agent": "x"}, ["a"]),
        ({"model": "m2", "agent": "x"}, []),
        ({"user": "u"}, ["b"]),
        ({"key": "k"}, ["c"]),
        ({"upstream": "groq"}, ["d"]),
        ({"status": "failed"}, ["d"]),
        ({"status": "done"}, ["c", "b", "a"]),
        ({"tag": "t"}, ["b"]),
        ({"since": MIDNIGHT + HOUR}, ["d", "c", "b"]),
        ({"until": MIDNIGHT + HOUR}, ["b", "a"]),
        ({"model": "m1", "since": MIDNIGHT + 1.0}, ["c"]),
        ({"model": "m1", "until": MIDNIGHT + 1.0}, ["a"]),
        ({"min_cost": 0}, ["c", "b", "a"]),
        ({"max_cost": 1}, ["a"]),
        ({"since": MIDNIGHT + 2.0, "until": MIDNIGHT + 1.0}, []),
    ],
)
async def test_each_filter(filters: dict[str, Any], expected: list[str]) -> None:
    async with database() as backend:
        await told(
            backend,
            ended_call(MIDNIGHT, "s1", conversation="a", model="m1", agent="x", cost=Cost(1)),
            ended_call(MIDNIGHT + HOUR, "s1", conversation="b", model="m2", user="u", tags=("t", "tt"), cost=Cost(2)),
            ended_call(MIDNIGHT + 30 * HOUR, None, conversation="c", model="m1", client="k", cost=Cost(3)),
            ended_call(MIDNIGHT + 31 * HOUR, None, conversation="d", upstream="groq", status="failed", http_status=None,
                       cost=None, usage=None),
        )  # fmt: skip
        assert await names(backend, **filters) == expected


async def test_a_call_that_runs_is_found_by_what_it_is() -> None:
    running = ended_call(MIDNIGHT, "s", conversation="runs", model="m")
    async with database() as backend:
        await backend.apply([decode(encode_opened(running))], HERE, durable=False)
        assert await names(backend, model="m") == ["runs"]
        assert await names(backend, status="running") == ["runs"]
        assert await names(backend, model="other") == []


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60 * 60 * 8), st.sampled_from(["m1", "m2"])), min_size=1, max_size=50),
    st.integers(1, 7),
    st.sampled_from([None, "m1"]),
)
async def test_pages_neither_skip_nor_repeat_while_calls_are_added(
    calls: list[tuple[int, str]], limit: int, model: str | None
) -> None:
    records = [ended_call(MIDNIGHT + at, model=name) for at, name in calls]
    expected = sorted(
        (record.call.id for record in records if model is None or record.call.model == model), reverse=True
    )
    async with database() as backend:
        await told(backend, *records)
        seen: list[str] = []
        after = None
        for turn in range(100):
            page = await RequestQuestions(backend.ask).search(CallFilters(model=model), limit, after=after)
            assert len(page.records) <= limit
            seen += [record.call.id for record in page.records]
            after = page.next
            if after is None:
                break
            await told(backend, ended_call(MIDNIGHT + 10 * HOUR + turn, model="m1"))
        assert seen == expected


async def test_a_rare_model_is_found_without_reading_the_other_hours() -> None:
    async with database() as backend:
        asked: list[tuple[Any, ...]] = []

        async def ask(statement: str, *values: Any) -> Any:
            asked.append((statement, values))
            return await backend.ask(statement, *values)

        await told(backend, *[ended_call(MIDNIGHT + HOUR * hour, model="usual") for hour in range(100)])
        await told(backend, ended_call(MIDNIGHT + 40 * HOUR + 5, model="rare"))
        page = await RequestQuestions(ask).search(CallFilters(model="rare"), 10)
        assert [record.call.model for record in page.records] == ["rare"]
        searches = [values for statement, values in asked if statement.startswith("SELECT * FROM calls")]
        assert len(searches) == 1
        first, last = searches[0][0], searches[0][1]
        [read] = await backend.ask("SELECT count(*) AS found FROM calls WHERE id >= ? AND id < ?", first, last)
        assert read["found"] <= 3
