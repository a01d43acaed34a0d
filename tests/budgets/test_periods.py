"""When periods begin and end."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.budgets.charge import SLOT
from llmqd.budgets.periods import NEVER, window
from llmqd.config.budgets import Period

ZONES = ("UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
         "America/Santiago", "Africa/Cairo", "Asia/Beirut")  # fmt: skip
"""Zones of half and quarter hours, of clocks that change by half an hour, and whose clocks change at midnight."""

times = st.floats(min_value=946_684_800, max_value=2_200_000_000)


def at(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("period", "zone", "moment", "start", "end"),
    [
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-29T00:00", "2026-03-30T00:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-25T00:00", "2026-10-26T00:00"),
        ("day", "Asia/Kolkata", "2026-11-28T00:00", "2026-11-28T00:00", "2026-11-29T00:00"),
        ("hour", "Asia/Kathmandu", "2026-11-28T10:59", "2026-11-28T10:00", "2026-11-28T11:00"),
        ("month", "America/Los_Angeles", "2026-02-28T23:59", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("month", "UTC", "2026-12-01T00:00", "2026-12-01T00:00", "2027-01-01T00:00"),
    ],
)
def test_periods_follow_the_clocks_of_their_zone(period: Period, zone: str, moment: str, start: str, end: str) -> None:
    assert window(period, zone, at(moment, zone)) == (at(start, zone), at(end, zone))


def test_a_day_on_which_clocks_change_is_longer_or_shorter() -> None:
    spring = window("day", "Europe/Berlin", at("2026-03-29T12:00", "Europe/Berlin"))
    autumn = window("day", "Europe/Berlin", at("2026-10-25T12:00", "Europe/Berlin"))
    assert (spring.end - spring.start, autumn.end - autumn.start) == (23 * 3600, 25 * 3600)


def test_a_life_never_ends() -> None:
    assert window("life", "UTC", 1e9) == (0, NEVER)


@given(st.sampled_from(["hour", "day", "month"]), st.sampled_from(ZONES), times)
def test_periods_tile_the_time_and_begin_at_quarters_of_an_hour(period: Period, zone: str, moment: float) -> None:
    found = window(period, zone, moment)
    assert found.start <= moment < found.end
    assert window(period, zone, found.start) == found
    assert window(period, zone, found.end).start == found.end
    assert window(period, zone, found.end - 0.001) == found
    assert found.start % SLOT == 0
    assert found.end % SLOT == 0
