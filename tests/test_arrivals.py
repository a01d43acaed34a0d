"""Where simulated calls come from: records of a ledger, and patterns."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from typing import Any

import pytest

from llmqd.arrivals import Pattern, Recorded, faster, parse_pattern
from llmqd.call import Outcome, Record
from llmqd.usage import Usage
from tests.calls import a_call


def recorded(status: Any = "done", queued: float | None = 500.0, total: float | None = 2500.0, **fields: Any) -> Record:
    usage = Usage(input=100, output=50, source="exact") if status == "done" else None
    return Record(a_call(**fields), Outcome(status, queued_ms=queued, total_ms=total, usage=usage))


def test_a_recorded_call_stays_as_long_as_it_stayed_after_its_turn() -> None:
    arrival = Recorded().arrival(recorded(received_at=50.0))
    assert arrival is not None
    assert (arrival.at, arrival.seconds, arrival.usage.total) == (50.0, 2.0, 150)


@pytest.mark.parametrize(("status", "total"), [("refused", 9000.0), ("abandoned", 9000.0), ("interrupted", None)])
def test_a_call_that_was_never_sent_gets_what_is_typical_of_its_model(status: str, total: float | None) -> None:
    source = Recorded()
    source.arrival(recorded(model="a"))
    source.arrival(recorded(model="b", total=60_500.0))
    arrival = source.arrival(recorded(status, 9000.0, total, model="a"))
    assert arrival is not None
    assert (arrival.seconds, arrival.usage.input, arrival.usage.output) == (2.0, 100, 50)


def test_a_call_that_waited_for_no_turn_is_not_replayed() -> None:
    assert Recorded().arrival(recorded(queued=None)) is None


def test_what_is_typical_is_remembered_of_a_bounded_number_of_models() -> None:
    source = Recorded()
    for number in range(1100):
        source.arrival(recorded(model=f"m{number}"))
    forgotten = source.arrival(recorded("refused", model="m0"))
    remembered = source.arrival(recorded("refused", model="m1099"))
    assert forgotten is not None
    assert remembered is not None
    assert (forgotten.seconds, remembered.seconds) == (0.0, 2.0)


def test_a_pattern_keeps_its_rate_its_means_and_its_spread() -> None:
    pattern = Pattern(rate=600, lasting=3600, input=800, output=200, seconds=3, spread=20, upstream="openai")
    arrivals = list(pattern.arrivals())
    assert len(arrivals) == pytest.approx(36_000, rel=0.03)
    assert statistics.mean(one.usage.input for one in arrivals) == pytest.approx(800, rel=0.03)
    assert statistics.mean(one.seconds for one in arrivals) == pytest.approx(3, rel=0.03)
    sizes = [one.usage.input for one in arrivals]
    assert max(sizes) / min(sizes) == pytest.approx(20, rel=0.05)
    times = [one.at for one in arrivals]
    assert times == sorted(times)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert statistics.pstdev(gaps) == pytest.approx(0.1, rel=0.05)


def test_the_same_pattern_gives_the_same_calls_and_another_seed_others() -> None:
    def times(seed: int) -> list[float]:
        return [one.at for one in Pattern(rate=60, lasting=600, seed=seed).arrivals()]

    assert times(1) == times(1)
    assert times(1) != times(2)


def test_priorities_and_users_come_in_their_shares() -> None:
    pattern = parse_pattern("rate=600,for=1h,priority=high:1/9:3,users=4")
    arrivals = list(pattern.arrivals())
    priorities = Counter(one.call.priority for one in arrivals)
    assert priorities[9] / priorities[1] == pytest.approx(3, rel=0.1)
    assert {one.call.user for one in arrivals} == {"user-1", "user-2", "user-3", "user-4"}
    assert len({one.call.id for one in arrivals}) == len(arrivals)


def test_a_pattern_is_read_from_text() -> None:
    assert parse_pattern("rate=90, tokens=1000, seconds=1.5, for=2m, model=gpt-4o, upstream=azure, seed=3") == Pattern(
        rate=90, input=500, output=500, seconds=1.5, lasting=120, model="gpt-4o", upstream="azure", seed=3
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "rate is missing"),
        ("tokens=5", "rate is missing"),
        ("rate", '"rate" is not name=value'),
        ("rate=0", "rate=0: must be a number, more than 0"),
        ("rate=-1", "must be a number, more than 0"),
        ("rate=nan", "must be a number"),
        ("rate=5,spread=0.5", "spread=0.5: must be a number, at least 1"),
        ("rate=5,for=soon", "for=soon: must be a duration"),
        ("rate=5,colour=red", '"colour" is unknown; there are rate, tokens'),
        ("rate=5,priority=urgent:1", "'urgent' is not a priority"),
        ("rate=5,priority=high:0", "add up to nothing"),
    ],
)
def test_what_is_wrong_with_a_pattern_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_pattern(text)


def test_more_load_is_the_same_calls_in_less_time() -> None:
    plain = list(Pattern(rate=60, lasting=600).arrivals())
    dense = list(faster(iter(plain), 4))
    assert [one.call.id for one in dense] == [one.call.id for one in plain]
    assert dense[0].at == plain[0].at
    assert dense[-1].at - dense[0].at == pytest.approx((plain[-1].at - plain[0].at) / 4)
