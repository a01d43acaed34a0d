"""When a session runs away, and when it only works."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.guards import Guards
from llmqd.guards.doing import Doing
from llmqd.guards.runaways import Held, Runaways
from llmqd.usage import PICO

REPEATS = 5


def watching(**more: Any) -> Runaways:
    return Runaways(Guards(repeats=REPEATS, within=600.0, lasting=300.0, **more))


def does(runaways: Runaways, *what: str, every: float = 1.0, start: float = 1000.0, pico: int = 0) -> Held | None:
    """A session does this, one after the other; the first time that it is held back."""
    found = None
    for number, one in enumerate(what):
        doing = Doing(hash(one), (one,) if one.startswith("t") else ())
        held = runaways.answered("s", doing, start + number * every, pico)
        found = found or held
    return found


def test_the_same_call_of_a_tool_again_and_again_is_found() -> None:
    held = does(watching(), *["t"] * REPEATS)
    assert held == Held(1004.0 + 300.0, "it has called t with the same arguments 5 times in a row")
    assert does(watching(), *["t"] * (REPEATS - 1)) is None


def test_the_same_message_again_and_again_is_found() -> None:
    held = does(watching(), *["go on"] * REPEATS)
    assert held is not None
    assert held.reason == "it has sent the same message 5 times in a row"


def test_cycles_of_two_and_three_are_found() -> None:
    for cycle in (("ta", "tb"), ("ta", "tb", "tc")):
        held = does(watching(), *cycle * REPEATS)
        assert held is not None
        assert f"in a cycle of {len(cycle)}" in held.reason


def test_work_that_comes_back_to_the_same_with_something_else_between_is_none() -> None:
    edit_and_test = [one for number in range(50) for one in (f"t edit {number}", "t make test")]
    assert does(watching(), *edit_and_test) is None


def test_the_same_seldom_is_none() -> None:
    assert does(watching(), *["t poll"] * 50, every=200.0) is None


def test_tools_that_wait_may_be_called_again_and_again() -> None:
    assert does(watching(ignore_tools=("t wait*",)), *["t wait 1"] * 50) is None
    assert does(watching(ignore_tools=("t wait*",)), *["t other"] * 50) is not None


def test_sessions_have_nothing_to_do_with_each_other() -> None:
    runaways = watching()
    for number in range(100):
        assert runaways.answered(f"s{number}", Doing(1), 1000.0, 0) is None


@given(st.lists(st.integers(), unique=True, max_size=200))
def test_whoever_never_does_the_same_twice_is_never_held_back(doings: list[int]) -> None:
    assert does(watching(), *map(str, doings)) is None


def test_it_is_told_once_and_holds_until_it_has_ended_for_a_while() -> None:
    runaways = watching()
    assert does(runaways, *["t"] * REPEATS) is not None
    assert does(runaways, *["t"] * 20, start=1005.0) is None
    assert runaways.holds("s", 1024.0 + 299.0) is not None
    assert (len(runaways), runaways.held) == (1, 1)
    assert runaways.holds("s", 1024.0 + 300.0) is None
    assert (len(runaways), runaways.held) == (0, 0)
    assert does(runaways, *["t"] * (REPEATS - 1), start=2000.0) is None


def test_a_clock_that_is_set_back_frees_it() -> None:
    runaways = watching()
    assert does(runaways, *["t"] * REPEATS) is not None
    assert runaways.holds("s", 10.0) is None


def test_money_an_hour_is_bounded() -> None:
    """A minute of 5 cents a second is 180 USD an hour, but measured over ten minutes it is 18."""
    cents = PICO // 20
    runaways = watching(cost_per_hour=Decimal(17))
    held = does(runaways, *map(str, range(60)), pico=cents)
    assert held is not None
    assert held.reason.endswith(" USD an hour, more than 17 USD")
    assert does(watching(cost_per_hour=Decimal(19)), *map(str, range(60)), pico=cents) is None
    assert does(watching(), *map(str, range(60)), pico=cents) is None


def test_a_few_dear_calls_and_a_slow_burn_are_no_runaway() -> None:
    assert does(watching(cost_per_hour=Decimal(1)), *"abcd", pico=PICO) is None
    assert does(watching(cost_per_hour=Decimal(4)), *map(str, range(60)), every=1000.0, pico=PICO) is None


def test_memory_is_bounded() -> None:
    runaways = watching(max_sessions=3)
    for number in range(10):
        runaways.answered(f"s{number}", Doing(number), 1000.0, 0)
    assert len(runaways) == 3
    for number in range(1000):
        runaways.answered("s9", Doing(number), 1000.0 + number, 1)
    assert len(runaways._sessions["s9"].did) <= 3 * REPEATS
