"""Buckets, places for running calls, and several meters that must agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.meters import HEADROOM, Bucket, Combined, Concurrency, Landed
from llmqd.lane.windows import SlidingWindow
from tests.fake_upstream.limiters import TokenBucket


def test_a_full_bucket_gives_its_burst_at_once_and_then_evenly() -> None:
    bucket = Bucket(60, burst=3)
    for _ in range(3):
        assert bucket.ready_at(1, 100.0) <= 100.0
        bucket.take(1, 100.0)
    assert bucket.ready_at(1, 100.0) == pytest.approx(101.005)


def test_a_full_bucket_refills_only_from_the_moment_at_which_something_has_left() -> None:
    bucket = Bucket(60, burst=3)
    for _ in range(3):
        bucket.take(1, 100.0)
    bucket.sent(100.2, 100.0)
    assert bucket.ready_at(1, 100.2) == pytest.approx(101.205)
    bucket.sent(100.4, 100.0)
    assert bucket.ready_at(1, 100.4) == pytest.approx(101.205)


def test_nothing_counts_as_refilled_while_the_first_from_a_full_bucket_may_not_have_left() -> None:
    bucket = Bucket(2400, burst=10)
    for _ in range(10):
        bucket.take(1, 100.0)
    for now in (100.03, 100.06, 100.2):
        assert bucket.ready_at(1, now) > now
    bucket.sent(100.21, 100.0)
    assert bucket.ready_at(1, 100.21) == pytest.approx(100.2351, abs=1e-4)


def test_news_of_the_first_are_not_waited_for_for_ever() -> None:
    bucket = Bucket(2400, burst=10)
    for _ in range(10):
        bucket.take(1, 100.0)
    assert bucket.ready_at(1, 100.26) <= 100.26


def test_what_is_still_there_goes_without_news_of_the_first() -> None:
    bucket = Bucket(2400, burst=10)
    for number in range(10):
        assert bucket.ready_at(1, 100.0 + number / 50) <= 100.0 + number / 50
        bucket.take(1, 100.0 + number / 50)


def test_a_bucket_without_burst_holds_a_whole_window() -> None:
    bucket = Bucket(6000)
    assert bucket.capacity == 6000
    bucket.take(6000, 10.0)
    assert bucket.ready_at(1000, 10.0) == pytest.approx(10 + 10 * (1 + HEADROOM))
    assert bucket.ready_at(6001, 10.0) == float("inf")


def test_a_bucket_is_used_as_far_as_it_is_empty() -> None:
    bucket = Bucket(6000)
    bucket.take(3000, 10.0)
    assert bucket.used(10.0) == pytest.approx(0.5)
    assert bucket.used(100.0) == 0
    bucket.correct(4500, 10.0, 10.0)
    assert bucket.used(10.0) == pytest.approx(1.25)


def test_what_was_reserved_too_much_comes_back() -> None:
    bucket = Bucket(6000)
    bucket.take(6000, 10.0)
    bucket.correct(-2000, 12.0, 10.0)
    assert bucket.ready_at(2000, 12.0) <= 12.0


def test_a_pace_lets_everything_go_that_finds_it_without_debt() -> None:
    pace = Bucket(6000, seconds=10, overdraft=True)
    assert pace.ready_at(50_000, 10.0) <= 10.0
    pace.take(50_000, 10.0)
    assert pace.ready_at(1, 10.0) > 400
    assert pace.capacity == float("inf")


def test_a_retuned_bucket_keeps_what_is_used() -> None:
    bucket = Bucket(6000)
    bucket.take(3000, 10.0)
    bucket.retune(12_000, 10.0)
    assert bucket.used(10.0) == pytest.approx(0.25)


def test_the_eta_of_a_bucket_is_when_it_has_refilled_enough() -> None:
    bucket = Bucket(60, burst=5)
    assert bucket.eta(5, 10.0) == 10.0
    assert bucket.eta(8, 10.0) == pytest.approx(13.015)


@given(
    limit=st.floats(1, 10_000),
    burst=st.floats(1, 100),
    steps=st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 1.0)), min_size=1, max_size=150),
)
def test_a_strict_bucket_of_the_same_size_refuses_nothing(
    limit: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    bucket, strict, now = Bucket(limit, burst=burst), TokenBucket(limit, burst), 50.0
    for pause, share in steps:
        amount = burst * share
        now = max(now + pause, bucket.ready_at(amount, now))
        assert strict.wait(now, amount) < 1e-6
        bucket.take(amount, now)
        strict.take(now, amount)


@given(amounts=st.lists(st.floats(1, 6000), max_size=20), amount=st.floats(1, 6000))
def test_a_bucket_that_gets_everything_back_is_as_before(amounts: list[float], amount: float) -> None:
    bucket = Bucket(6000)
    for one in amounts:
        bucket.take(one, 10.0)
    before = (bucket.used(11.0), max(bucket.ready_at(100, 11.0), 11.0))
    bucket.take(amount, 11.0)
    bucket.give_back(amount, 11.0, 11.0)
    assert (bucket.used(11.0), max(bucket.ready_at(100, 11.0), 11.0)) == pytest.approx(before)


def test_places_come_free_when_calls_end_and_only_then() -> None:
    places = Concurrency(2)
    places.take(1, 10.0)
    places.take(1, 10.0)
    assert places.ready_at(1, 1e9) == float("inf")
    places.correct(-1, 11.0, 10.0)
    assert places.used(11.0) == 1
    places.finish(1, 1, 11.0)
    assert places.ready_at(1, 11.0) == 11.0


def test_fewer_places_than_running_calls_let_nobody_in_until_enough_have_ended() -> None:
    places = Concurrency(3)
    for _ in range(3):
        places.take(1, 10.0)
    places.retune(1, 10.0)
    places.finish(1, 1, 11.0)
    places.finish(1, 1, 11.0)
    assert places.ready_at(1, 11.0) == float("inf")
    places.finish(1, 1, 12.0)
    assert places.ready_at(1, 12.0) == 12.0


def test_all_parts_of_a_combination_must_agree() -> None:
    both = Combined([SlidingWindow(10), Bucket(10, burst=3)])
    assert both.capacity == 3
    for _ in range(3):
        both.take(1, 10.0)
    assert both.ready_at(1, 10.0) == pytest.approx(10 + 6 * (1 + HEADROOM))
    both.give_back(1, 10.0, 10.0)
    assert both.ready_at(1, 10.0) == pytest.approx(10.0)
    both.retune(100, 10.0)
    assert both.limit == 100
    assert both.used(10.0) == pytest.approx(0.02)


def test_what_has_landed_counts_when_it_ends_with_what_it_used() -> None:
    landed = Landed(SlidingWindow(100))
    landed.take(90, 10.0)
    landed.take(90, 10.0)
    assert landed.ready_at(1, 10.0) == 10.0
    landed.finish(90, 60, 40.0)
    landed.finish(90, 50, 41.0)
    assert landed.used(41.0) == pytest.approx(1.1)
    assert landed.ready_at(1, 42.0) == pytest.approx(40 + 60.3)


def test_a_call_that_is_not_counted_never_lands() -> None:
    landed = Landed(SlidingWindow(100))
    landed.finish(90, 0, 40.0)
    assert landed.used(40.0) == 0


def test_a_bucket_that_is_refused_at_has_nothing_and_refills() -> None:
    bucket = Bucket(60, burst=30)
    bucket.refused(100.0)
    assert bucket.used(100.0) == pytest.approx(1)
    assert bucket.ready_at(1, 100.0) == pytest.approx(101, abs=0.01)
    bucket.take(1, 101.01)
    bucket.refused(101.01)
    assert bucket.ready_at(1, 101.01) == pytest.approx(102.01, abs=0.02), "what is owed is not owed twice"
