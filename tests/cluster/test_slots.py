"""Daemons that cannot ask each other never use the same moment, nor two that are too close."""

from __future__ import annotations

from itertools import pairwise

import pytest

from llmqd.cluster.slots import LATE, SLOWER, Slots, interval
from llmqd.lane.gate import Figure


def test_each_daemon_has_slots_that_no_other_one_has() -> None:
    every = [Slots([index], 3) for index in range(3)]
    used = sorted(slots.next(100.0 + 0.1 * turn, 0.25) for turn in range(50) for slots in every)
    assert len(set(used)) == len(used)
    assert min(later - earlier for earlier, later in pairwise(used)) == pytest.approx(0.25)


def test_no_slot_is_used_twice_or_before_its_time() -> None:
    slots = Slots([0, 2], 4)
    assert [slots.next(10.1, 1.0) for _ in range(4)] == [12.0, 14.0, 16.0, 18.0]
    assert slots.next(100.5, 1.0) == 102.0


def test_a_slot_is_as_long_as_the_whole_limit_asks_and_somewhat_longer() -> None:
    figure = Figure("requests_per_minute", "", 150.0, 600.0, None, 0.0, "auto")
    other = Figure("requests_per_minute", "small", 15.0, 60.0, None, 0.0, "auto")
    assert interval([figure, other], ("",), 0.25) == pytest.approx(0.1 * SLOWER)
    assert interval([figure, other], ("", "small"), 0.25) == pytest.approx(1.0 * SLOWER)
    assert SLOWER * (1 - LATE) >= 1.0


def test_where_calls_go_in_lumps_there_are_none() -> None:
    assert interval([Figure("requests_per_minute", "", 6000.0, 6000.0, None, 0.0, "auto")], ("",), 1.0) == 0.0
    assert interval([Figure("tokens_per_minute", "", 6000.0, 6000.0, None, 0.0, "auto")], ("",), 1.0) == 0.0
