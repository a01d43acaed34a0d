"""Stretches of days: where a call or a text has its place, how wide they are, and which of them go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.call import new_call_id
from llmqd.store.postgres.partitions import DAY, TABLES, Cut, Partition, day_of_call, first_text, given_up, outdated
from llmqd.store.retention import Terms

TODAY = 20_000


@given(st.floats(0, 4e9))
def test_the_day_of_a_call_stands_in_its_id(at: float) -> None:
    id_ = new_call_id(at)
    day = day_of_call(id_)
    assert day == int(int(at * 1000) / 1000 // DAY)
    first, end = Partition("calls", day, day + 1).bounds()
    assert first.strip("'") <= id_ < end.strip("'")


@pytest.mark.parametrize("call_id", ["firsts000", "", "zzzz", "0!", "\udc80"])
def test_an_id_that_tells_no_time_has_no_day(call_id: str) -> None:
    assert day_of_call(call_id) is None


@given(st.floats(0, 4e9))
def test_texts_of_a_day_have_ids_of_its_partition(at: float) -> None:
    day = int(at // DAY)
    first, end = Partition("texts", day, day + 1).bounds()
    assert int(first) == first_text(at) < int(end) < 2**53


@pytest.mark.parametrize(
    ("terms", "calls", "texts"),
    [
        (Terms(), 30, 30),
        (Terms(90 * DAY, 30 * DAY), 3, 1),
        (Terms(365 * DAY, 7 * DAY), 13, 1),
        (Terms(3600, 3600), 1, 1),
    ],
)
def test_some_thirty_partitions_hold_what_is_kept(terms: Terms, calls: int, texts: int) -> None:
    assert Cut.of(terms) == Cut(calls, texts)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.lists(st.integers(0, 200), max_size=8)), max_size=8),
)
def test_every_day_has_one_place_whatever_the_width_was_before(turns: list[tuple[int, list[int]]]) -> None:
    there: list[Partition] = []
    for width, days in turns:
        there += Cut(width, width).lacking(there, days, days)
        for table in TABLES:
            for day in days:
                assert sum(one.table == table and one.first <= day < one.end for one in there) == 1
    for one in there:
        assert Partition.named(one.name) == one
        assert not any(
            other is not one and other.table == one.table and other.first < one.end and one.first < other.end
            for other in there
        )


def test_what_is_not_ours_is_no_partition() -> None:
    for name in ("calls", "calls_without_time", "users_1_2", "calls_1_2_3"):
        assert Partition.named(name) is None


def test_a_partition_is_outdated_when_all_of_it_is() -> None:
    there = [Partition(table, TODAY - age, TODAY - age + 1) for table in TABLES for age in (92, 91, 90, 31, 30, 0)]
    old = outdated(Terms(90 * DAY, 30 * DAY), there, TODAY * DAY)
    assert {(one.table, TODAY - one.first) for one in old} == {
        ("calls", 92), ("calls", 91),
        *((table, age) for table in ("texts", "words") for age in (92, 91, 90, 31)),
    }  # fmt: skip
    assert outdated(Terms(), there, TODAY * DAY) == []


def test_for_size_the_oldest_texts_go_before_the_oldest_calls_and_the_last_day_never() -> None:
    there = [Partition(table, TODAY - age, TODAY - age + 1) for table in TABLES for age in (0, 1, 3, 5)]
    gone = []
    while least := given_up(there, TODAY * DAY + 100):
        gone.append({(one.table, TODAY - one.first) for one in least})
        there = [one for one in there if one not in least]
    assert gone == [{("texts", 5), ("words", 5)}, {("texts", 3), ("words", 3)}, {("calls", 5)}, {("calls", 3)}]
    assert {TODAY - one.first for one in there} == {0, 1}
