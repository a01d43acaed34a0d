"""All limits of a lane: who may go, what is reserved, settled and given back, what is learned."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.limits import DIMENSIONS, Dimension, Limits, ModelGroup
from llmqd.lane.amounts import Ask
from llmqd.lane.gate import MOST_GROUPS, Block, Figure, Gate, Reservation
from llmqd.lane.limiting import Reset
from llmqd.providers.presets import Algorithm
from llmqd.usage import Usage

NOW = 1000.0
FREE = Limits(requests_per_minute=0)


def group(name: str, *models: str, **limits: float) -> ModelGroup:
    return ModelGroup(name, models, Limits(**{"requests_per_minute": 0, **limits}))  # type: ignore[arg-type]


def tokens(amount: float, group: str = "") -> Ask:
    return Ask("m", group, input_tokens=amount, expected_input=amount)


def take(gate: Gate, ask: Ask, now: float = NOW) -> Reservation:
    assert gate.block(ask, now) is None
    reservation = gate.take(ask, now, waited=False)
    gate.sent(reservation, now)
    return reservation


def figure(gate: Gate, dimension: Dimension, group: str = "", now: float = NOW) -> Figure:
    return next(one for one in gate.figures(now) if (one.dimension, one.group) == (dimension, group))


def test_without_limits_everybody_goes_at_once() -> None:
    gate = Gate(FREE)
    for _ in range(1000):
        take(gate, tokens(1e9))
    assert gate.figures(NOW) == []
    assert gate.ready_at(tokens(1), NOW) == NOW
    assert gate.wait_for(500, tokens(1), NOW) == 0
    assert repr(gate) == "<Gate without limits>"


def test_each_dimension_can_be_the_one_that_blocks() -> None:
    ask = Ask("m", input_tokens=60, output_tokens=60)
    for dimension in DIMENSIONS:
        amount = 100 if "tokens" in dimension else 1
        limits = Limits(**{"requests_per_minute": 0, "algorithm": "sliding", dimension: amount})  # type: ignore[arg-type]
        gate = Gate(limits, wall_offset=0.0)
        take(gate, ask)
        block = gate.block(ask, NOW + 0.1)
        assert block is not None
        assert (block.dimension, block.group) == (dimension, "")
        assert block.until == gate.ready_at(ask, NOW + 0.1) > NOW + 0.1


def test_the_limit_that_is_free_last_is_named() -> None:
    gate = Gate(Limits(requests_per_minute=60, tokens_per_minute=600, algorithm="sliding"))
    take(gate, tokens(500))
    block = gate.block(tokens(200), NOW)
    assert block is not None
    assert block.dimension == "tokens_per_minute"
    assert block.until == pytest.approx(NOW + 60.3)


def test_a_model_belongs_to_the_first_group_that_it_fits() -> None:
    gate = Gate(Limits(groups=(group("small", "*-mini", "o?"), group("gpt", "gpt-*"))))
    assert [gate.group_of(model) for model in ("gpt-4o-mini", "gpt-4o", "o1", "o11", "claude", None)] == [
        "small",
        "gpt",
        "small",
        "",
        "",
        "",
    ]


def test_a_full_group_holds_up_its_own_calls_alone() -> None:
    gate = Gate(Limits(requests_per_minute=0, groups=(group("a", "a*", max_concurrent=1),)))
    running = take(gate, tokens(1, "a"))
    assert gate.block(tokens(1, "a"), NOW) == Block(float("inf"), "max_concurrent", "a")
    assert gate.block(tokens(1), NOW) is None
    gate.settle(running, None, NOW)
    assert gate.block(tokens(1, "a"), NOW) is None


def test_a_full_key_holds_up_everybody_and_is_named_before_a_full_group() -> None:
    limits = Limits(
        requests_per_minute=60,
        groups=(group("a", "a*", tokens_per_minute=100, algorithm="sliding"),),  # type: ignore[arg-type]
    )
    gate = Gate(limits)
    take(gate, tokens(100, "a"))
    block = gate.block(tokens(50, "a"), NOW)
    assert block is not None
    assert (block.dimension, block.group) == ("requests_per_minute", "")
    assert block.until == pytest.approx(NOW + 1.005)
    assert gate.ready_at(tokens(50, "a"), NOW) > NOW + 59


def test_calls_of_a_group_count_for_the_key_as_well() -> None:
    gate = Gate(Limits(requests_per_minute=0, max_concurrent=2, groups=(group("a", "a*", max_concurrent=2),)))
    take(gate, tokens(1, "a"))
    take(gate, tokens(1))
    assert gate.block(tokens(1, "a"), NOW) == Block(float("inf"), "max_concurrent", "")


def test_an_assumed_rate_is_waived_for_a_group_that_has_its_own() -> None:
    gate = Gate(Limits(assumed=True, groups=(group("a", "a*", requests_per_minute=6000), group("b", "b*", burst=1))))
    take(gate, Ask("other"))
    assert gate.ready_at(Ask("other"), NOW) == pytest.approx(NOW + 1.005)
    assert gate.ready_at(Ask("b", "b"), NOW) == pytest.approx(NOW + 1.005)
    assert gate.ready_at(Ask("a", "a"), NOW) <= NOW


def test_a_set_rate_of_the_key_holds_for_every_group() -> None:
    gate = Gate(Limits(groups=(group("a", "a*", requests_per_minute=6000),)))
    take(gate, Ask("a", "a"))
    assert gate.ready_at(Ask("a", "a"), NOW) == pytest.approx(NOW + 1.005)


@pytest.mark.parametrize("algorithm", ["auto", "even", "bucket", "fixed", "sliding"])
def test_settling_frees_what_was_not_used(algorithm: Algorithm) -> None:
    gate = Gate(Limits(requests_per_minute=0, tokens_per_minute=1000, algorithm=algorithm))
    reservation = gate.take(Ask("m", input_tokens=500, output_tokens=290), NOW, waited=False)
    gate.settle(reservation, Usage(input=100, output=100, source="exact"), NOW + 1)
    assert figure(gate, "tokens_per_minute", now=NOW + 1).used <= 0.25


@pytest.mark.parametrize("algorithm", ["auto", "even", "bucket", "fixed", "sliding"])
def test_settling_charges_what_was_used_beyond_the_reservation(algorithm: Algorithm) -> None:
    gate = Gate(Limits(requests_per_minute=0, tokens_per_minute=1000, algorithm=algorithm))
    reservation = gate.take(tokens(100), NOW, waited=False)
    gate.settle(reservation, Usage(input=900, output=50, source="exact"), NOW + 1)
    assert figure(gate, "tokens_per_minute", now=NOW + 1).used >= 0.9


@pytest.mark.parametrize("usage", [None, Usage(source="unknown")])
def test_without_usage_the_reservation_stands(usage: Usage | None) -> None:
    gate = Gate(Limits(requests_per_minute=0, tokens_per_minute=1000, algorithm="bucket"))
    gate.settle(take(gate, tokens(500)), usage, NOW)
    assert figure(gate, "tokens_per_minute").used == pytest.approx(0.625)  # of the 800 that are held


def test_what_the_provider_does_not_count_goes_back() -> None:
    limits = Limits(
        requests_per_minute=60, requests_per_day=10, tokens_per_minute=1000, max_concurrent=1, algorithm="sliding"
    )
    gate = Gate(limits)
    gate.settle(take(gate, tokens(500)), Usage(input=400, source="exact"), NOW, counted=False)
    assert [one.used for one in gate.figures(NOW)] == [0, 0, 0, 0]


def test_a_call_that_was_sent_cannot_give_back_its_distance_but_all_the_rest() -> None:
    gate = Gate(Limits(requests_per_minute=60, requests_per_day=10))
    gate.give_back(take(gate, tokens(1)), NOW)
    assert figure(gate, "requests_per_day").used == 0
    assert gate.ready_at(tokens(1), NOW) == pytest.approx(NOW + 1.002)


def test_a_reservation_is_settled_once_and_the_first_word_counts() -> None:
    gate = Gate(Limits(requests_per_minute=0, tokens_per_minute=1000, max_concurrent=5, algorithm="sliding"))
    reservation = take(gate, tokens(500))
    gate.settle(reservation, Usage(input=300, source="exact"), NOW)
    gate.settle(reservation, Usage(input=900, source="exact"), NOW)
    gate.give_back(reservation, NOW)
    gate.sent(reservation, NOW)
    assert not reservation.open
    assert figure(gate, "tokens_per_minute").used == pytest.approx(300 / 995)
    assert figure(gate, "max_concurrent").used == 0


def test_a_call_settled_without_being_reported_as_sent_holds_nobody_back() -> None:
    gate = Gate(Limits(requests_per_minute=600))
    reservation = gate.take(tokens(1), NOW, waited=False)
    gate.settle(reservation, None, NOW + 0.05)
    assert gate.ready_at(tokens(1), NOW + 0.05) == pytest.approx(NOW + 0.1005)


def test_a_call_that_is_certainly_too_large_is_told_so_at_once() -> None:
    gate = Gate(
        Limits(
            tokens_per_minute=1000, reserve_output="max_tokens", groups=(group("g", "g*", input_tokens_per_minute=50),)
        )
    )
    assert gate.never_fits(Ask("m", max_tokens=1001)) == (
        "this call needs at least 1001 tokens, but tokens_per_minute is 1000, so it could never be sent"
    )
    reason = gate.never_fits(Ask("g1", "g", input_tokens=60, least_input=51))
    assert reason is not None
    assert "input_tokens_per_minute of the models g is 50" in reason
    assert gate.never_fits(Ask("m", max_tokens=1000)) is None
    assert gate.never_fits(Ask("m", input_tokens=900, least_input=51)) is None


def test_a_call_that_only_seems_too_large_reserves_all_there_is() -> None:
    gate = Gate(Limits(requests_per_minute=0, tokens_per_minute=1000))
    large = Ask("m", input_tokens=50_000, least_input=900)
    assert gate.never_fits(large) is None
    take(gate, large)
    assert figure(gate, "tokens_per_minute").used == pytest.approx(1.0)


def test_a_learned_limit_makes_no_call_impossible() -> None:
    gate = Gate(Limits(requests_per_minute=0, reserve_output="max_tokens"))
    gate.lower("tokens_per_minute", "", 100, NOW)
    assert gate.never_fits(Ask("m", max_tokens=500)) is None
    assert gate.block(Ask("m", max_tokens=500), NOW) is None


def test_a_learned_limit_holds_only_below_the_configured_one() -> None:
    gate = Gate(Limits(requests_per_minute=600))
    gate.lower("requests_per_minute", "", 300, NOW)
    assert gate.limit("requests_per_minute") == 300
    gate.lower("requests_per_minute", "", 900, NOW)
    assert gate.limit("requests_per_minute") == 600
    gate.lower("requests_per_minute", "", None, NOW)
    shown = figure(gate, "requests_per_minute")
    assert (shown.limit, shown.configured, shown.learned) == (600, 600, None)


def test_a_learned_rate_takes_the_place_of_an_assumed_one() -> None:
    gate = Gate(Limits(assumed=True))
    assert gate.limit("requests_per_minute") == 60
    gate.lower("requests_per_minute", "", 5000, NOW)
    assert gate.limit("requests_per_minute") == 5000
    gate.lower("requests_per_minute", "", float("inf"), NOW)
    assert gate.limit("requests_per_minute") == 0
    gate.lower("requests_per_minute", "", None, NOW)
    assert gate.limit("requests_per_minute") == 60


def test_a_limit_can_be_learned_where_none_is_configured() -> None:
    gate = Gate(FREE)
    gate.lower("max_concurrent", "", 1, NOW)
    take(gate, tokens(1))
    assert gate.block(tokens(1), NOW) == Block(float("inf"), "max_concurrent", "")
    gate.lower("max_concurrent", "", None, NOW)
    assert gate.block(tokens(1), NOW) is None


def test_limits_can_be_learned_for_groups_that_are_not_configured() -> None:
    gate = Gate(FREE)
    gate.lower("requests_per_minute", "gpt-4o", 60, NOW)
    take(gate, tokens(1, "gpt-4o"))
    block = gate.block(tokens(1, "gpt-4o"), NOW)
    assert block is not None
    assert block.group == "gpt-4o"
    assert gate.block(tokens(1, "gpt-5"), NOW) is None
    gate.retune(FREE, NOW)
    assert gate.limit("requests_per_minute", "gpt-4o") == 60


def test_the_number_of_learned_groups_is_bounded() -> None:
    gate = Gate(FREE)
    for number in range(2 * MOST_GROUPS):
        gate.lower("requests_per_minute", f"model {number}", 60, NOW)
    assert len(gate.figures(NOW)) == MOST_GROUPS - 1


def test_a_learned_limit_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Gate(FREE).lower("requests_per_minute", "", 0, NOW)


def test_a_new_configuration_keeps_what_is_used() -> None:
    gate = Gate(Limits(requests_per_minute=0, tokens_per_minute=1000, requests_per_day=10, algorithm="sliding"))
    take(gate, tokens(500))
    gate.retune(Limits(requests_per_minute=0, tokens_per_minute=2000, requests_per_day=5, algorithm="sliding"), NOW)
    assert figure(gate, "tokens_per_minute").used == pytest.approx(500 / 1990)
    assert figure(gate, "requests_per_day").used == pytest.approx(0.2)


def test_another_algorithm_starts_with_what_is_used() -> None:
    gate = Gate(Limits(requests_per_minute=0, tokens_per_minute=1000, algorithm="sliding", reserve_output="none"))
    reservation = take(gate, tokens(500))
    gate.retune(Limits(requests_per_minute=0, tokens_per_minute=1000, algorithm="bucket", reserve_output="none"), NOW)
    assert figure(gate, "tokens_per_minute").used == pytest.approx(0.5 * 60 / 58)  # so much is held of a guessed bucket
    gate.settle(reservation, Usage(input=1, source="exact"), NOW)  # what it held is not there any more
    assert figure(gate, "tokens_per_minute").used == pytest.approx(0.5 * 60 / 58)


def test_running_calls_keep_their_places_through_a_new_configuration() -> None:
    gate = Gate(Limits(requests_per_minute=0, max_concurrent=2))
    first, second = take(gate, tokens(1)), take(gate, tokens(1))
    gate.retune(Limits(requests_per_minute=0, max_concurrent=1, algorithm="fixed"), NOW)
    gate.settle(first, None, NOW)
    assert gate.block(tokens(1), NOW) is not None
    gate.settle(second, None, NOW)
    assert gate.block(tokens(1), NOW) is None


def test_a_group_that_is_gone_limits_nobody() -> None:
    gate = Gate(Limits(requests_per_minute=0, groups=(group("a", "a*", max_concurrent=1),)))
    running = take(gate, tokens(1, "a"))
    gate.retune(FREE, NOW)
    assert gate.group_of("a1") == ""
    assert gate.block(tokens(1, "a"), NOW) is None
    gate.settle(running, None, NOW)


def day_end(gate: Gate, now: float = NOW) -> float:
    """When the next call may go, as the day's limit has it."""
    block = gate.block(tokens(1), now)
    assert block is not None
    assert block.dimension == "requests_per_day"
    return block.until


