"""Calls: their ids, which tell when they came."""

from __future__ import annotations

import pytest

from llmqd.call import new_call_id


@pytest.mark.parametrize(
    ("now", "begin"),
    [
        (1469918176.386, "01aryz6s42"),  # of 1 ms after the example of the ULID specification
        (0.0, "0000000000"),
        (1.024, "0000000100"),
        (33.823, "000000110z"),
    ],
)
def test_an_id_begins_with_its_time_in_milliseconds(now: float, begin: str) -> None:
    assert new_call_id(now)[:10] == begin


def test_ids_sort_by_time_over_every_place_of_it() -> None:
    ids = [new_call_id(1.7e9 + 2**power / 1000) for power in range(42)]
    assert ids == sorted(ids)


def test_no_two_ids_are_the_same() -> None:
    assert len({new_call_id(5.0) for _ in range(2000)}) == 2000
