"""The search for a rate: how each kind of limit is read from its refusals."""

from __future__ import annotations

import pytest

from llmqd.lane.search import Search


def steady(search: Search, rate: float, begin: float, seconds: float) -> float:
    """Saturated demand at `rate` a minute; the time of the last call."""
    now = begin
    for index in range(int(rate * seconds / 60)):
        now = begin + index * 60 / rate
        search.took(1.0, now, True)
    return now


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
    assert search.rate == pytest.approx(1.09 * 600)
    assert search.refused(1.0, now, now + 0.1, 1.0, "429")
    assert search.rate == pytest.approx(0.93 * 1.09 * 600)


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


def test_memory_is_bounded_however_long_it_lasts() -> None:
    search = Search(60_000, 60_000)
    for index in range(400_000):
        search.took(1.0, index * 0.001, True)
    assert len(search.history._slots) <= 722
    assert len(search._recent) <= 2048
    assert len(search._rungs) <= 16


def test_refusals_of_calls_that_went_before_correct_what_was_read() -> None:
    search = Search(1200, 1200)
    now = steady(search, 1200, 0.0, 31)
    late, early = now - 0.5, now - 1.0
    search.refused(1.0, late, now, 30.0, "429")
    first = search.rate
    for sent_at in (early, early + 0.05, early + 0.1):
        search.refused(1.0, sent_at, now + 0.1, 30.0, "429")
    assert search.rate < first
    assert search.refusals == 1


def test_a_probe_that_is_refused_without_a_word_points_to_a_window_of_the_clock() -> None:
    search = Search(600, 600)
    now = steady(search, 600, 0.0, 120)
    search.refused(1.0, now, now + 0.1, None, "429")
    assert search.rate > 500
    search.took(1.0, now + 1.1, True)
    assert search.refused(1.0, now + 1.1, now + 1.2, None, "429", ends_at=now + 15.0)
    assert search.rate == pytest.approx(0.97 * 450, rel=0.01)  # 45 of its 60 seconds have passed


def test_a_refusal_while_few_calls_went_does_not_take_those_few_for_the_limit() -> None:
    search = Search(600, 600)
    for index in range(60):
        search.took(1.0, index * 2.0, False)
    search.refused(1.0, 118.0, 118.1, 5.0, "429")
    assert search.rate == pytest.approx(0.93 * 600)


def test_a_burst_after_a_long_silence_does_not_count_as_a_minute() -> None:
    search = Search(600, 600)
    steady(search, 600, 0.0, 70)
    search.took(1.0, 4000.0, False)
    for index in range(1, 60):
        search.took(1.0, 4000.0 + index * 0.1, True)
    search.refused(1.0, 4005.9, 4006.0, 1.0, "429")
    assert search.rate == pytest.approx(0.93 * 600)


def test_a_try_that_was_refused_changes_nothing_and_makes_the_next_one_rarer() -> None:
    search = Search(600, 600)
    now = steady(search, 600, 0.0, 9)
    search.refused(1.0, now, now, 1.0, "429")
    tries = []
    for _ in range(2):
        ceiling, begun = search._ceiling, now
        while search._ceiling == ceiling and now < begun + 1000:
            now += 60 / search.rate
            search.took(1.0, now, True)
        held, tried = search.rate, now
        while search.rate <= held and now < begun + 2000:
            now += 60 / search.rate
            search.took(1.0, now, True)
        search.refused(1.0, now, now, 1.0, "429")
        assert search.rate == pytest.approx(held, rel=0.01)
        tries.append(tried - begun)
    assert tries[1] > 1.5 * tries[0]


def test_one_refusal_of_a_stated_limit_that_was_used_all_the_time_costs_one_per_cent_for_seconds() -> None:
    search = Search(600, 600)
    now = steady(search, 600, 0.0, 70)
    search.refused(1.0, now, now, 1.0, "429")
    assert search.rate == pytest.approx(594)
    steady(search, 594, now + 1, 8)
    assert search.rate == 600


def test_a_stated_limit_that_is_refused_again_and_again_is_too_high() -> None:
    search = Search(600, 600)
    now = 0.0
    for _ in range(6):
        now = steady(search, search.rate, now + 1, 15)
        search.refused(1.0, now, now, 1.0, "429")
    assert search.rate < 0.98 * 600


def test_of_limits_that_are_named_in_turns_the_lowest_holds() -> None:
    search = Search(60)
    for second in range(120):
        search.took(1.0, float(second), False)
        search.know(500.0 if second % 2 else 10_000.0, "header", float(second))
    assert search.rate == 500
    search.know(10_000.0, "header", 300.0)
    assert search.rate == 10_000


def test_a_named_limit_below_which_calls_are_refused_is_only_the_most() -> None:
    search = Search(60)
    search.know(1000.0, "header", 0.0)
    now = steady(search, 1000, 0.0, 9)
    search.refused(1.0, now, now, 1.0, "429")
    cut = search.rate
    search.know(1000.0, "header", now)
    search.know(2000.0, "header", now + 100)
    assert cut < 1000
    assert search.rate == cut
    search.know(100.0, "header", now + 101)
    assert search.rate == 100


def test_another_configuration_keeps_what_was_learned_up_to_it() -> None:
    search = Search(600, 600, "configured")
    now = steady(search, 600, 0.0, 70)
    search.refused(1.0, now, now, 1.0, "429")
    learned = search.rate
    search.configure(900, 900, "configured", now)
    assert (search.rate, search.configured) == (learned, 900)
    search.configure(100, 100, "configured", now)
    assert search.rate == 100
    fresh = Search(600, 600, "configured")
    fresh.configure(900, 900, "configured", 0.0)
    assert fresh.rate == 900
    fresh.configure(60, float("inf"), "start", 0.0)
    assert (fresh.rate, fresh.source) == (60, "start")