def test_what_was_used_of_a_limit_before_it_was_learned_counts() -> None:
    gate = Gate(FREE)
    gate.lower("requests_per_day", "", 10, NOW, used=9)
    take(gate, tokens(1))
    assert day_end(gate) == pytest.approx(86_400, abs=1)


@pytest.mark.parametrize("ends", [NOW + 30, NOW + 80_000])
def test_a_learned_day_ends_when_its_provider_says_and_every_day_after_it(ends: float) -> None:
    gate = Gate(Limits(requests_per_minute=0, day_zone="America/Los_Angeles"))
    gate.lower("requests_per_day", "", 2, NOW, Reset(ends), used=2)
    assert day_end(gate) == pytest.approx(ends, abs=2)
    then = ends + 2
    take(gate, tokens(1), then)
    take(gate, tokens(1), then)
    assert day_end(gate, then) == pytest.approx(ends + 86_400, abs=2)


def test_a_learned_day_that_refills_gives_each_call_back_by_itself() -> None:
    gate = Gate(FREE)
    gate.lower("requests_per_day", "", 200, NOW, Reset(None), used=200)
    assert day_end(gate) == pytest.approx(NOW + 432 * 1.005)


def test_a_configured_day_keeps_its_zone_where_the_provider_allows_more() -> None:
    gate = Gate(Limits(requests_per_minute=0, requests_per_day=2))
    take(gate, tokens(1))
    take(gate, tokens(1))
    gate.lower("requests_per_day", "", 50, NOW, Reset(NOW + 30), used=10)
    assert day_end(gate) == pytest.approx(86_400, abs=1)
    gate.lower("requests_per_day", "", 2, NOW, Reset(NOW + 30), used=2)
    assert day_end(gate) == pytest.approx(NOW + 30, abs=2)
    gate.lower("requests_per_day", "", None, NOW)
    assert day_end(gate) == pytest.approx(86_400, abs=1)


