"""Windows of the wall clock, days of a zone and sliding windows, each checked against counting by hand."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.meters import Meter
from llmqd.lane.windows import Days, FixedPeriods, FixedWindow, Periods, SlidingWindow, slice_of

PACIFIC = ZoneInfo("America/Los_Angeles")


@pytest.mark.parametrize(
    ("limit", "part", "expected"),
    [
        (600, 0, (600, 60)),
        (600, 1, (10, 1)),
        (600, 10, (100, 10)),
        (90, 1, (1, 1)),
        (90, 0, (90, 60)),
        (30, 1, (1, 2)),
        (0.5, 0, (1, 120)),
    ],
)
def test_a_slice_holds_whole_calls_and_at_least_one(limit: float, part: float, expected: tuple[float, float]) -> None:
    assert slice_of(limit, 60, part) == pytest.approx(expected)


def test_a_fixed_window_begins_anew_with_the_minute_of_the_wall_clock() -> None:
    meter = FixedPeriods(10, 60, wall_offset=1_700_000_000.0 - 100.0)
    now = 100.0  # 20 s into a minute
    for _ in range(10):
        assert meter.ready_at(1, now) == now
        meter.take(1, now)
    assert meter.used(now) == 1
    ready = meter.ready_at(1, now)
    assert ready == pytest.approx(140.25, abs=0.001)
    meter.take(1, ready)
    assert meter.used(ready) == pytest.approx(0.1)


def test_a_call_near_the_edge_counts_on_both_sides_of_it() -> None:
    meter = FixedPeriods(2, 60, wall_offset=0.0)
    meter.take(1, 119.9)
    meter.take(1, 121.0)
    assert meter.ready_at(1, 121.0) == pytest.approx(180.25, abs=0.001)


def test_just_after_the_edge_the_old_window_still_counts() -> None:
    meter = FixedPeriods(1, 60, wall_offset=0.0)
    meter.take(1, 100.0)
    assert meter.ready_at(1, 120.1) == pytest.approx(120.25, abs=0.001)


def test_what_comes_back_from_a_past_window_frees_nothing_in_this_one() -> None:
    meter = FixedPeriods(10, 60, wall_offset=0.0)
    meter.take(6, 100.0)
    meter.take(6, 130.0)
    meter.correct(-6, 131.0, 100.0)
    assert meter.used(131.0) == pytest.approx(0.6)
    meter.correct(-2, 131.0, 130.0)
    assert meter.used(131.0) == pytest.approx(0.4)


def test_a_split_minute_refuses_what_does_not_fit_its_part() -> None:
    meter = FixedPeriods(600, 60, wall_offset=0.0, part=10)
    for _ in range(100):
        meter.take(1, 5.0)
    assert meter.ready_at(1, 5.0) == pytest.approx(10.25, abs=0.001)


def test_a_fixed_window_can_be_retuned_in_any_way_and_keeps_its_count() -> None:
    meter = FixedPeriods(10, 60, wall_offset=0.0)
    meter.take(5, 10.0)
    meter.retune(20, 10.0)
    assert meter.used(10.0) == pytest.approx(0.25)
    meter.retune(0.5, 10.0)
    assert meter.limit == 1
    assert meter.ready_at(1, 10.0) == pytest.approx(120.25, abs=0.001)


def test_what_is_larger_than_a_window_never_fits() -> None:
    assert FixedPeriods(10, 60, wall_offset=0.0).ready_at(11, 0.0) == float("inf")
    assert SlidingWindow(10).ready_at(11, 0.0) == float("inf")


def test_the_eta_of_a_fixed_window_counts_windows() -> None:
    meter = FixedPeriods(10, 60, wall_offset=0.0)
    meter.take(4, 30.0)
    assert meter.eta(6, 30.0) == 30.0
    assert meter.eta(7, 30.0) == pytest.approx(60)
    assert meter.eta(26, 30.0) == pytest.approx(120)


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-01-15T12:00:00-08:00", "2026-01-16T00:00:00-08:00"),
        ("2026-03-08T00:30:00-08:00", "2026-03-09T00:00:00-07:00"),  # the day of 23 hours
        ("2026-11-01T00:30:00-07:00", "2026-11-02T00:00:00-08:00"),  # the day of 25 hours
        ("2026-12-31T23:59:00-08:00", "2027-01-01T00:00:00-08:00"),
    ],
)
def test_a_day_ends_at_the_midnight_of_its_zone(at: str, until: str) -> None:
    offset = moment("2026-01-01T00:00:00+00:00")
    days = Days(PACIFIC, offset)
    now = moment(at) - offset
    assert days.end(days.index(now)) + offset == pytest.approx(moment(until))
    assert days.index(days.end(days.index(now)) + 0.01) == days.index(now) + 1


def test_a_day_quota_comes_back_at_midnight() -> None:
    start = moment("2026-07-01T15:00:00-07:00")
    meter = FixedWindow(2, Days(PACIFIC, start))
    meter.take(1, 0.0)
    meter.take(1, 1.0)
    assert meter.ready_at(1, 2.0) == pytest.approx(9 * 3600 + 0.25, abs=0.001)
    assert meter.eta(2, 2.0) == pytest.approx(9 * 3600)
    assert meter.eta(3, 2.0) == pytest.approx((9 + 24) * 3600)


def test_a_sliding_window_lets_go_as_what_was_taken_leaves_it() -> None:
    meter = SlidingWindow(10)
    meter.take(6, 100.0)
    meter.take(4, 130.0)
    assert meter.ready_at(6, 131.0) == pytest.approx(160.3)
    assert meter.ready_at(7, 131.0) == pytest.approx(190.3)
    assert meter.used(161.0) == pytest.approx(0.4)


def test_a_sliding_window_is_corrected_where_the_call_stands_in_it() -> None:
    meter = SlidingWindow(10)
    meter.take(8, 100.0)
    meter.take(2, 130.0)
    meter.correct(-5, 131.0, 100.0)
    assert meter.ready_at(5, 131.0) == 131.0
    meter.correct(3, 140.0, 100.0)
    assert meter.ready_at(5, 140.0) == pytest.approx(160.3)
    assert meter.used(161.0) == pytest.approx(0.5)


def test_what_comes_back_after_it_left_the_window_frees_nothing() -> None:
    meter = SlidingWindow(10)
    meter.take(8, 100.0)
    meter.take(6, 170.0)
    meter.correct(-8, 171.0, 100.0)
    assert meter.used(171.0) == pytest.approx(0.6)


def test_a_sliding_window_in_use_beyond_its_limit_still_says_when() -> None:
    meter = SlidingWindow(10)
    meter.take(8, 100.0)
    meter.correct(30, 101.0, 100.0)
    assert meter.ready_at(1, 101.0) == pytest.approx(161.3)


def test_the_memory_of_a_sliding_window_is_bounded() -> None:
    meter = SlidingWindow(1e9)
    for number in range(100_000):
        meter.take(1, number * 0.001)
    assert len(meter._slots) <= 602


def test_the_eta_of_a_sliding_window_counts_rounds() -> None:
    meter = SlidingWindow(10)
    meter.take(10, 100.0)
    assert meter.eta(10, 101.0) == pytest.approx(160.3)
    assert meter.eta(11, 101.0) == pytest.approx(220.6)


def test_a_cushion_is_never_used() -> None:
    meter = SlidingWindow(1000, cushion=0.01)
    assert meter.capacity == pytest.approx(990)
    assert FixedPeriods(1000, 60, 0.0, cushion=0.01).capacity == pytest.approx(990)


STEPS = st.lists(
    st.tuples(st.floats(0, 40), st.floats(0.5, 12), st.sampled_from([None, -0.5, -1.0, 0.4])), min_size=1, max_size=120
)
"""Pause, amount, and by what share of it the amount is corrected afterwards."""


def played(meter: Meter, steps: list[tuple[float, float, float | None]]) -> list[list[float]]:
    """Moments and amounts as they counted in the end; what turns out to be more counts when that is known."""
    now = 1000.0
    entries: list[list[float]] = []
    for pause, amount, change in steps:
        now += pause
        now = max(now, meter.ready_at(amount, now))
        meter.take(amount, now)
        entries.append([now, amount])
        if change is None:
            continue
        meter.correct(change * amount, now, now)
        if change < 0:
            entries[-1][1] += change * amount
        else:
            entries.append([now, change * amount])
    return entries


@given(steps=STEPS)
def test_no_60_seconds_hold_more_than_the_limit(steps: list[tuple[float, float, float | None]]) -> None:
    entries = played(SlidingWindow(40), [step for step in steps if (step[2] or 0) <= 0])
    for start, _ in entries:
        assert sum(amount for at, amount in entries if start <= at < start + 60) <= 40 + 1e-6


@given(steps=STEPS, offset=st.floats(0, 1e6), seen=st.floats(-0.2, 0.2))
def test_no_minute_holds_more_than_the_limit_even_on_a_clock_that_is_a_little_off(
    steps: list[tuple[float, float, float | None]], offset: float, seen: float
) -> None:
    entries = played(FixedPeriods(40, 60, offset), [step for step in steps if (step[2] or 0) <= 0])
    calendar = Periods(60, offset)
    sums: dict[int, float] = {}
    for at, amount in entries:
        index = calendar.index(at + seen)
        sums[index] = sums.get(index, 0.0) + amount
    assert all(amount <= 40 + 1e-6 for amount in sums.values())


@given(steps=STEPS)
def test_taking_and_giving_back_leaves_no_trace(steps: list[tuple[float, float, float | None]]) -> None:
    meters: list[Meter] = [SlidingWindow(40), FixedPeriods(40, 60, 17.0)]
    for meter in meters:
        played(meter, steps)
        now = 6000.0
        before = (meter.used(now), meter.ready_at(7, now))
        meter.take(9, now)
        meter.give_back(9, now, now)
        assert (meter.used(now), meter.ready_at(7, now)) == pytest.approx(before)
