"""A place is given back once, to whoever had it, in time; nobody can crowd out the others."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.places import Place, Places


def kept(*places: Place, most: int = 100, now: float = 0.0) -> Places:
    memory = Places(most)
    for place in places:
        memory.keep(place, now)
    return memory


def test_a_place_is_given_back_once() -> None:
    memory = kept(Place("ada", "call", 5.0, 100.0))
    assert memory.claim("ada", "call", 50.0) == 5.0
    assert memory.claim("ada", "call", 50.0) is None
    assert (len(memory), memory.knows("ada")) == (0, False)


def test_only_the_same_call_of_the_same_caller_gets_it() -> None:
    memory = kept(Place("ada", "call", 5.0, 100.0))
    assert memory.claim("bob", "call", 50.0) is None
    assert memory.claim("ada", "other", 50.0) is None
    assert memory.claim("ada", "call", 50.0) == 5.0


def test_whoever_comes_back_too_late_has_no_place() -> None:
    memory = kept(Place("ada", "call", 5.0, 100.0), Place("ada", "call", 6.0, 101.0))
    assert memory.claim("ada", "call", 100.0) == 6.0
    assert len(memory) == 0


def test_equal_calls_come_back_each_to_one_of_their_places() -> None:
    memory = kept(*(Place("ada", "call", float(since), 100.0) for since in range(3)))
    assert [memory.claim("ada", "call", 50.0) for _ in range(4)] == [0.0, 1.0, 2.0, None]


def test_places_that_are_over_make_room() -> None:
    memory = kept(*(Place("ada", str(number), 0.0, 10.0) for number in range(5)))
    memory.keep(Place("ada", "late", 0.0, 10.0), 10.0)
    assert len(memory) == 5, "a place that is over already is not kept"
    memory.keep(Place("ada", "new", 9.0, 20.0), 10.0)
    assert (len(memory), memory.claim("ada", "new", 11.0)) == (1, 9.0)


def test_whoever_has_most_of_the_places_cannot_take_those_of_others() -> None:
    memory = kept(Place("ada", "call", 0.0, 1e6), most=10)
    for number in range(1000):
        memory.keep(Place("flood", str(number), float(number), 1e6), 0.0)
    assert len(memory) == 10
    assert memory.claim("ada", "call", 1.0) == 0.0
    assert [memory.claim("flood", str(number), 1.0) is not None for number in (990, 991, 999)] == [False, True, True]


def test_a_newcomer_gets_room_from_a_full_memory() -> None:
    memory = kept(*(Place("flood", str(number), 0.0, 1e6) for number in range(10)), most=10)
    memory.keep(Place("ada", "call", 7.0, 1e6), 0.0)
    assert (len(memory), memory.claim("ada", "call", 1.0)) == (10, 7.0)


def test_places_outlive_the_clock_as_plain_data() -> None:
    memory = kept(Place("ada", "a", 90.0, 160.0), Place("bob", "b", 40.0, 110.0), Place("bob", "c", 0.0, 100.0))
    plain = orjson.loads(orjson.dumps(memory.export(100.0)))
    assert [each["call"] for each in plain] == ["a", "b"]
    later = Places()
    later.load(plain, 5000.0, away=20.0)
    assert (later.claim("ada", "a", 5000.0), later.claim("bob", "b", 5011.0)) == (4970.0, None)


def test_the_time_away_does_not_count_against_a_call_that_could_not_come_back() -> None:
    plain = kept(Place("ada", "a", 90.0, 160.0)).export(100.0)
    later = Places()
    later.load(plain, 5000.0, away=600.0)
    assert later.claim("ada", "a", 5059.0) == 4390.0


@pytest.mark.parametrize(
    "broken",
    [{}, {"who": "a", "call": "b", "waited": "1", "left": 5}, {"who": 1, "call": "b", "waited": 1, "left": 5}, []],
)
def test_what_is_no_place_is_not_taken_for_one(broken: object) -> None:
    with pytest.raises(ValueError, match="not a place"):
        Places().load([broken], 0.0)  # type: ignore[list-item]


STEPS = st.lists(
    st.tuples(st.sampled_from(["keep", "claim"]), st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(1, 30)),
    max_size=60,
)


@given(STEPS, st.integers(1, 8))
def test_no_place_is_given_that_was_not_kept_and_the_bound_holds(
    steps: list[tuple[str, str, str, int]], most: int
) -> None:
    memory, given_out, now = Places(most), set[float](), 0.0
    had: dict[float, tuple[str, str, float]] = {}
    for step, who, call, number in steps:
        now += 1.0
        if step == "keep":
            memory.keep(Place(who, call, now, now + number), now)
            had[now] = who, call, now + number
        elif (since := memory.claim(who, call, now)) is not None:
            assert since not in given_out
            assert had[since][:2] == (who, call)
            assert had[since][2] > now
            given_out.add(since)
        assert len(memory) <= most
    memory.export(now)
    assert memory.knows("a") is any(memory.claim("a", call, -1.0) is not None for call in "xyz")