def test_windows_of_the_wall_clock_know_the_wall_clock() -> None:
    gate = Gate(Limits(requests_per_minute=1, algorithm="fixed"), wall_offset=1_700_000_000.0 - NOW)
    take(gate, tokens(1))  # 20 s into a minute
    assert gate.ready_at(tokens(1), NOW) == pytest.approx(NOW + 40.25, abs=0.001)


def test_the_wait_is_that_of_the_slowest_limit() -> None:
    gate = Gate(Limits(requests_per_minute=60, tokens_per_minute=600, algorithm="bucket", reserve_output="none"))
    assert gate.wait_for(1, tokens(1), NOW) == 0
    assert gate.wait_for(11, tokens(1), NOW) == pytest.approx(10 * 1.005)
    assert gate.wait_for(11, tokens(100), NOW) == pytest.approx(52 * 1.005)


def test_where_unused_output_comes_back_those_ahead_count_with_what_they_are_expected_to_use() -> None:
    gate = Gate(Limits(requests_per_minute=0, tokens_per_minute=600, algorithm="bucket", reserve_output="refunded"))
    ask = Ask("m", input_tokens=10, output_tokens=20, max_tokens=200)
    take(gate, Ask("m", output_tokens=20, max_tokens=600))
    one, other = gate.wait_for(1, ask, NOW), gate.wait_for(11, ask, NOW)
    assert other - one == pytest.approx(10 * 3 * 1.005)


