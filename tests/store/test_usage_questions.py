"""What was used, asked of roll-ups: the same as if every call had been read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.call import Record
from llmqd.store.rollups import DAY, HOUR
from llmqd.store.usage_questions import Percentiles, UsageQuestions
from llmqd.store.window import Window
from llmqd.usage import Cost, Usage
from tests.store.databases import database
from tests.store.usage_records import MIDNIGHT, ended_call, told

pytestmark = pytest.mark.usefixtures("each_database")

WEEK = Window(MIDNIGHT, MIDNIGHT + 7 * DAY)


async def test_an_empty_window_has_sums_of_nothing_and_no_percentiles() -> None:
    async with database() as backend:
        found = await UsageQuestions(backend.ask).overview(WEEK)
        assert (found.usage.calls, found.usage.cost_pico, found.usage.sessions, found.users) == (0, 0, 0, 0)
        assert found.usage.latency == found.usage.ttft == Percentiles(None, None, None)
        assert found.usage.shortest_ms is None
        assert await UsageQuestions(backend.ask).by("model", WEEK, 10) == []


async def test_a_window_takes_the_calls_received_in_it_and_no_others() -> None:
    async with database() as backend:
        times = (-1, 0, HOUR - 1, HOUR, DAY, 2 * DAY - 1, 2 * DAY, 3 * DAY + HOUR - 1, 3 * DAY + HOUR)
        await told(backend, *[ended_call(MIDNIGHT + at) for at in times])
        questions = UsageQuestions(backend.ask)
        for window, calls in (
            (Window(MIDNIGHT, MIDNIGHT + HOUR), 2),
            (Window(MIDNIGHT, MIDNIGHT + 3 * DAY + HOUR), 7),
            (Window(MIDNIGHT - HOUR, MIDNIGHT + DAY), 4),
            (Window(MIDNIGHT + HOUR, MIDNIGHT + 3 * DAY), 4),
            (Window(MIDNIGHT + HOUR, MIDNIGHT + HOUR), 0),
        ):
            assert (await questions.overview(window)).usage.calls == calls


async def test_percentiles_are_those_of_all_calls_of_the_window() -> None:
    async with database() as backend:
        for day in range(5):
            calls = [
                ended_call(
                    MIDNIGHT + day * DAY + n, stream=True, total_ms=1000.0 + 10 * (100 * day + n), first_byte_ms=50.0
                )
                for n in range(100)
            ]
            await told(backend, *calls)
        found = (await UsageQuestions(backend.ask).overview(WEEK)).usage
        for measured, true in zip(
            (found.latency.p50, found.latency.p95, found.latency.p99), (3490, 5740, 5940), strict=True
        ):
            assert measured == pytest.approx(true, rel=0.05)
        assert found.ttft.p99 == pytest.approx(50, rel=0.05)
        assert found.latency.p99 is not None
        assert found.latency.p99 <= 5990.0 == found.longest_ms


async def test_users_without_a_name_are_no_users() -> None:
    async with database() as backend:
        await told(backend, *[ended_call(MIDNIGHT + n, user=user) for n, user in enumerate(("u", "", None, "v", "u"))])
        assert (await UsageQuestions(backend.ask).overview(WEEK)).users == 2


async def test_values_come_the_dearest_first_and_nothing_that_has_no_name_is_lost() -> None:
    async with database() as backend:
        await told(
            backend,
            ended_call(MIDNIGHT, model="cheap", cost=Cost(1)),
            ended_call(MIDNIGHT + 1, model="cheap", cost=Cost(1)),
            ended_call(MIDNIGHT + DAY, model="dear", cost=Cost(50)),
            ended_call(MIDNIGHT + 2, model=None, cost=None),
        )
        questions = UsageQuestions(backend.ask)
        found = await questions.by("model", WEEK, 10)
        assert [(usage.value, usage.calls, usage.cost_pico) for usage in found] == [
            ("dear", 1, 50), ("cheap", 2, 2), ("", 1, 0),
        ]  # fmt: skip
        assert found[1].latency.p50 == pytest.approx(1500, rel=0.05)
        assert [usage.value for usage in await questions.by("model", WEEK, 2, busiest_first=True)] == ["cheap", "dear"]


async def test_a_model_at_two_upstreams_can_be_told_apart() -> None:
    async with database() as backend:
        await told(backend, *[ended_call(MIDNIGHT + n, upstream=name, total_ms=ms) for n, (name, ms) in enumerate(
            (("one", 1000.0), ("two", 3000.0), ("one", 1000.0))
        )])  # fmt: skip
        questions = UsageQuestions(backend.ask)
        parted = await questions.by("model", WEEK, 10, by_part=True)
        assert {(usage.part, usage.calls, usage.latency.p50) for usage in parted} == {
            ("one", 2, 1000.0),
            ("two", 1, 3000.0),
        }
        assert [usage.calls for usage in await questions.by("model", WEEK, 10)] == [3]


async def test_steps_without_calls_are_there_too_in_the_order_of_time() -> None:
    async with database() as backend:
        await told(backend, ended_call(MIDNIGHT + 2 * HOUR, agent="a"), ended_call(MIDNIGHT + 4 * HOUR, agent="b"))
        window = Window(MIDNIGHT + HOUR, MIDNIGHT + 6 * HOUR)
        questions = UsageQuestions(backend.ask)
        found = await questions.over_time("all", [""], window, HOUR)
        assert [(usage.start, usage.calls) for usage in found] == [
            (MIDNIGHT + HOUR * hour, calls) for hour, calls in ((1, 0), (2, 1), (3, 0), (4, 1), (5, 0))
        ]
        lines = await questions.over_time("agent", ["b", "a"], window, HOUR)
        assert [(usage.value, usage.calls) for usage in lines] == [
            *(("b", calls) for calls in (0, 0, 0, 1, 0)), *(("a", calls) for calls in (0, 1, 0, 0, 0)),
        ]  # fmt: skip


visits = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 4), st.sampled_from(["a", "b"])), max_size=40)


@settings(max_examples=40, deadline=None)
@given(visits, st.integers(0, 90), st.integers(0, 90), st.randoms(use_true_random=False))
async def test_distinct_sessions_are_counted_right_in_any_window_however_late_calls_are_told(
    active: list[tuple[int, int, str]], one: int, other: int, random: st.DataObject
) -> None:
    records: list[Record] = [
        ended_call(MIDNIGHT + HOUR * hour + number, f"s{session}", id=f"{number:026}", agent=agent)
        for number, (hour, session, agent) in enumerate(active)
    ]
    window = Window(MIDNIGHT + HOUR * min(one, other), MIDNIGHT + HOUR * max(one, other))
    inside = [record for record in records if window.start <= record.call.received_at < window.end]
    random.shuffle(records)  # type: ignore[attr-defined]
    async with database() as backend:
        for start in range(0, len(records), 7):
            await told(backend, *records[start : start + 7])
        questions = UsageQuestions(backend.ask)
        overview = await questions.overview(window)
        assert overview.usage.sessions == len({record.call.session.id for record in inside})
        for usage in await questions.by("agent", window, 10):
            mine = {record.call.session.id for record in inside if record.call.agent == usage.value}
            assert usage.sessions == len(mine)
        whole = Window.around(window.start, window.end, DAY)
        for usage in await questions.over_time("all", [""], whole, DAY):
            that_day = {
                record.call.session.id
                for record in records
                if usage.start <= record.call.received_at < usage.start + DAY
            }
            assert usage.sessions == len(that_day)


async def test_many_small_costs_add_up_exactly() -> None:
    async with database() as backend:
        calls = [ended_call(MIDNIGHT + n, cost=Cost(333_333), usage=Usage(input=1, source="exact")) for n in range(300)]
        await told(backend, *calls)
        assert (await UsageQuestions(backend.ask).overview(WEEK)).usage.cost_pico == 99_999_900
