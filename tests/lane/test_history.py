"""What was let through lately, by the quarter second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.history import History


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
    assert history.bucket(15.0) == pytest.approx(150 / 1.25, rel=0.03)


def test_history_says_when_a_minute_has_room_again() -> None:
    history = History()
    for second in range(60):
        history.add(1.0, float(second))
    assert history.room_at(61, 59.5) == 59.5
    assert history.room_at(50, 59.5) == pytest.approx(70, abs=0.5)


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
