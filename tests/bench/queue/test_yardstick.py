"""Utilisation is what was taken of what was allowed, whatever was saved up or borrowed, and never more than all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.queue.upstream import Spec, meter
from bench.queue.yardstick import Accepted, rate, steady, used

START = 1000.0


def paced(per_minute: float, start: float, end: float, output: int = 200) -> list[Accepted]:
    count = round(per_minute * (end - start) / 60)
    return [(start + number * 60 / per_minute, 100, output, 1000) for number in range(count)]


def test_the_span_is_the_last_whole_minutes_or_what_there_is() -> None:
    assert steady(1000.0, 10.0, 1131.0) == (1011.0, 1131.0)
    assert steady(1000.0, 10.0, 1069.0) == (1010.0, 1069.0)
    assert steady(1000.0, 10.0, 1005.0) == (1005.0, 1005.0)


def test_an_empty_span_and_an_upstream_without_limits_have_no_utilisation() -> None:
    assert used(Spec(kind="bucket"), [], [], (10.0, 10.0)) is None
    assert used(Spec(), paced(600, 0.0, 60.0), [], (0.0, 60.0)) is None


@pytest.mark.parametrize("kind", ["bucket", "bucket of 1", "quantised", "fixed", "sliding"])
@pytest.mark.parametrize("per_minute", [600, 300])
def test_an_even_pace_uses_its_share_of_every_kind_of_limit(kind: str, per_minute: float) -> None:
    calls = paced(per_minute, START, START + 200)
    assert used(Spec(kind=kind), calls, [], (START + 20, START + 140)) == pytest.approx(per_minute / 600, abs=0.01)


def test_a_burst_spent_late_is_not_taken_for_speed() -> None:
    calls = sorted(paced(300, START, START + 60) + paced(900, START + 60, START + 120))
    spec = Spec(kind="bucket")
    assert rate(calls, (START + 60, START + 120)) == pytest.approx(900)
    assert used(spec, calls, [], (START + 60, START + 120)) == pytest.approx(1.0, abs=0.01)


def test_a_burst_spent_before_does_not_count() -> None:
    calls = sorted([(START, 100, 200, 1000)] * 600 + paced(300, START, START + 70))
    assert used(Spec(kind="bucket"), calls, [], (START + 10, START + 70)) == pytest.approx(0.5, abs=0.01)


def test_a_window_that_was_used_up_early_is_not_missed_at_the_start_of_the_span() -> None:
    minutes = [(60.0 * minute, 100, 200, 1000) for minute in range(17, 21) for _ in range(600)]
    assert used(Spec(kind="fixed"), minutes, [], (1050.0, 1170.0)) == pytest.approx(1.0)
    assert used(Spec(kind="fixed"), minutes[:1800], [], (1050.0, 1170.0)) == pytest.approx(1.0)
    assert used(Spec(kind="fixed"), minutes[:1200], [], (1050.0, 1170.0)) == pytest.approx(600 / 900, abs=0.01)


def test_what_was_left_of_a_window_before_the_first_call_is_not_missed_when_the_window_is_over() -> None:
    """A lane that is started at 40 s of a minute and keeps the pace, measured from 50 s on for two minutes."""
    calls = paced(597, 1000.0, 1140.0)
    assert used(Spec(kind="fixed"), calls, [], (1010.0, 1130.0)) == pytest.approx(0.995, abs=0.005)


def test_what_was_left_of_a_window_counts_as_far_as_it_was_used_in_it() -> None:
    calls = [*paced(600, 1000.0, 1010.0), *[(1015.0, 100, 200, 1000)] * 300, *paced(600, 1020.0, 1130.0)]
    assert used(Spec(kind="fixed"), calls, [], (1010.0, 1130.0)) == pytest.approx(1.0, abs=0.001)


def test_a_debt_at_the_end_was_allowed_and_at_the_start_must_be_worked_off() -> None:
    spec = Spec(tokens={"output-tokens": ("output", "bucket", 6000)}, seconds=1.0)
    overdrawn: list[Accepted] = [(START, 100, 6000, 9000), (START + 0.5, 100, 3000, 9000)]
    assert used(spec, overdrawn, [], (START, START + 20)) == pytest.approx(1.0, abs=0.01)
    later: list[Accepted] = [*overdrawn, (START + 40, 100, 2000, 9000)]
    assert used(spec, later, [], (START + 20, START + 50)) == pytest.approx(1.0, abs=0.01)


def test_of_several_limits_the_fullest_counts_as_the_upstream_counts_it() -> None:
    calls, span = paced(600, START, START + 70), (START + 10, START + 70)
    spec = Spec(tokens={"input-tokens": ("input", "bucket", 60_000), "output-tokens": ("output", "bucket", 400_000)})
    assert used(spec, calls, [], span) == pytest.approx(1.0, abs=0.01)
    reserved = Spec(tokens={"tokens": ("reserved", "bucket", 660_000)})
    assert used(reserved, calls, [], span) == pytest.approx(1.0, abs=0.01)


def test_a_refund_counts_unless_the_window_is_over_by_then() -> None:
    spec = Spec(tokens={"tokens": ("refunded", "fixed", 110_000)}, seconds=2.0)
    inside = [(1020.0 + number, 100, 200, 1000) for number in range(50)]
    assert used(spec, inside, [], (1020.0, 1080.0)) == pytest.approx(50 * 300 / 110_000, abs=0.001)
    crossing = [(1079.0, 100, 200, 1000)] * 50
    assert used(spec, crossing, [], (1020.0, 1080.0)) == pytest.approx(50 * 1100 / 110_000, abs=0.001)


def test_places_are_used_while_they_were_really_taken() -> None:
    spec = Spec(concurrency=4)
    places = [[START - 5, START + 5], [START, START + 10], [START + 8]]
    assert used(spec, [], places, (START, START + 10)) == pytest.approx((5 + 10 + 2) / 40)


def test_a_limit_that_changes_is_measured_by_what_it_became() -> None:
    spec = Spec(kind="bucket of 1", change=(60.0, 0.5))
    calls = paced(600, START, START + 60) + paced(300, START + 60, START + 200)
    assert used(spec, calls, [], (START + 80, START + 200)) == pytest.approx(1.0, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["bucket", "bucket of 1", "quantised", "fixed", "sliding"]), st.integers(0, 10**6))
def test_who_is_admitted_never_uses_more_than_all(kind: str, seed: int) -> None:
    rng, enforced = random.Random(seed), meter(kind, 60)
    now, pause, calls = START + rng.random() * 60, 1.0, list[Accepted]()
    began = now
    while now < began + 400:
        if rng.random() < 0.05:
            pause = rng.choice([0.0, 0.01, 0.5, 1.0, 5.0])
        now += rng.random() * pause + enforced.wait(now) + 1e-6
        if enforced.wait(now) <= 0:
            enforced.take(now)
            calls.append((now, 1, 1, 1))
    for after in (0.0, 13.0, 150.0):
        share = used(Spec(kind=kind, per_minute=60), calls, [], steady(began, after, began + 400))
        assert share is not None
        assert 0 <= share <= 1 + 1e-6
