"""The token bucket: at most `burst` at once, then evenly, without drift."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.rate import CATCH_UP, Rate


def test_an_idle_bucket_lets_the_first_call_go_at_once() -> None:
    rate = Rate(60)
    assert rate.ready_at() <= 0.0


def test_the_second_call_waits_one_interval() -> None:
    rate = Rate(60)
    rate.take(100.0, waited=False)
    assert rate.ready_at() == pytest.approx(101.0)


def test_a_burst_goes_at_once_and_then_evenly() -> None:
    rate = Rate(60, burst=3)
    for _ in range(3):
        assert rate.ready_at() <= 100.0
        rate.take(100.0, waited=False)
    assert rate.ready_at() == pytest.approx(101.0)


def test_lateness_of_a_waited_turn_is_not_lost() -> None:
    rate = Rate(6000)
    rate.take(100.0, waited=False)
    rate.take(100.015, waited=True)  # due at 100.010, granted 5 ms late
    assert rate.ready_at() == pytest.approx(100.020)


def test_lateness_beyond_the_bound_is_lost_so_that_a_stall_makes_no_burst() -> None:
    rate = Rate(6000)
    rate.take(100.0, waited=False)
    rate.take(105.0, waited=True)
    assert rate.ready_at() == pytest.approx(105.0 - CATCH_UP + 0.01)


def test_idle_time_earns_nothing_beyond_the_burst() -> None:
    rate = Rate(60, burst=1)
    rate.take(100.0, waited=False)
    rate.take(500.0, waited=False)
    assert rate.ready_at() == pytest.approx(501.0)


def test_no_limit_never_waits() -> None:
    rate = Rate(0)
    for _ in range(1000):
        assert rate.ready_at() <= 5.0
        rate.take(5.0, waited=False)


def test_a_token_given_back_can_be_used_again() -> None:
    rate = Rate(60)
    rate.take(100.0, waited=False)
    rate.give_back()
    assert rate.ready_at() == pytest.approx(100.0)


def test_retuning_keeps_what_was_used() -> None:
    rate = Rate(60)
    rate.take(100.0, waited=False)
    rate.retune(600, 1)
    assert rate.ready_at() == pytest.approx(101.0)
    rate.take(101.0, waited=True)
    assert rate.ready_at() == pytest.approx(101.1)


def test_wait_for_counts_the_calls_ahead() -> None:
    rate = Rate(60)
    rate.take(100.0, waited=False)
    assert rate.wait_for(1, 100.25) == pytest.approx(0.75)
    assert rate.wait_for(4, 100.25) == pytest.approx(3.75)


@given(
    per_minute=st.floats(1, 60_000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_never_more_than_a_strict_bucket_allows(per_minute: float, burst: int, gaps: list[float]) -> None:
    """A provider's own bucket of the same size, without any tolerance, never refuses calls that came unhindered."""
    rate, now = Rate(per_minute, burst), 50.0
    tokens, filled_at = float(burst), 0.0
    for gap in gaps:
        now += gap
        now = max(now, rate.ready_at())
        rate.take(now, waited=False)
        tokens = min(float(burst), tokens + (now - filled_at) * per_minute / 60)
        filled_at = now
        tokens -= 1
        assert tokens > -1e-6
