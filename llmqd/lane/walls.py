"""Says what a refusal tells about a limit, by what was read when it came and at the refusal before.

Providers enforce the same figure differently (an even rate, a bucket with a minute's burst, a fixed or a sliding
minute). Calls that are refused while others are on their way are one wall. At each wall three things are read, each of
which is the limit itself for one way of counting:

- the rate in force: for an even spacing, or seconds that are counted one by one;
- what the last minute held: for a window of a minute, of which a long Retry-After even names the end;
- how much must have been refilled, had it been a bucket that was drained now, and drained at the wall before.

While the rate is steady they are the same. Else the one is believed that says what it has said at the wall before. At a
first wall a minute is the most that can be hoped for, and a bucket the least: the lane goes on between the two, and a
little more than the minute shows whether that is it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from llmqd.lane.history import MINUTE

BELOW_CEILING = 0.985
"""Share of the most that can be hoped for up to which a rate climbs."""
_SAFE = 0.97
"""Share of a limit, as it was read, that is used at first."""
_PASSED = 0.93
"""Share of a refused rate that has surely passed before the last step of growth."""
_STEADY = 0.87
"""The last minute held at least so much of what the rate allows: it was as good as constant."""
_NEAR = 1.06
"""A try that was refused no farther beyond what had been let through all the time changes nothing."""
_SAME_RATE, _SAME_MINUTE, _SAME_BUCKET, _MOST_SAME_BUCKET = 0.12, 0.025, 0.05, 0.08
"""Two readings that differ by no more than this share agree; a rate is known only to a step of its growth, and what a
bucket has refilled in few calls only to one of them."""
_FULL = 0.01
"""A minute that is full holds the same to the call, but for those that were refused and are not known to be yet."""
_UNLIKE = 0.93
"""A bucket that says less than so much of the other readings says something else."""
_ABOVE_BUCKET = 1.02
"""The most that can be hoped for of a bucket that was read to about so much."""
_BEYOND = 1.03
"""How far beyond a minute that may have been full is tried before that is given up."""
_FEW = 4
"""A minute that held no more than so many times the refused call is no reading."""
_REST, _LONG_REST = 5.0, 35.0
"""Seconds without growth after a cut, and after one that had not been deep enough."""
_AFTER_STUMBLE, _SHORT_REST = 0.99, 2.0
"""Share of the rate with which it goes on after a stumble, and for how many seconds."""


class Wall(NamedTuple):
    """What was read when a call of `amount` was refused that went at `sent_at`; all else in amounts a minute."""

    sent_at: float
    amount: float
    wait: float
    """Seconds that the provider asked for; 0 where it asked for nothing."""
    rate: float
    """The rate in force; infinite where nothing was limited so far."""
    proven: float
    """The highest rate since the wall before that was used in full for a while."""
    minute: float
    """What the last minute held."""
    bucket: float
    """The least limit that would have let all of it through as a bucket of that burst."""
    through: float
    """What went through since the wall before; infinite where that is too short or too long ago."""
    window: float | None
    """What the window held whose end is named, or guessed; None where none was met."""
    held: float
    """What had been let through all the time until more was tried; 0 where no more was tried."""
    soon: int
    """How many walls, this one included, came at once when calls were let through again after the one before."""
    sure: bool
    """What was found at the wall before could be but little too much."""
    quiet: bool
    """For some of the last minute calls did not have to wait: what it held is not all that might have gone."""
    young: bool
    """No minute of work was over yet: what the last one held is no limit, or a long wait would have been asked."""
    guessed: bool = False
    """Nobody said that it was this limit, but it is thought to be."""


class Finding(NamedTuple):
    """What a wall says: the rate to go on with, the most that can be hoped for, both amounts a minute, the most in any
    minute for now, and the seconds to rest before more is tried."""

    rate: float
    ceiling: float
    cap: float = float("inf")
    rest: float = _REST
    sure: bool = False
    """The limit can be but little less."""
    trial: bool = False
    """The cap is a little more than the minute held: if that is let through, no minute is the limit."""


def judge(wall: Wall, earlier: Wall | None) -> Finding:
    """Chooses among the readings of a wall; `earlier` is the last one that came by itself."""
    if wall.rate == float("inf"):
        return _first_of_all(wall)
    if wall.window is not None and not wall.quiet:
        return full_minute(wall.window)
    if wall.held * BELOW_CEILING < wall.rate <= wall.held * _NEAR:
        return Finding(wall.held * BELOW_CEILING, wall.held, sure=True)
    if wall.quiet:
        return Finding(_PASSED * wall.rate if not wall.soon else wall.rate / 2, wall.rate)
    found = _by_bucket(wall, earlier) if earlier is not None else None
    if found is not None:
        return found
    if wall.soon:
        return full_minute(wall.minute) if _is_full_again(wall, earlier) else _deeper(wall, earlier)
    least = min(wall.rate, wall.minute)
    same = earlier is not None and not wall.young and _apart(wall.minute, earlier.minute) <= _FULL
    if same and _apart(wall.minute, wall.rate) > _FULL:
        return full_minute(wall.minute)
    if earlier is not None and earlier.window is None and _apart(wall.rate, earlier.rate) <= _SAME_RATE:
        rate = min(wall.rate, earlier.rate)
        return Finding(max(_PASSED * rate, _SAFE * least), BELOW_CEILING * rate, sure=True)
    if wall.minute >= _STEADY * wall.rate:
        return Finding(_SAFE * least, least)
    if earlier is not None and _apart(wall.minute, earlier.minute) <= _SAME_MINUTE:
        return full_minute(min(wall.minute, earlier.minute))
    if wall.young:
        return Finding(_PASSED * wall.rate if wall.proven >= _STEADY * wall.rate else wall.rate / 2, wall.rate)
    between = math.sqrt(wall.minute * min(wall.bucket, wall.minute))
    return Finding(_SAFE * between, wall.rate, _BEYOND * wall.minute, trial=True)


def full_minute(limit: float) -> Finding:
    """A window of a minute has held exactly this."""
    return Finding(_SAFE * limit, limit, _SAFE * limit)


def stumble(wall: Wall) -> Finding:
    """The limit is known and right: one call came too close to another."""
    return Finding(_AFTER_STUMBLE * wall.rate, float("inf"), rest=_SHORT_REST)


def _first_of_all(wall: Wall) -> Finding:
    """Nothing was known so far. The last minute is the first guess, unless it held too little to be one: then others
    have used this key up, and the pause that follows is all that can be done. Where it is but thought that this limit
    was met, the window that a long wait points to is the guess: the next refusal may be blamed on a wrong one."""
    if wall.guessed and wall.window is not None and wall.window > _FEW * wall.amount:
        return full_minute(wall.window)
    if wall.minute > _FEW * wall.amount:
        return Finding(_SAFE * wall.minute, 1.1 * wall.minute)
    return Finding(float("inf"), float("inf"))


def _by_bucket(wall: Wall, earlier: Wall) -> Finding | None:
    """A bucket was drained at both walls: what went through in between was refilled, whatever its size."""
    if earlier.window is not None or wall.through == float("inf"):
        return None
    amount = wall.through * (wall.sent_at - earlier.sent_at) / MINUTE
    exact = min(max(_SAME_BUCKET, wall.amount / max(amount, wall.amount)), _MOST_SAME_BUCKET)
    if wall.through < _UNLIKE * wall.rate and _apart(wall.through, wall.bucket) < exact:
        limit = max(wall.through, wall.bucket)
    elif not earlier.held and _is_refilled_again(wall, earlier):
        limit = wall.through
    else:
        return None
    return Finding(_SAFE * limit, _ABOVE_BUCKET * limit)


def _is_refilled_again(wall: Wall, earlier: Wall) -> bool:
    """Whether as much went through since the wall before as between that and the one before it."""
    least = _UNLIKE * min(wall.rate, wall.minute)
    return wall.through < least and _apart(wall.through, earlier.through) < _SAME_MINUTE


def _is_full_again(wall: Wall, earlier: Wall | None) -> bool:
    """Whether a wall that came soon has met the same full minute as the one before it: it was no rate, no bucket."""
    return (
        wall.soon == 1
        and not wall.sure
        and earlier is not None
        and _grew(earlier)
        and not wall.young
        and earlier.minute * (1 - _FULL) <= wall.minute <= earlier.minute * (1 + _FULL) + wall.amount
    )


def _deeper(wall: Wall, earlier: Wall | None) -> Finding:
    """Refused at once when it came back: a burst had hidden the limit, or the provider has lowered it.

    What had been used in full before the last step of growth is not given up at the first such wall.
    """
    if wall.soon == 1 and wall.sure:
        return Finding(_PASSED * wall.rate, wall.rate)
    half = wall.rate / 2
    if wall.young:
        return Finding(half, wall.rate, rest=_LONG_REST)
    if wall.soon > 1:
        half = min(half, wall.bucket)
    elif earlier is not None and _grew(earlier) and _apart(wall.bucket, earlier.bucket) <= _SAME_MINUTE:
        half = max(half, _SAFE * min(wall.bucket, wall.rate))
    if wall.soon == 1 and wall.minute <= _STEADY * wall.rate:
        half = max(half, wall.minute)
    if wall.through < wall.rate:
        half = max(half, _SAFE * wall.through)
    if wall.soon == 1 and earlier is not None and earlier.proven < wall.rate:
        half = max(half, _SAFE * earlier.proven)
    return Finding(half, wall.rate, _SAFE * wall.minute, _LONG_REST)


def _grew(wall: Wall) -> bool:
    """Whether the rate had grown until then, so that the readings of that wall differ."""
    return wall.minute < _STEADY * wall.rate


def _apart(one: float, other: float) -> float:
    """The share by which two readings differ; 1 where one is missing."""
    most = max(one, other)
    return abs(one - other) / most if 0 < most < float("inf") else 1.0