def test_the_gate_shows_its_limits() -> None:
    gate = Gate(Limits(requests_per_minute=60, groups=(group("a", "a*", max_concurrent=3),)))
    gate.lower("requests_per_minute", "", 30, NOW)
    assert repr(gate) == "<Gate requests_per_minute 30 learned, a max_concurrent 3>"


STEPS = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.floats(1, 600),
        st.floats(0, 1),
        st.sampled_from(["used", "not counted", "given back", "unknown"]),
        st.sampled_from(["", "a"]),
    ),
    max_size=80,
)
"""Pause, expected tokens, share of them really used, how it ends, model group."""


@given(steps=STEPS, algorithm=st.sampled_from(["auto", "even", "sliding"]))
def test_no_60_seconds_hold_more_calls_or_tokens_than_allowed(
    steps: list[tuple[float, float, float, str, str]], algorithm: Algorithm
) -> None:
    """Counted by hand over what was really used, whatever was settled, given back, or not counted."""
    limits = Limits(
        requests_per_minute=30,
        tokens_per_minute=1000,
        algorithm=algorithm,
        reserve_output="none",
        groups=(group("a", "a*", requests_per_minute=6),),
    )
    gate, now = Gate(limits), NOW
    counted: list[tuple[float, str, float]] = []
    for pause, expected, share, end, name in steps:
        now += pause
        ask = tokens(expected, name)
        while (block := gate.block(ask, now)) is not None:
            now = block.until
        reservation = gate.take(ask, now, waited=False)
        if end == "given back":
            gate.give_back(reservation, now)
            continue
        gate.sent(reservation, now)
        used = int(expected * share) if end == "used" else expected
        usage = Usage(input=int(used), source="exact" if end == "used" else "unknown")
        gate.settle(reservation, usage, now, counted=end != "not counted")
        if end != "not counted":
            counted.append((now, name, used))
    for start, _, _ in counted:
        within = [(name, amount) for at, name, amount in counted if start <= at < start + 60]
        assert len(within) <= 30
        assert sum(name == "a" for name, _ in within) <= 6
        assert sum(amount for _, amount in within) <= 1000 + 1e-6


