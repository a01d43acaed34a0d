"""Chooses the meter that keeps a limit, by what is limited and by how the provider counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from llmqd.config.limits import Dimension, Limits
from llmqd.lane.meters import HEADROOM, Bucket, Combined, Concurrency, Landed, Meter, Paced
from llmqd.lane.spacing import Even, Patience
from llmqd.lane.windows import Days, FixedPeriods, FixedWindow, Periods, SlidingWindow

_PACE = 10.0
"""Seconds' worth of tokens that may go at once where tokens are paced, so that a limit of a minute is not used up at
once: a call that comes later, but is more urgent, finds something left."""

_HELD_BACK = 48.0
"""Seconds' worth of tokens in our picture of a bucket of 60 where the provider counts output as it comes: what comes
later than we reckon must find something left. This costs nothing of the rate."""
_GUESSED = 58.0
"""The same where calls are counted when they begin: how long their prompts are is known only when they are answered,
and those under way together may be longer than they look."""

_DAY = 86_400.0
_NAMED_GUARD = 1.5
"""Seconds around the end of a day that a provider names, in whole seconds, in which a call may count on either side."""


class Reset(NamedTuple):
    """How a limit of a day comes back, as its provider says: as a whole at `at` and every day after it (monotonic
    seconds), or, None, bit by bit."""

    at: float | None


def meter_for(
    dimension: Dimension,
    limit: float,
    limits: Limits,
    wall_offset: float,
    patience: Patience = None,
    reset: Reset | None = None,
) -> Meter:
    """A meter for `limit`, which is above 0; `limits` says by which algorithm.

    `wall_offset` is the wall clock (seconds since 1970) minus the monotonic one. `patience` as in Even. `reset` is for
    a limit of a day; None where its provider names none: it is back at midnight.
    """
    if dimension == "max_concurrent":
        return Concurrency(limit)
    if dimension == "requests_per_day":
        return _for_a_day(limit, limits, wall_offset, reset)
    if dimension == "requests_per_second":
        way = limits.algorithm if limits.algorithm != "bucket" else "auto"  # what burst allows fits into no second
        return _for_calls(limit, 1.0, 0.0, replace(limits, algorithm=way), wall_offset, patience)
    if dimension == "requests_per_minute":
        return _for_calls(limit, 60.0, limits.quantum, limits, wall_offset, patience)
    late = dimension != "input_tokens_per_minute" and limits.reserve_output == "typical"
    return _for_tokens(limit, limits, wall_offset, counted_late=late)


def _for_a_day(limit: float, limits: Limits, wall_offset: float, reset: Reset | None) -> Meter:
    if reset is None:
        return FixedWindow(limit, Days(_zone(limits.day_zone), wall_offset))
    if reset.at is None:
        return Bucket(limit, _DAY)
    return FixedWindow(limit, Periods(_DAY, -reset.at), _NAMED_GUARD)


def _for_calls(
    limit: float, window: float, part: float, limits: Limits, wall_offset: float, patience: Patience
) -> Meter:
    if limits.algorithm == "fixed":
        return FixedPeriods(limit, window, wall_offset, part)
    if limits.algorithm == "sliding":
        return SlidingWindow(limit, window, part)
    if limits.algorithm == "even" or limits.burst == 1:
        return Even(limit, window, part, patience=patience)
    bucket = Bucket(limit, window, burst=float(limits.burst))
    in_parts = [SlidingWindow(limit, window, part)] if part else []
    if limits.algorithm == "bucket":
        return Combined([bucket, *in_parts]) if in_parts else bucket
    return Combined([SlidingWindow(limit, window), bucket, *in_parts])


def _for_tokens(limit: float, limits: Limits, wall_offset: float, *, counted_late: bool) -> Meter:
    """What no sliding window refuses, no fixed one and no bucket of a minute's tokens refuses either.

    `counted_late` says that the provider counts output when it is there, not when the call begins.
    """
    if limits.algorithm == "bucket":
        return Bucket(limit, seconds=_HELD_BACK if counted_late else _GUESSED)

    def window() -> Meter:
        if limits.algorithm == "fixed":
            return FixedPeriods(limit, 60.0, wall_offset, cushion=HEADROOM)
        return SlidingWindow(limit, cushion=HEADROOM)

    parts = [window()]
    if counted_late:
        parts.append(Landed(window()))
    if limits.algorithm in ("auto", "even"):
        return Paced(parts, Bucket(limit, seconds=0.0 if limits.algorithm == "even" else _PACE, overdraft=True))
    return Combined(parts) if len(parts) > 1 else parts[0]


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)
