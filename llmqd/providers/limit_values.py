"""What a limit is as an answer states it, and the numbers, spans and moments of time in which headers say so.

Nothing here raises: a value that cannot be understood is as good as missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Literal

Dimension = Literal["requests", "tokens", "input_tokens", "output_tokens", "concurrency", "plan"]
"""What is limited. `plan` is the share of a subscription that may be used: limit 1, remaining 0 to 1."""

SECOND, MINUTE, HOUR, DAY, MONTH = 1.0, 60.0, 3600.0, 86_400.0, 30 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One limit as an answer's headers state it.

    `limit` per `window` seconds; `remaining` of it when the answer was sent, None when not said; `resets_in` seconds
    until it is whole again. `continuous`: it refills all the time (True) or at once when the window ends (False).
    `header` is where the limit stood.
    """

    dimension: Dimension
    window: float
    limit: float
    remaining: float | None = None
    resets_in: float | None = None
    continuous: bool = True
    header: str = ""


LONGEST = 366 * DAY
"""Seconds beyond which a time makes no sense."""
_NUMBER = re.compile(r"\d{1,18}(?:\.\d{1,18})?", re.ASCII)
_DURATION = re.compile(
    r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m(?!s))?(?:(\d{1,9}(?:\.\d{1,12})?)s)?(?:(\d{1,9}(?:\.\d{1,12})?)ms)?",
    re.ASCII,
)
_UNITS = (DAY, HOUR, MINUTE, SECOND, 0.001)
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e12

_LEAST_REFILL = 10.0
"""Seconds of a window from which a time in whole seconds can tell whether it refills."""
NO_LIMIT = 2.0**31 - 1
"""From here on a number stands for "unlimited"."""


def number(text: str | None) -> float | None:
    """A plain number that is not negative; None for anything else."""
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    return float(text)


def duration(text: str | None) -> float | None:
    """Seconds of a Go duration (`6m0s`, `20ms`, `2s81ms`) or of a plain number; None for anything else."""
    if text is None:
        return None
    if (plain := number(text)) is not None:
        return plain
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part)


def moment_of(text: str | None) -> float | None:
    """Unix seconds of an RFC 3339 time; None for anything else."""
    if text is None or "-" not in text:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def resets_in(text: str | None, here: float) -> float | None:
    """Seconds until the moment that a reset header names, in any of the formats: duration, RFC 3339, epoch."""
    seconds = duration(text)
    if seconds is None:
        moment = moment_of(text)
        seconds = None if moment is None else moment - here
    elif seconds >= _EPOCH_MILLISECONDS:
        seconds = seconds / 1000 - here
    elif seconds >= _EPOCH_SECONDS:
        seconds -= here
    if seconds is None or seconds > LONGEST:
        return None
    return max(seconds, 0.0)


def server_time(headers: Mapping[str, str], wall: float) -> float:
    """The answer's own `Date` in Unix seconds, `wall` when it has none. Names in `headers` are in lower case."""
    value = headers.get("date")
    moment = None if value is None else http_date(value)
    return wall if moment is None else moment


@lru_cache(maxsize=64)  # all answers of a second have the same
def http_date(text: str) -> float | None:
    """Unix seconds of a date as in RFC 9110; None for anything else."""
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def limit_of(headers: Mapping[str, str], name: str) -> float | None:
    """The limit in a header; None where it is missing, 0, or a number that stands for none."""
    value = number(headers.get(name))
    return value if value and value < NO_LIMIT else None


def shortest(reset: float) -> float:
    """The shortest usual window that can have so many seconds left."""
    return next((window for window in (MINUTE, HOUR, DAY) if reset <= 1.05 * window), MONTH)


def refills(limit: float, remaining: float | None, window: float, reset: float | None) -> bool:
    """Whether the reset is the time in which what was used comes back: a bucket says so, a window at most by chance.

    Times may be in whole seconds, amounts in whole ones; of shorter windows these tell nothing.
    """
    if remaining is None or reset is None or window < _LEAST_REFILL:
        return False
    return abs(reset - (limit - remaining) / limit * window) <= 1 + window / limit
