"""What a call takes from each limit, by how its provider counts."""

from __future__ import annotations

import pytest

from llmqd.config.limits import DIMENSIONS, Dimension, Limits
from llmqd.lane.amounts import Ask, counted, counted_tokens, least, reserved, reserved_tokens
from llmqd.providers.presets import ReserveOutput
from llmqd.usage import Usage

ASK = Ask("m", input_tokens=1000, output_tokens=300, max_tokens=800, least_input=400)
OPEN = Ask("m", input_tokens=1000, output_tokens=300, least_input=400)
USAGE = Usage(input=1200, output=500, cached=700, source="exact")


@pytest.mark.parametrize(
    ("reserve", "before", "certain", "after"),
    [
        ("max_tokens", 1800, 1200, 2000),
        ("refunded", 1800, 1200, 1700),
        ("typical", 1300, 400, 1700),
        ("none", 1000, 400, 1200),
    ],
)
def test_all_tokens_of_a_call_that_says_how_much_it_allows(
    reserve: ReserveOutput, before: float, certain: float, after: float
) -> None:
    limits = Limits(reserve_output=reserve)
    assert reserved(ASK, "tokens_per_minute", limits) == before
    assert least(ASK, "tokens_per_minute", limits) == certain
    assert counted(ASK, USAGE, "tokens_per_minute", limits) == after


@pytest.mark.parametrize("reserve", ["max_tokens", "refunded", "typical"])
def test_all_tokens_of_a_call_that_does_not_say(reserve: ReserveOutput) -> None:
    limits = Limits(reserve_output=reserve)
    assert reserved(OPEN, "tokens_per_minute", limits) == 1300
    assert least(OPEN, "tokens_per_minute", limits) == 400
    assert counted(OPEN, USAGE, "tokens_per_minute", limits) == 1700


def test_typical_output_is_never_more_than_the_request_allows() -> None:
    ask = Ask("m", output_tokens=300, max_tokens=16)
    assert reserved(ask, "output_tokens_per_minute", Limits()) == 16


def test_output_has_its_own_limit_even_where_it_does_not_count_with_the_rest() -> None:
    limits = Limits(reserve_output="none")
    assert reserved(ASK, "output_tokens_per_minute", limits) == 300
    assert counted(ASK, USAGE, "output_tokens_per_minute", limits) == 500


def test_cached_input_counts_only_where_the_provider_says_so() -> None:
    assert counted(ASK, USAGE, "input_tokens_per_minute", Limits(count_cached=True)) == 1200
    assert counted(ASK, USAGE, "input_tokens_per_minute", Limits(count_cached=False)) == 500


def test_nothing_of_the_input_is_certain_where_cached_input_is_free() -> None:
    assert least(ASK, "input_tokens_per_minute", Limits(count_cached=False)) == 0


@pytest.mark.parametrize("dimension", [one for one in DIMENSIONS if "tokens" not in one])
def test_where_calls_are_counted_each_is_one(dimension: Dimension) -> None:
    assert reserved(ASK, dimension, Limits()) == least(ASK, dimension, Limits()) == 1
    assert counted(ASK, USAGE, dimension, Limits()) == 1


@pytest.mark.parametrize("reserve", ["max_tokens", "refunded", "typical", "none"])
@pytest.mark.parametrize("ask", [ASK, OPEN])
@pytest.mark.parametrize("cached", [True, False])
def test_all_limits_on_tokens_at_once_are_each_of_them(reserve: ReserveOutput, ask: Ask, cached: bool) -> None:
    limits = Limits(reserve_output=reserve, count_cached=cached)
    in_tokens: tuple[Dimension, ...] = ("tokens_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")
    assert reserved_tokens(ask, limits) == tuple(reserved(ask, one, limits) for one in in_tokens)
    assert counted_tokens(ask, USAGE, limits) == tuple(counted(ask, USAGE, one, limits) for one in in_tokens)
