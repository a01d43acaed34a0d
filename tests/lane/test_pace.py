"""The pace of turns: known after a while of waiting, forgotten when nobody had to wait."""

from __future__ import annotations

import pytest

from llmqd.lane.pace import Pace


def paced(turns: int, interval: float, start: float = 100.0) -> tuple[Pace, float]:
    pace, now = Pace(), start
    for _ in range(turns):
        pace.turn(now, waited=True)
        now += interval
    return pace, now - interval


def test_the_wait_is_the_place_times_the_interval_between_turns() -> None:
    pace, now = paced(40, 0.5)
    assert pace.eta(1, now) == pytest.approx(0.5)
    assert pace.eta(20, now) == pytest.approx(10.0)


def test_time_since_the_last_turn_is_over_already() -> None:
    pace, now = paced(40, 0.5)
    assert pace.eta(20, now + 0.3) == pytest.approx(9.7)


def test_a_turn_that_is_overdue_makes_the_wait_longer_than_counted() -> None:
    pace, now = paced(40, 0.5)
    assert (pace.eta(20, now + 10.5) or 0.0) > 20 * 0.5 - 10.5


def test_a_short_wait_goes_by_the_latest_turns_and_a_long_one_by_more_of_them() -> None:
    pace, now = paced(200, 0.1)
    for _ in range(100):
        now += 0.2
        pace.turn(now, waited=True)
    assert pace.eta(10, now) == pytest.approx(2.0)
    assert pace.eta(100, now) == pytest.approx(100 * (100 * 0.2 + 99 * 0.1) / 199)


def test_few_turns_or_old_ones_tell_nothing() -> None:
    few, now = paced(15, 0.5)
    assert few.eta(1, now) is None
    many, now = paced(60, 0.5)
    assert many.eta(1, now + 121) is None


def test_a_turn_that_nobody_waited_for_begins_the_count_anew() -> None:
    pace, now = paced(40, 0.5)
    pace.turn(now + 1, waited=False)
    assert pace.eta(1, now + 1) is None
