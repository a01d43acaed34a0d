"""What the ledger is known to have: the latest of it, and never more than was allowed."""

from __future__ import annotations

import sys

import pytest

from llmqd.store.known import Known


def test_it_says_when_a_key_was_last_written() -> None:
    known = Known(4)
    known.put(1, 10.0)
    known.put(1, 20.0)
    assert (known.since(1), known.since(2)) == (20.0, None)
    known.clear()
    assert (known.since(1), len(known)) == (None, 0)


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_the_latest_half_is_always_known_and_more_than_the_limit_never(limit: int) -> None:
    known = Known(limit)
    for number in range(10 * limit):
        known.put(number, float(number))
        assert len(known) <= max(limit, 2)
        latest = range(max(number - max(limit // 2, 1) + 1, 0), number + 1)
        assert all(known.since(each) == float(each) for each in latest)


def test_what_is_written_again_is_known_with_its_later_time_and_stays() -> None:
    known = Known(4)
    for number in range(50):
        known.put(-1, float(number))
        known.put(number, 0.0)
        assert known.since(-1) == float(number)


def test_it_takes_no_more_memory_after_an_hour_than_when_it_was_first_full() -> None:
    """A dict out of which the oldest key is taken with each new one grows to twice its size, and is walked through."""
    known = Known(4096)
    sizes = []
    for number in range(40_960):
        known.put(number, 0.0)
        sizes.append(sum(sys.getsizeof(each) for each in (known._young, known._old)))
    assert max(sizes[8192:]) <= max(sizes[:8192])
