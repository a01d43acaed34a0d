"""A gate that is told what its key let through earlier is never more generous than one that saw it happen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.limits import DIMENSIONS, Dimension, Limits, ModelGroup
from llmqd.lane.amounts import Ask
from llmqd.lane.gate import Gate
from llmqd.usage import LaneUsage, Usage

OFFSET = 1_799_999_000.0
"""Wall clock minus monotonic: at 1000 it is 08:00 UTC on the 15th of January 2027."""
NOW = 1000.0
HOUR = 3600.0


def limits(**values: Any) -> Limits:
    return Limits(**({"requests_per_minute": 0} | values))


def gate_of(**values: Any) -> Gate:
    return Gate(limits(**values), wall_offset=OFFSET)


def sent(
    ago: float, calls: int = 1, *, model: str = "m", input: int = 0, output: int = 0, cached: int = 0
) -> LaneUsage:
    """Calls of `ago` seconds before NOW."""
    return LaneUsage("lane", model, OFFSET + NOW - ago, calls, input, output, cached)


def used(gate: Gate, dimension: Dimension, group: str = "", now: float = NOW) -> float:
    """The amount that counts now."""
    figure = next(one for one in gate.figures(now) if (one.dimension, one.group) == (dimension, group))
    return round(figure.used * figure.limit, 3)


def go(gate: Gate, now: float, model: str = "m") -> None:
    ask = Ask(model, gate.group_of(model))
    gate.settle(gate.take(ask, now, waited=False), None, now)


def test_the_day_of_the_zone_counts_and_the_day_before_does_not() -> None:
    past = [sent(9 * HOUR, 5), sent(7.9 * HOUR, 3), sent(60, 1)]
    utc, kolkata = gate_of(requests_per_day=10), gate_of(requests_per_day=10, day_zone="Asia/Kolkata")
    for gate in (utc, kolkata):
        gate.replay(past, NOW)
    assert used(utc, "requests_per_day") == 4  # since midnight, eight hours ago
    assert used(kolkata, "requests_per_day") == 9  # since 18:30 UTC


def test_a_day_that_is_used_up_stays_so_over_a_restart() -> None:
    gate = gate_of(requests_per_day=10)
    gate.replay([sent(HOUR, 12)], NOW)
    block = gate.block(Ask("m"), NOW)
    assert block is not None
    assert (block.dimension, round(block.until - NOW)) == ("requests_per_day", 16 * HOUR)


def test_each_kind_of_token_counts_as_its_limit_says() -> None:
    gate = gate_of(
        tokens_per_minute=1000, input_tokens_per_minute=1000, output_tokens_per_minute=1000, count_cached=False
    )
    gate.replay([sent(5, 2, input=300, output=50, cached=100)], NOW)
    assert used(gate, "tokens_per_minute") == pytest.approx(250, rel=0.01)
    assert used(gate, "input_tokens_per_minute") == pytest.approx(200, rel=0.01)
    assert used(gate, "output_tokens_per_minute") == pytest.approx(50, rel=0.01)


def test_what_has_run_back_into_the_bucket_since_is_there() -> None:
    gate = gate_of(tokens_per_minute=600, algorithm="bucket", reserve_output="none")
    gate.replay([sent(30, input=600)], NOW)
    assert used(gate, "tokens_per_minute") == pytest.approx(300 * 60 / 58, rel=0.02)  # so much is held of a guessed one


def test_a_low_rate_keeps_its_distance_over_a_restart() -> None:
    gate = gate_of(requests_per_minute=0.5)
    gate.replay([sent(50)], NOW)
    assert gate.ready_at(Ask("m"), NOW) == pytest.approx(NOW + 70, rel=0.001)


def test_a_model_counts_in_its_group_and_in_the_key() -> None:
    groups = (ModelGroup("mini", ("*-mini",), limits(requests_per_day=50)),)
    gate = gate_of(requests_per_day=100, groups=groups)
    gate.replay([sent(60, 4, model="gpt-mini"), sent(50, 3, model="gpt")], NOW)
    assert used(gate, "requests_per_day") == 7
    assert used(gate, "requests_per_day", "mini") == 4


def test_to_tell_the_same_again_changes_nothing() -> None:
    past = [sent(2 * HOUR, 5), sent(20, 2, input=100)]
    gate = gate_of(requests_per_day=100, tokens_per_minute=1000)
    for _ in range(3):
        gate.replay(past, NOW)
    assert used(gate, "requests_per_day") == 7
    go(gate, NOW + 1)
    gate.replay(past, NOW + 2)
    assert used(gate, "requests_per_day", now=NOW + 2) == 8


def test_a_step_that_has_grown_into_what_is_counted_here_adds_and_takes_nothing() -> None:
    gate = gate_of(requests_per_day=100)
    gate.replay([sent(5, 5)], NOW)
    go(gate, NOW)
    for past in ([sent(0, 6)], [sent(5, 5)]):
        gate.replay(past, NOW + 1)
        assert used(gate, "requests_per_day", now=NOW + 1) == 6


def test_what_comes_to_light_later_is_added() -> None:
    gate = gate_of(requests_per_day=100)
    gate.replay([sent(HOUR, 5)], NOW)
    go(gate, NOW)
    gate.replay([sent(HOUR, 5), sent(0.5 * HOUR, 20)], NOW + 10)
    assert used(gate, "requests_per_day", now=NOW + 10) == 26


def test_calls_that_the_gate_has_counted_itself_are_not_counted_again() -> None:
    gate = gate_of(requests_per_day=100)
    for second in range(5):
        go(gate, NOW + second)
    gate.replay([sent(HOUR, 10), sent(0, 1), sent(-4, 4)], NOW + 10)
    assert used(gate, "requests_per_day", now=NOW + 10) == 15


def test_a_limit_that_is_set_later_learns_of_the_day_so_far() -> None:
    gate = gate_of(requests_per_minute=60)
    go(gate, NOW)
    gate.retune(limits(requests_per_minute=60, requests_per_day=10), NOW + 60)
    gate.replay([sent(0), sent(-30, 7)], NOW + 60)
    assert used(gate, "requests_per_day", now=NOW + 60) == 8


def test_what_was_recalled_yesterday_does_not_count_today() -> None:
    gate = gate_of(requests_per_day=100)
    past = [sent(HOUR, 30)]
    gate.replay(past, NOW)
    go(gate, NOW)
    tomorrow = NOW + 20 * HOUR
    go(gate, tomorrow)
    gate.replay(past, tomorrow)
    assert used(gate, "requests_per_day", now=tomorrow) == 1


def test_a_clock_that_went_back_does_not_close_the_lane_for_long() -> None:
    gate = gate_of(requests_per_minute=60, algorithm="bucket", burst=5)
    gate.replay([sent(-86_400.0, 5)], NOW)
    assert gate.ready_at(Ask("m"), NOW) < NOW + 10


def test_places_of_calls_that_are_over_are_free() -> None:
    gate = gate_of(max_concurrent=1, requests_per_day=10)
    gate.replay([sent(10, 5)], NOW)
    assert gate.block(Ask("m"), NOW) is None


CALLS = st.lists(st.tuples(st.floats(0.01, 40.0), st.integers(0, 300), st.integers(0, 100)), min_size=1, max_size=40)
KINDS: Sequence[dict[str, Any]] = [
    {"requests_per_minute": 20, "algorithm": "bucket", "burst": 5},
    {"requests_per_minute": 20, "algorithm": "fixed"},
    {"requests_per_minute": 20, "algorithm": "sliding"},
    {"requests_per_minute": 20},
    {"requests_per_minute": 20, "algorithm": "fixed", "quantum": 10.0},
    {"requests_per_day": 30},
    {"tokens_per_minute": 2000, "algorithm": "bucket"},
    {"tokens_per_minute": 2000, "algorithm": "sliding"},
    {"tokens_per_minute": 2000, "algorithm": "fixed", "reserve_output": "none"},
    {"input_tokens_per_minute": 1000, "output_tokens_per_minute": 500},
]


@given(st.sampled_from(KINDS), CALLS, st.floats(0.0, 90.0))
def test_after_a_restart_nothing_goes_earlier_than_without_one(
    kind: dict[str, Any], calls: list[tuple[float, int, int]], later: float
) -> None:
    """The ledger knows steps of ten seconds only, each as if all had gone with the last: that is never too early."""
    lived, slots, at = gate_of(**kind), dict[int, LaneUsage](), NOW
    for pause, input_tokens, output_tokens in calls:
        ask = Ask("m", input_tokens=input_tokens, output_tokens=output_tokens)
        at = max(at + pause, lived.ready_at(ask, at + pause))
        if not math.isfinite(at):
            break
        usage = Usage(input=input_tokens, output=output_tokens, source="exact")
        reservation = lived.take(ask, at, waited=False)
        lived.sent(reservation, at)
        lived.settle(reservation, usage, at)
        slot = int((at + OFFSET) // 10)
        last = slots.get(slot, sent(0, 0))
        slots[slot] = LaneUsage(
            "lane", "m", at + OFFSET, last.calls + 1, last.input + input_tokens, last.output + output_tokens, 0
        )
    now, restarted, ask = at + later, gate_of(**kind), Ask("m", input_tokens=50, output_tokens=20)
    restarted.replay(sorted(slots.values(), key=lambda one: one.last), now)
    assert restarted.ready_at(ask, now) >= lived.ready_at(ask, now) - 0.001
    assert {one.dimension for one in restarted.figures(now)} <= set(DIMENSIONS)