@given(steps=STEPS, algorithm=st.sampled_from(["auto", "even", "bucket", "fixed", "sliding"]), chance=st.randoms())
def test_what_all_gives_back_leaves_as_it_found(
    steps: list[tuple[float, float, float, str, str]], algorithm: Algorithm, chance: random.Random
) -> None:
    limits = Limits(
        requests_per_minute=0, tokens_per_minute=1000, requests_per_day=50, max_concurrent=100, algorithm=algorithm
    )
    gate = Gate(limits, wall_offset=1e9)
    for pause, expected, *_ in steps[:20]:
        gate.settle(gate.take(tokens(expected), NOW + pause / 100, waited=False), None, NOW + pause / 100)
    now = NOW + 1.0
    before = [one.used for one in gate.figures(now)]
    ready = max(gate.ready_at(tokens(10), now), now)
    held = [gate.take(tokens(expected), now, waited=False) for _, expected, *_ in steps]
    chance.shuffle(held)
    for reservation in held:
        gate.give_back(reservation, now)
    assert [one.used for one in gate.figures(now)] == pytest.approx(before, abs=1e-6)
    assert max(gate.ready_at(tokens(10), now), now) == pytest.approx(ready, abs=1e-3)


def test_a_burst_that_was_not_right_is_believed_again_once_something_else_is_configured() -> None:
    limits = Limits(requests_per_minute=60, algorithm="bucket", burst=10)
    gate = Gate(limits)
    assert gate.wait_for(10, Ask(), 0.0) == 0.0
    gate.lower("requests_per_minute", "", 30.0, 0.0)
    assert gate.wait_for(3, Ask(), 0.0) > 3.0
    gate.lower("requests_per_minute", "", None, 0.0)
    assert gate.wait_for(3, Ask(), 0.0) > 1.9
    gate.retune(replace(limits, burst=9), 0.0)
    assert gate.wait_for(9, Ask(), 100.0) == 0.0
