"""The simulation decides as a lane does, on a clock that takes no time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.arrivals import Arrival, Pattern
from llmqd.config.limits import Limits, ModelGroup
from llmqd.simulate import Result, Setup, Simulation, Waits
from llmqd.usage import Usage
from tests.calls import a_call

UNLIMITED = Limits(requests_per_minute=0)


def arrival(at: float, seconds: float = 0.0, tokens: int = 0, **call: object) -> Arrival:
    made = a_call(id=f"{at}-{random.random()}", received_at=at, **call)
    return Arrival(made, Usage(input=tokens, output=0, source="exact"), seconds)


def played(setup: Setup, *arrivals: Arrival) -> Result:
    simulation = Simulation(lambda _: setup)
    for one in arrivals:
        simulation.arrive(one)
    return simulation.finish()["openai"]


def test_calls_that_come_at_once_go_at_the_rate() -> None:
    result = played(Setup(lanes=(Limits(requests_per_minute=60),)), *[arrival(100.0) for _ in range(61)])
    assert result.granted == 61
    assert result.seconds == pytest.approx(60, rel=0.02)
    assert result.waits[5].percentile(0.5) == pytest.approx(30, rel=0.05)
    assert result.waits[5].longest == result.seconds
    assert result.utilisation()["requests_per_minute"] == pytest.approx(1, abs=0.03)
    assert result.most_waiting == 60


def test_a_time_without_limits_is_a_time_without_waits() -> None:
    result = played(Setup(lanes=(UNLIMITED,)), *[arrival(100.0, seconds=5.0) for _ in range(50)])
    assert (result.granted, result.waits[5].longest) == (50, 0.0)
    assert result.utilisation() == {}


def test_places_are_given_back_when_calls_end() -> None:
    limits = Limits(requests_per_minute=0, max_concurrent=2)
    result = played(Setup(lanes=(limits,)), *[arrival(0.0, seconds=10.0) for _ in range(6)])
    assert result.waits[5].longest == pytest.approx(20.0)
    assert result.seconds == pytest.approx(20.0)


def test_a_high_priority_passes_those_who_wait() -> None:
    waiting = [arrival(0.0, priority=7) for _ in range(30)]
    result = played(Setup(lanes=(Limits(requests_per_minute=60),)), *waiting, arrival(5.2, priority=1))
    assert result.waits[1].longest < 1.1
    assert result.waits[7].longest > 29


@pytest.mark.parametrize(("fair_by", "refused"), [("user", {}), ("none", {"deadline_exceeded": 1})])
def test_a_single_call_does_not_wait_behind_another_users_hundred(fair_by: str, refused: dict[str, int]) -> None:
    calls = [arrival(0.0, user="many") for _ in range(100)]
    setup = Setup(lanes=(Limits(requests_per_minute=60),), fair_by=fair_by)
    result = played(setup, *calls, arrival(0.5, user="one", max_wait=2.6))
    assert result.refused == refused


def test_two_keys_let_twice_as_many_through() -> None:
    limits = Limits(requests_per_minute=60)
    calls = [arrival(0.0) for _ in range(120)]
    one, two = (played(Setup(lanes=(limits,) * keys), *calls) for keys in (1, 2))
    assert two.seconds == pytest.approx(one.seconds / 2, rel=0.03)
    assert two.utilisation()["requests_per_minute"] == pytest.approx(1, abs=0.03)


def test_who_waits_too_long_is_refused_by_the_calls_own_bound_or_the_changed_one() -> None:
    limits = (Limits(requests_per_minute=60),)
    calls = [arrival(0.0, max_wait=5.5) for _ in range(20)]
    own = played(Setup(lanes=limits), *calls)
    assert (own.granted, own.refused) == (6, {"deadline_exceeded": 14})
    assert played(Setup(lanes=limits, max_wait=10.5), *calls).granted == 11
    assert played(Setup(lanes=limits, max_wait=0), *calls).granted == 20


def test_a_full_queue_and_a_refusal_to_wait_are_told_apart_from_deadlines() -> None:
    limits = (Limits(requests_per_minute=60),)
    full = played(Setup(lanes=limits, max_waiting=3), *[arrival(0.0) for _ in range(10)])
    assert (full.granted, full.refused) == (4, {"queue_full": 6})
    hasty = played(Setup(lanes=limits), arrival(0.0), arrival(0.0, no_queue=True))
    assert (hasty.granted, hasty.refused) == (1, {"queue_full": 1})


def test_tokens_are_limited_too_and_what_can_never_fit_is_refused() -> None:
    limits = Limits(requests_per_minute=0, input_tokens_per_minute=6000)
    calls = [arrival(number * 0.01, tokens=100, request_bytes=400) for number in range(600)]
    result = played(Setup(lanes=(limits,)), *calls)
    assert result.granted == 600
    assert result.utilisation()["input_tokens_per_minute"] == pytest.approx(1, abs=0.04)
    huge = arrival(0.0, tokens=100_000, request_bytes=400_000)
    assert played(Setup(lanes=(limits,)), huge).refused == {"request_too_large_for_limit": 1}


def test_a_model_group_that_is_held_back_holds_nobody_else() -> None:
    slow = ModelGroup("slow", ("slow*",), Limits(requests_per_minute=6))
    limits = Limits(requests_per_minute=0, groups=(slow,))
    calls = [arrival(0.0, model="slow-1") for _ in range(5)]
    result = played(Setup(lanes=(limits,)), *calls, arrival(0.1, model="quick", priority=9))
    assert result.waits[9].longest == 0.0
    assert result.waits[5].longest == pytest.approx(40, rel=0.02)


def test_upstreams_do_not_wait_for_each_other() -> None:
    simulation = Simulation(lambda name: Setup(lanes=(Limits(requests_per_minute=60 if name == "a" else 6000),)))
    for number in range(100):
        simulation.arrive(arrival(number * 0.01, upstream="ab"[number % 2]))
    results = simulation.finish()
    assert results["b"].waits[5].longest < 0.1
    assert results["a"].waits[5].longest > 40


def test_ageing_serves_a_batch_call_under_constant_high_load() -> None:
    high = [arrival(number * 0.9, priority=1) for number in range(400)]
    calls = sorted([*high, arrival(10.0, priority=9)], key=lambda one: one.at)
    limits = (Limits(requests_per_minute=60),)
    assert played(Setup(lanes=limits, ageing=60.0), *calls).waits[9].longest <= 60
    assert played(Setup(lanes=limits), *calls).waits[9].longest > 300


def test_a_long_run_holds_no_more_than_those_who_wait_and_run() -> None:
    simulation = Simulation(lambda _: Setup(lanes=(Limits(requests_per_minute=600),)))
    for one in Pattern(rate=500, lasting=3600, upstream="openai").arrivals(max_wait=600):
        simulation.arrive(one)
    [lane] = simulation._lanes["openai"]
    assert len(lane._waiting) == lane.waiting < 100
    assert len(lane._running) < 100
    assert len(lane._expiries) < 500


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.integers(0, 9), st.floats(0, 20), st.none() | st.floats(0, 30), st.booleans()),
        max_size=60,
    ),
    st.sampled_from([0.0, 30.0, 600.0]),
    st.integers(0, 3),
    st.integers(1, 3),
)
def test_every_call_is_granted_or_refused_once_and_none_too_late(
    calls: list[tuple[float, int, float, float | None, bool]], rate: float, places: int, keys: int
) -> None:
    limits = Limits(requests_per_minute=rate, max_concurrent=places)
    simulation = Simulation(lambda _: Setup(lanes=(limits,) * keys))
    at, longest = 0.0, 0.0
    for gap, priority, seconds, max_wait, hasty in calls:
        at += gap
        longest = max(longest, max_wait if max_wait is not None else 1e9)
        simulation.arrive(arrival(at, seconds, priority=priority, max_wait=max_wait, no_queue=hasty))
    for result in simulation.finish().values():
        assert result.granted + sum(result.refused.values()) == result.calls == len(calls)
        assert sum(waits.count for waits in result.waits.values()) == result.granted
        assert all(waits.longest <= longest + 1e-6 for waits in result.waits.values())


@given(st.lists(st.floats(0, 10_000), min_size=1, max_size=300), st.floats(0.01, 1))
def test_percentiles_are_within_one_per_cent(values: list[float], share: float) -> None:
    waits = Waits()
    for value in values:
        waits.add(value)
    exact = sorted(values)[max(-int(-share * len(values) // 1), 1) - 1]
    assert waits.percentile(share) == pytest.approx(exact, rel=0.011, abs=0.001)
    assert waits.longest == max(values)
    assert waits.mean == pytest.approx(sum(values) / len(values))


def test_no_waits_have_no_percentiles() -> None:
    assert Waits().percentile(0.5) == Waits().mean == 0.0
