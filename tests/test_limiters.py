"""The strict limiters, on a clock that the test moves."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_upstream import Concurrency, FixedWindow, Limiter, Limits, SlidingWindow, TokenBucket, quantised


def admitted(limiter: Limiter, times: list[float], cost: float = 1) -> list[float]:
    """The times at which calls were let through."""
    passed = []
    for now in times:
        if limiter.wait(now, cost) == 0:
            limiter.take(now, cost)
            passed.append(now)
    return passed


def test_token_bucket_gives_its_burst_then_refills_evenly() -> None:
    bucket = TokenBucket(per_minute=60, burst=3)
    assert len(admitted(bucket, [0.0] * 10)) == 3
    assert bucket.wait(0.25) == pytest.approx(0.75)
    assert admitted(bucket, [0.999, 1.0, 1.001]) == [1.0]


def test_token_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(per_minute=600, burst=10)
    admitted(bucket, [0.0])
    assert len(admitted(bucket, [3600.0] * 50)) == 10


def test_token_bucket_lets_exact_pacing_through_for_an_hour() -> None:
    times = [index * 0.1 for index in range(36_000)]
    assert len(admitted(TokenBucket(600, burst=1), times)) == 36_000


def test_token_bucket_refuses_a_cost_that_can_never_fit() -> None:
    assert TokenBucket(per_minute=1000, burst=100).wait(0, cost=101) == float("inf")


def test_token_bucket_counts_tokens_as_well_as_calls() -> None:
    bucket = TokenBucket(per_minute=60_000, burst=10_000)
    assert len(admitted(bucket, [0.0] * 5, cost=4000)) == 2
    assert bucket.wait(0.0, cost=4000) == pytest.approx(2.0)


def test_fixed_window_opens_on_the_whole_minute() -> None:
    window = FixedWindow(2)
    assert admitted(window, [119.0, 119.5, 119.9, 120.0, 120.1, 120.2]) == [119.0, 119.5, 120.0, 120.1]
    assert window.wait(150.0) == pytest.approx(30.0)


def test_quantised_minute_limit_is_so_many_a_second() -> None:
    assert len(admitted(quantised(600), [10.0] * 20)) == 10
    assert admitted(quantised(60), [10.0, 10.5, 11.0, 11.9]) == [10.0, 11.0]


def test_quantised_limit_below_one_a_second_takes_longer_slices() -> None:
    assert admitted(quantised(20), [3.0, 4.0, 5.9, 6.0]) == [3.0, 6.0]


def test_sliding_window_counts_the_last_minute_wherever_it_begins() -> None:
    window = SlidingWindow(2)
    assert admitted(window, [50.0, 59.0, 61.0, 109.0, 110.0, 118.9, 119.0]) == [50.0, 59.0, 110.0, 119.0]


def test_sliding_window_says_when_enough_has_left_it() -> None:
    window = SlidingWindow(100)
    for now, cost in ((0.0, 60), (10.0, 30)):
        window.take(now, cost)
    assert window.wait(20.0, cost=10) == 0
    assert window.wait(20.0, cost=20) == pytest.approx(40.0)
    assert window.wait(20.0, cost=80) == pytest.approx(50.0)
    assert window.wait(20.0, cost=101) == float("inf")


def test_concurrency_counts_calls_in_flight() -> None:
    limit = Concurrency(2)
    assert len(admitted(limit, [0.0] * 3)) == 2
    limit.give_back(1.0)
    assert len(admitted(limit, [1.0] * 3)) == 1


def test_several_limits_count_in_all_or_in_none() -> None:
    calls, tokens = FixedWindow(3), FixedWindow(10)
    both = Limits(calls, tokens)
    assert len(admitted(both, [0.0] * 9, cost=3)) == 1
    assert calls.wait(0.0, cost=0) == 0
    assert Limits().wait(0.0) == 0


@given(
    st.sampled_from(["bucket", "fixed", "quantised", "sliding"]),
    st.integers(1, 200),
    st.integers(0, 2**32),
)
def test_a_call_at_the_time_that_was_named_is_admitted(kind: str, per_minute: int, seed: int) -> None:
    makers: dict[str, Limiter] = {
        "bucket": TokenBucket(per_minute, burst=2),
        "fixed": FixedWindow(per_minute),
        "quantised": quantised(per_minute),
        "sliding": SlidingWindow(per_minute),
    }
    limiter = makers[kind]
    rng = random.Random(seed)
    now = 0.0
    for _ in range(300):
        now += rng.random() * 0.2
        wait = limiter.wait(now)
        if wait == 0:
            limiter.take(now)
        elif rng.random() < 0.1:
            now += wait
            assert limiter.wait(now) == 0


@given(st.lists(st.floats(0, 300), max_size=300).map(sorted), st.integers(1, 50))
def test_sliding_window_never_lets_more_through_in_any_minute(times: list[float], limit: int) -> None:
    passed = admitted(SlidingWindow(limit), times)
    for index in range(len(passed) - limit):
        assert passed[index + limit] - passed[index] >= 60 - 1e-6
