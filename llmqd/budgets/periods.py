"""When the period of a budget begins and ends, in its own time zone. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from llmqd.config.budgets import Period

NEVER = float("inf")
_HOUR = 3600
_LATEST = 2**33
"""Unix seconds beyond which no clock is believed."""


class Window(NamedTuple):
    """One period, in Unix seconds: `start` belongs to it, `end` does not."""

    start: float
    end: float


LIFE = Window(0.0, NEVER)


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """A zone by its name."""
    return UTC if name == "UTC" else ZoneInfo(name)


def window(period: Period, zone: str, at: float) -> Window:
    """The period in which the time `at` lies. A day may have 23 or 25 hours, an hour always has 60 minutes."""
    if period == "life":
        return LIFE
    at = min(max(at, 0.0), _LATEST)
    where = zone_of(zone)
    local = datetime.fromtimestamp(at, where)
    if period == "hour":
        offset = (local.utcoffset() or timedelta()).total_seconds()
        start = (at + offset) // _HOUR * _HOUR - offset
        return Window(start, start + _HOUR)
    if period == "day":
        first = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        following = first + timedelta(days=1)
    else:
        first = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)
        following = (first + timedelta(days=32)).replace(day=1)
    return Window(first.timestamp(), following.timestamp())
