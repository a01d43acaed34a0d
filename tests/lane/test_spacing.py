"""Even spacing: safe for every way of counting, without drift, with next to nothing lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.spacing import LUMP, Even
from tests.fake_upstream.limiters import FixedWindow, Limiter, SlidingWindow, TokenBucket, quantised
from tests.lane.saturated import play


def provider(kind: str, rpm: float) -> Limiter:
    kinds: dict[str, Limiter] = {
        "bucket that holds a minute": TokenBucket(rpm, rpm),
        "bucket that holds one": TokenBucket(rpm, 1),
        "seconds": quantised(rpm, 1),
        "fixed minute": FixedWindow(rpm),
        "sliding minute": SlidingWindow(rpm),
    }
    return kinds[kind]


KINDS = ("bucket that holds a minute", "bucket that holds one", "seconds", "fixed minute", "sliding minute")


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_600_a_minute_are_never_refused_and_used_to_99_percent(kind: str, seed: int) -> None:
    played = play(Even(600), provider(kind, 600), 600, seed=seed)
    assert played.refused == 0
    assert 0.99 <= played.utilisation <= 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rpm", [2, 7, 60, 300])
def test_slow_rates_are_never_refused_either(kind: str, rpm: float) -> None:
    played = play(Even(rpm), provider(kind, rpm), rpm, seconds=max(1200, 36_000 / rpm), steady_from=300)
    assert played.refused == 0
    assert played.utilisation >= 0.96


@pytest.mark.parametrize("kind", ["bucket that holds a minute", "seconds", "fixed minute"])
@pytest.mark.parametrize("rpm", [3000, 6000, 60_000])
def test_fast_rates_hold_within_one_percent_in_spite_of_timers(kind: str, rpm: float) -> None:
    played = play(Even(rpm), provider(kind, rpm), rpm, seconds=90, steady_from=30)
    assert played.refused == 0
    assert 0.99 <= played.utilisation <= 1.0


def test_stalls_of_the_loop_make_no_heap_that_a_window_of_a_second_refuses() -> None:
    chance = random.Random(4)
    meter, seconds = Even(6000), quantised(6000, 1)
    now = 50.0
    while now < 80.0:
        due = meter.ready_at(1, now)
        waited = due > now
        if waited:
            now = due + (0.05 if chance.random() < 0.05 else 0.0005)
        meter.take(1, now, waited=waited)
        assert seconds.wait(now) == 0
        seconds.take(now)


def test_an_idle_lane_does_not_wait() -> None:
    meter = Even(60)
    assert meter.ready_at(1, 1000.0) <= 1000.0
    meter.take(1, 1000.0)
    meter.sent(1000.0, 1000.0)
    assert meter.ready_at(1, 1100.0) <= 1100.0


def test_idle_time_earns_nothing() -> None:
    meter = Even(60)
    meter.take(1, 5000.0)
    meter.sent(5000.0, 5000.0)
    assert meter.ready_at(1, 5000.0) == pytest.approx(5001.005)


def test_the_strict_interval_counts_from_when_the_call_before_was_really_sent() -> None:
    meter = Even(600)
    meter.take(1, 10.0)
    meter.sent(10.08, 10.0)  # a connection had to be made first
    assert meter.ready_at(1, 10.08) == pytest.approx(10.18, abs=0.001)


def test_a_call_that_is_not_sent_yet_holds_the_next_back_for_one_interval_at_most() -> None:
    meter = Even(600)
    meter.take(1, 10.0)
    assert meter.ready_at(1, 10.0) == pytest.approx(10.2, abs=0.001)
    slow = Even(6)
    slow.take(1, 10.0)
    assert slow.ready_at(1, 10.0) == pytest.approx(20.27, abs=0.01)


def test_lateness_of_a_turn_that_was_waited_for_is_made_up_for_but_never_below_the_interval() -> None:
    meter = Even(60)
    now = 100.0
    meter.take(1, now)
    meter.sent(now, now)
    for _ in range(5):
        late = meter.ready_at(1, now) + 0.01
        meter.take(1, late, waited=True)
        meter.sent(late, late)
        assert late - now >= 1.0
        now = late
    assert now - 100.0 < 5 * 1.005 + 5 * 0.01


def test_a_call_that_was_never_sent_gives_its_turn_back() -> None:
    meter = Even(60)
    meter.take(1, 10.0)
    meter.give_back(1, 10.0, 10.0)
    assert meter.ready_at(1, 10.0) <= 10.0
    assert meter.used(10.0) == 0


def test_a_call_given_back_leaves_the_one_before_it_in_force() -> None:
    meter = Even(60)
    meter.take(1, 10.0)
    meter.sent(10.0, 10.0)
    before = meter.ready_at(1, 10.5)
    meter.take(1, 11.5)
    meter.give_back(1, 11.5, 11.5)
    assert meter.ready_at(1, 11.5) <= 11.5
    assert before == pytest.approx(11.005)


def test_a_raised_rate_holds_at_once_for_the_call_that_waits() -> None:
    meter = Even(1)
    meter.take(1, 10.0)
    meter.sent(10.0, 10.0)
    meter.retune(600, 10.0)
    assert meter.ready_at(1, 10.0) == pytest.approx(10.1, abs=0.001)


def test_a_lowered_rate_holds_at_once_for_the_call_that_waits() -> None:
    meter = Even(600)
    meter.take(1, 10.0)
    meter.sent(10.0, 10.0)
    meter.retune(60, 10.0)
    assert meter.ready_at(1, 10.0) == pytest.approx(11.005, abs=0.001)


def test_a_provider_that_splits_its_minute_gets_only_whole_calls_in_each_part() -> None:
    played = play(Even(90, part=1.0), quantised(90, 1), 60)
    assert played.refused == 0
    assert played.utilisation >= 0.98


def test_the_eta_counts_the_calls_ahead() -> None:
    meter = Even(60)
    meter.take(1, 10.0)
    meter.sent(10.0, 10.0)
    assert meter.eta(1, 10.5) == pytest.approx(11.005)
    assert meter.eta(4, 10.5) == pytest.approx(11.005 + 3 * 1.005)


def test_used_is_the_share_of_the_last_minute() -> None:
    meter = Even(60)
    now = 600.0
    while now < 720.0:
        now = max(now, meter.ready_at(1, now))
        meter.take(1, now)
        meter.sent(now, now)
    assert meter.used(now) == pytest.approx(1.0, abs=0.05)
    assert meter.used(now + 200) == 0


@given(
    rpm=st.floats(0.5, 2900),
    arrivals=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 0.2), st.booleans()), min_size=1, max_size=150),
)
def test_no_two_calls_are_closer_than_the_interval(rpm: float, arrivals: list[tuple[float, float, bool]]) -> None:
    """Whatever the gaps, the lateness and whoever gives back: what was sent keeps its distance."""
    interval = 60 / rpm
    assert interval > LUMP
    meter, now, last = Even(rpm), 100.0, float("-inf")
    for gap, late, gives_back in arrivals:
        now += gap
        due = meter.ready_at(1, now)
        waited = due > now
        now = due + late if waited else now
        meter.take(1, now, waited=waited)
        if gives_back:
            meter.give_back(1, now, now)
            continue
        assert now - last >= interval
        meter.sent(now, now)
        last = now


@given(
    rpm=st.floats(3001, 100_000),
    arrivals=st.lists(st.tuples(st.floats(0, 0.2), st.floats(0, 0.1)), min_size=1, max_size=300),
)
def test_no_second_has_more_than_its_share(rpm: float, arrivals: list[tuple[float, float]]) -> None:
    meter, now = Even(rpm), 100.0
    times = []
    for gap, late in arrivals:
        now += gap if gap > 0.15 else 0
        due = meter.ready_at(1, now)
        waited = due > now
        now = due + (late if late > 0.09 else 0.0) if waited else now
        meter.take(1, now, waited=waited)
        times.append(now)
    for first, start in enumerate(times):
        assert sum(start <= one < start + 1 for one in times[first:]) <= rpm / 60


def sent_by_an_asking_sender(meter: Even, calls: int, takes: Callable[[int], float], late: float = 0.0) -> list[float]:
    """When calls leave whose sender waits for the moment that `poised` gives; each `takes` so long to get ready."""
    now, sent = 50.0, list[float]()
    for number in range(calls):
        turn = max(now, meter.ready_at(1, now)) + late
        meter.take(1, turn, waited=True)
        ready = turn + takes(number)
        sent.append(max(ready, meter.poised(ready, turn)))
        meter.sent(sent[-1], turn)
        now = sent[-1]
    return sent


@pytest.mark.parametrize("rpm", [60, 600, 2400])
@pytest.mark.parametrize("late", [0.0, 0.0005, 0.002])
def test_neither_getting_ready_nor_late_timers_cost_anything_of_the_rate(rpm: float, late: float) -> None:
    noise, interval = random.Random(1), 60 / rpm
    sent = sent_by_an_asking_sender(Even(rpm), 1000, lambda _: noise.uniform(0.001, 0.004), late)
    assert min(later - earlier for earlier, later in pairwise(sent)) >= interval
    assert (sent[-1] - sent[200]) / 799 <= interval * 1.0055


def test_a_machine_that_is_so_busy_that_leaving_takes_20_ms_still_uses_the_limit() -> None:
    noise = random.Random(1)
    sent = sent_by_an_asking_sender(Even(600), 1000, lambda _: noise.uniform(0.003, 0.02), late=0.003)
    assert min(later - earlier for earlier, later in pairwise(sent)) >= 0.1
    assert (sent[-1] - sent[200]) / 799 <= 0.1 * 1.0055


def test_a_call_that_is_ready_much_sooner_than_any_before_keeps_the_interval() -> None:
    sent = sent_by_an_asking_sender(Even(600), 200, lambda number: 0.0 if number % 70 == 69 else 0.005)
    assert min(later - earlier for earlier, later in pairwise(sent)) >= 0.1


def test_a_call_is_let_through_ahead_of_its_moment_by_a_part_of_the_interval_at_most() -> None:
    meter = Even(1200)
    sent_by_an_asking_sender(meter, 100, lambda _: 0.03)
    turn = meter.ready_at(1, 0.0)
    meter.take(1, turn, waited=True)
    assert meter.poised(turn, turn) - turn <= 0.0125 + 1e-9


def test_whoever_does_not_ask_for_the_moment_is_let_through_at_it() -> None:
    meter, now, sent = Even(600), 50.0, list[float]()
    for _ in range(100):
        now = max(now, meter.ready_at(1, now))
        meter.take(1, now, waited=True)
        meter.sent(now + 0.002, now)
        sent.append(now)
        now += 0.002
    assert min(later - earlier for earlier, later in pairwise(sent)) >= 0.1


def test_fast_rates_are_sent_as_soon_as_they_are_ready() -> None:
    meter = Even(60_000)
    meter.take(1, 10.0)
    assert meter.poised(10.004, 10.0) == 10.004


def test_the_interval_counts_from_the_latest_moment_at_which_a_call_may_have_left() -> None:
    meter = Even(600)
    meter.take(1, 10.0)
    meter.sent(10.0, 10.0)
    meter.sent(10.002, 10.0)  # the loop had other things to do before it wrote
    assert meter.ready_at(1, 10.002) >= 10.102
