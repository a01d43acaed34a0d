"""The search for a rate: how each kind of limit is read from its refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.learn import Learner
from llmqd.lane.search import History, Search
from tests.lane.pacing import KINDS, Loop


def steady(search: Search, rate: float, begin: float, seconds: float) -> float:
    """Saturated demand at `rate` a minute; the time of the last call."""
    now = begin
    for index in range(int(rate * seconds / 60)):
        now = begin + index * 60 / rate
        search.took(1.0, now, True)
    return now


def test_history_counts_what_went_after_a_moment() -> None:
    history = History()
    for second in range(100):
        history.add(2.0, float(second))
    assert history.since(39.9) == 120
    assert history.calls_since(39.9) == 60
    history.remove(2.0, 99.0)
    history.correct(5.0, 98.0)
    assert history.since(97.5) == 7


def test_history_forgets_what_is_older_than_three_minutes() -> None:
    history = History()
    for second in range(1000):
        history.add(1.0, float(second))
    assert history.since(0.0) <= 182


def test_a_bucket_is_read_from_the_most_crowded_stretch() -> None:
    history = History()
    for index in range(300):
        history.add(1.0, index * 0.1)
    assert history.bucket(30.0) == pytest.approx(200, rel=0.02)  # 300 in half a minute: 200 at once and 100 refilled


def test_history_says_when_a_minute_has_room_again() -> None:
    history = History()
    for second in range(60):
        history.add(1.0, float(second))
    assert history.room_at(61, 59.5) == 59.5
    assert history.room_at(50, 59.5) == pytest.approx(70, abs=0.5)


def test_nothing_known_doubles_in_less_than_half_a_minute_of_demand() -> None:
    search = Search(600)
    now = 0.0
    while search.rate < 1200:
        search.took(1.0, now, True)
        now += 60 / search.rate
    assert 10 < now < 30


def test_the_first_refusal_of_a_growing_rate_goes_back_a_little_below_what_passed() -> None:
    search = Search(600)
    now = steady(search, 600, 0.0, 2.3)
    assert search.rate == pytest.approx(1.07 * 600)
    assert search.refused(1.0, now, now + 0.1, 1.0, "429")
    assert search.rate == pytest.approx(0.98 * 0.87 * 1.07 * 600)


def test_a_long_wait_is_read_as_the_end_of_a_window() -> None:
    search = Search(1200, 1200)
    now = steady(search, 1200, 0.0, 30)
    search.refused(1.0, now, now, 30.0, "429")
    assert search.rate == pytest.approx(0.97 * 600, rel=0.02)


def test_after_the_end_of_a_window_was_met_nobody_goes_before_the_last_minute_has_room() -> None:
    search = Search(1200, 1200)
    now = steady(search, 1200, 0.0, 30)
    search.refused(1.0, now, now, 10.0, "429")
    assert search.ready_at(now + 10) > now + 10
    assert search.ready_at(now + 70) == now + 70


def test_a_second_refusal_without_growth_halves_a_steady_rate() -> None:
    search = Search(600, 600)
    now = steady(search, 600, 0.0, 120)
    search.refused(1.0, now, now, 1.0, "429")
    first = search.rate
    search.took(1.0, now + 1, True)
    search.took(1.0, now + 1.1, True)
    search.refused(1.0, now + 1.1, now + 1.2, 1.0, "429")
    assert first == pytest.approx(0.98 * 600, rel=0.02)
    assert search.rate == pytest.approx(first / 2)


def test_a_refused_probe_changes_no_rate() -> None:
    search = Search(600, 600)
    now = steady(search, 600, 0.0, 120)
    search.refused(1.0, now, now, 1.0, "429")
    rate = search.rate
    search.took(1.0, now + 1, True)
    assert not search.refused(1.0, now + 1, now + 1.1, 1.0, "429")
    assert search.rate == rate


def test_a_limit_that_is_raised_is_found_again() -> None:
    limiter = KINDS["bucket of 1"](300)
    course = Loop(limiter, Learner(), seconds=1200, change=(400.0, 4.0)).run()
    assert course.use(300, 200, 400) > 0.9
    assert course.use(1200, 1000, 1200) > 0.8


def test_a_long_way_to_the_upstream_costs_only_the_calls_that_were_on_it() -> None:
    for kind in KINDS:
        course = Loop(KINDS[kind](600), Learner(), delay=0.2).run()
        assert len(course.refused) <= 35, kind
        assert course.use(600, 180, 600) >= 0.85, kind


@pytest.mark.parametrize("limit", [6, 40, 3000])
@pytest.mark.parametrize("kind", KINDS)
def test_other_limits_are_found_as_well(kind: str, limit: float) -> None:
    seconds = 1800.0 if limit < 60 else 600.0
    course = Loop(KINDS[kind](limit), Learner(), seconds=seconds).run()
    assert len(course.refused) <= seconds / 40
    assert course.use(limit, seconds / 2, seconds) >= 0.7


def test_memory_is_bounded_however_long_it_lasts() -> None:
    search = Search(60_000, 60_000)
    for index in range(400_000):
        search.took(1.0, index * 0.001, True)
    assert len(search.history._slots) <= 722
    assert len(search._recent) <= 2048
    assert len(search._rungs) <= 16


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0.001, 1e6)), max_size=60), st.floats(0, 500))
def test_history_agrees_with_counting_every_call(calls: list[tuple[float, float]], back: float) -> None:
    history = History()
    now, kept = 0.0, []
    for gap, amount in calls:
        now += gap
        history.add(amount, now)
        kept.append((now, amount))
    moment = max(now - min(back, 170.0), 0.0)
    least = sum(amount for at, amount in kept if at > moment + 0.25)
    most = sum(amount for at, amount in kept if at > moment - 0.25)
    assert least * 0.999 - 1e-6 <= history.since(moment) <= most * 1.001 + 1e-6
