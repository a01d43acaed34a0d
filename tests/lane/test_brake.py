"""One refusal pauses the lane once, for everybody; then a probe, then a ramp."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.brake import Brake


def brake(noise: float = 0.0) -> Brake:
    return Brake(lambda: noise)


def test_an_open_brake_holds_nobody() -> None:
    open_brake = brake()
    assert open_brake.ready_at(5.0) == 5.0
    open_brake.answered(open_brake.granted(5.0), 6.0)
    assert repr(open_brake) == "<Brake open, 0 pauses>"
    assert open_brake.open


def test_it_is_open_again_only_when_the_ramp_is_over() -> None:
    one = brake()
    one.refused(1.0, "429", one.granted(0.0), now=0.0)
    assert not one.open
    now = 1.0
    while not one.open and now < 60:
        assert one.ready_at(now) <= now
        one.answered(one.granted(now), now)
        now += 0.5
    assert 1.5 < now < 60


def test_a_refusal_pauses_until_the_deadline_and_then_one_probe_goes() -> None:
    one = brake()
    one.refused(7.0, "429", one.granted(10.0), now=10.5, took=0.5)
    assert one.ready_at(11.0) == 17.5
    paused = one.paused(11.0)
    assert paused is not None
    assert (paused.until, paused.reason, paused.by_operator) == (17.5, "429", False)
    assert one.paused(17.5) is None
    assert one.ready_at(17.5) == 17.5
    one.granted(17.5)
    assert one.ready_at(17.6) > 17.6


def test_a_second_refusal_with_a_longer_deadline_extends_the_pause_and_a_shorter_one_does_not() -> None:
    one = brake()
    first, second, third = one.granted(0.0), one.granted(0.1), one.granted(0.2)
    one.refused(10.0, "first", first, now=1.0)
    one.refused(3.0, "shorter", second, now=1.1)
    assert one.ready_at(2.0) == 11.0
    one.refused(30.0, "longer", third, now=1.2)
    assert one.ready_at(2.0) == pytest.approx(31.2)
    assert one.pauses == 1


def test_after_the_probe_the_lane_ramps_up_with_its_answers_until_it_is_open() -> None:
    one = brake()
    one.refused(1.0, "429", one.granted(0.0), now=0.0)
    now = 1.0
    for allowed in (1, 2, 4, 8, 16, 32, 64):
        while one.ready_at(now) == now:
            era = one.granted(now)
        assert repr(one) == f"<Brake {allowed} of {allowed} out, 1 pauses>"
        one.answered(era, now)
    assert repr(one) == "<Brake open, 1 pauses>"


def test_a_probe_that_is_not_answered_has_passed_when_a_refusal_would_long_have_come() -> None:
    one = brake()
    one.refused(1.0, "429", one.granted(0.0), now=0.2, took=0.2)
    one.granted(1.2)
    assert one.ready_at(1.3) == pytest.approx(1.2 + 1 + 3 * 0.2)


def test_answers_that_take_minutes_do_not_hold_up_the_ramp() -> None:
    one = brake()
    one.refused(1.0, "429", one.granted(0.0), now=0.2, took=0.2)
    now, out, times = 1.2, 0, []
    while one.ready_at(now) < now + 60 and out < 200:
        now = one.ready_at(now)
        one.granted(now)
        out += 1
        times.append(now)
    assert out == 200
    assert sum(at <= 2.8 for at in times) == 2
    assert sum(at <= 3.3 for at in times) == 4
    assert times[-1] == pytest.approx(1.2 + 1.6 + 6 * 0.5)


def test_a_ramp_that_nobody_used_is_over_with_its_time() -> None:
    one = brake()
    one.refused(1.0, "429", one.granted(0.0), now=0.0)
    one.answered(one.granted(1.0), 1.1)
    for _ in range(100):
        assert one.ready_at(60.0) == 60.0
        one.granted(60.0)


def test_without_a_deadline_a_second_goes_by_then_the_minute_of_the_clock_then_a_whole_one() -> None:
    one = Brake(lambda: 0.0, wall_offset=30.0)
    now, waits, guesses = 100.0, [], []
    for _ in range(4):
        guesses.append(one.refused(None, "429", one.granted(now), now=now + 0.5, took=0.5))
        waits.append(one.ready_at(now + 0.5) - now - 0.5)
        now = one.ready_at(now + 0.5)
    # The second probe goes at 101.5, which is 131.5 of the wall clock: its minute ends at 180, here 150.
    assert waits == pytest.approx([1.0, 150 + 0.5 - 102.0, 60.0, 60.0])
    assert guesses == [None, pytest.approx(150.0), None, None]
    assert one.pauses == 4


def test_a_minute_that_ended_while_the_refusal_was_on_its_way_is_not_waited_for_again() -> None:
    one = brake()
    one.refused(None, "429", one.granted(50.0), now=52.0, took=2.0)
    assert one.refused(None, "429", one.granted(58.0), now=63.0, took=5.0) == 60.0
    assert one.ready_at(63.0) == 64.0


def test_an_answer_makes_the_next_pause_short_again() -> None:
    one, now = brake(), 0.0
    for _ in range(3):
        one.refused(None, "429", one.granted(now), now=now)
        now = one.ready_at(now)
    one.answered(one.granted(now), now)
    one.refused(None, "429", one.granted(now), now=now)
    assert one.ready_at(now) - now == 1.0


def test_a_probe_whose_client_leaves_lets_another_go() -> None:
    one = brake()
    one.refused(1.0, "429", one.granted(0.0), now=0.0)
    probe = one.granted(1.0)
    assert one.ready_at(1.5) > 1.5
    one.left(probe)
    assert one.ready_at(1.5) == 1.5
    one.granted(1.5)
    assert one.ready_at(1.6) == 2.5


def test_answers_to_calls_from_before_the_pause_do_not_open_it() -> None:
    one = brake()
    first, second, third = one.granted(0.0), one.granted(0.0), one.granted(0.0)
    one.refused(5.0, "429", first, now=2.0)
    one.answered(second, 2.1)
    one.left(third)
    assert one.ready_at(3.0) == 7.0
    assert repr(one) == "<Brake 0 of 1 out, 1 pauses>"


def test_pauses_are_jittered_but_never_shortened() -> None:
    assert [_pause(noise) for noise in (0.0, 0.5, 1.0)] == pytest.approx([10.0, 10.5, 11.0])


def _pause(noise: float) -> float:
    one = brake(noise)
    one.refused(10.0, "429", one.granted(0.0), now=0.0)
    return one.ready_at(0.0)


def test_an_operator_ends_the_pause_but_not_the_probe() -> None:
    one = brake()
    one.refused(100.0, "429", one.granted(0.0), now=0.0)
    one.resume()
    assert one.paused(1.0) is None
    assert one.ready_at(1.0) == 1.0
    one.granted(1.0)
    assert one.ready_at(1.0) > 1.0


@given(
    st.lists(st.tuples(st.sampled_from(["grant", "answer", "refuse", "leave", "wait"]), st.floats(0, 5)), max_size=80)
)
def test_a_lane_can_always_go_on(steps: list[tuple[str, float]]) -> None:
    """Whatever happens, the next call may always go at a finite time, and at once when that has come."""
    one, now = brake(), 0.0
    out: list[int] = []
    for step, seconds in steps:
        now += seconds
        if step == "grant" and one.ready_at(now) <= now:
            out.append(one.granted(now))
        elif step == "answer" and out:
            one.answered(out.pop(0), now)
        elif step == "refuse" and out:
            one.refused(seconds, "429", out.pop(0), now, seconds)
        elif step == "leave" and out:
            one.left(out.pop(0))
        ready = one.ready_at(now)
        assert now <= ready < float("inf")
        assert one.ready_at(ready) == ready
    assert "-" not in repr(one)
