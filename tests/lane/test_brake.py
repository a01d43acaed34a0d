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
    open_brake.answered(open_brake.granted())
    assert repr(open_brake) == "<Brake open, 0 pauses>"


def test_a_refusal_pauses_until_the_deadline_and_then_one_probe_goes() -> None:
    one = brake()
    one.refused(7.0, "429", one.granted(), now=10.5)
    assert one.ready_at(11.0) == 17.5
    paused = one.paused(11.0)
    assert paused is not None
    assert (paused.until, paused.reason, paused.by_operator) == (17.5, "429", False)
    assert one.paused(17.5) is None
    assert one.ready_at(17.5) == 17.5
    one.granted()
    assert one.ready_at(17.6) == float("inf")


def test_a_second_refusal_with_a_longer_deadline_extends_the_pause_and_a_shorter_one_does_not() -> None:
    one = brake()
    first, second, third = one.granted(), one.granted(), one.granted()
    one.refused(10.0, "first", first, now=1.0)
    one.refused(3.0, "shorter", second, now=1.1)
    assert one.ready_at(2.0) == 11.0
    one.refused(30.0, "longer", third, now=1.2)
    assert one.ready_at(2.0) == pytest.approx(31.2)
    assert one.pauses == 1


def test_after_the_probe_the_lane_ramps_up_until_it_is_open() -> None:
    one = brake()
    one.refused(1.0, "429", one.granted(), now=0.0)
    now = 1.0
    for allowed in (1, 2, 4, 8, 16, 32, 64):
        while one.ready_at(now) == now:
            era = one.granted()
        assert repr(one) == f"<Brake {allowed} of {allowed} out, 1 pauses>"
        one.answered(era)
    assert repr(one) == "<Brake open, 1 pauses>"


def test_a_refused_probe_pauses_again_and_longer_where_no_time_is_named() -> None:
    one, now, waits = brake(), 0.0, []
    for _ in range(9):
        one.refused(None, "429", one.granted(), now=now)
        waits.append(one.ready_at(now) - now)
        now = one.ready_at(now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert one.pauses == 9


def test_a_probe_whose_client_leaves_lets_another_go() -> None:
    one = brake()
    one.refused(1.0, "429", one.granted(), now=0.0)
    probe = one.granted()
    assert one.ready_at(2.0) == float("inf")
    one.left(probe)
    assert one.ready_at(2.0) == 2.0


def test_answers_to_calls_from_before_the_pause_do_not_open_it() -> None:
    one = brake()
    first, second, third = one.granted(), one.granted(), one.granted()
    one.refused(5.0, "429", first, now=2.0)
    one.answered(second)
    one.left(third)
    assert one.ready_at(3.0) == 7.0
    assert repr(one) == "<Brake 0 of 1 out, 1 pauses>"


def test_pauses_are_jittered_but_never_shortened() -> None:
    assert [_pause(noise) for noise in (0.0, 0.5, 1.0)] == pytest.approx([10.0, 10.5, 11.0])


def _pause(noise: float) -> float:
    one = brake(noise)
    one.refused(10.0, "429", one.granted(), now=0.0)
    return one.ready_at(0.0)


def test_an_operator_s_pause_holds_until_it_ends_or_is_lifted() -> None:
    one = brake()
    one.pause(None, "maintenance")
    assert one.ready_at(1.0) == float("inf")
    one.resume()
    assert one.ready_at(1.0) == 1.0
    one.pause(9.0, "lunch")
    assert one.ready_at(1.0) == 9.0
    paused = one.paused(1.0)
    assert paused is not None
    assert (paused.reason, paused.by_operator) == ("lunch", True)
    assert one.ready_at(9.0) == 9.0


@given(
    st.lists(st.tuples(st.sampled_from(["grant", "answer", "refuse", "leave", "wait"]), st.floats(0, 5)), max_size=80)
)
def test_a_lane_can_always_go_on(steps: list[tuple[str, float]]) -> None:
    """Whatever happens, once all that is out has come back the next call may go at a finite time."""
    one, now = brake(), 0.0
    out: list[int] = []
    for step, seconds in steps:
        now += seconds
        if step == "grant" and one.ready_at(now) <= now:
            out.append(one.granted())
        elif step == "answer" and out:
            one.answered(out.pop(0))
        elif step == "refuse" and out:
            one.refused(seconds, "429", out.pop(0), now)
        elif step == "leave" and out:
            one.left(out.pop(0))
    for era in out:
        one.left(era)
    assert one.ready_at(now) < float("inf")
    assert "-" not in repr(one)
