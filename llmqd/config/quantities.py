"""Durations and sizes as people write them ("10s", "64MiB"), and back again."""

from __future__ import annotations

import re
from decimal import Decimal

_DURATION_UNITS = {"d": Decimal(86400), "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}
_SIZE_UNITS = {
    "GiB": 1024**3,
    "MiB": 1024**2,
    "KiB": 1024,
    "GB": 1000**3,
    "MB": 1000**2,
    "KB": 1000,
    "kB": 1000,
    "B": 1,
}
_DURATION_PART = re.compile(r"(\d{1,20}(?:\.\d{1,9})?)(ms|[dhms])", re.ASCII)
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+", re.ASCII)
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?) ?([A-Za-z]{1,3})", re.ASCII)

LONGEST = 100 * 365 * 86400.0
"""The longest duration accepted, in seconds: a hundred years."""
LARGEST = 2**60
"""The largest size accepted, in bytes: one exbibyte."""


def parse_duration(text: str) -> float:
    """Seconds of "250ms", "10s", "5m", "1h", "90d" or several such parts ("1h30m"). Raises ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError("not a duration")
    seconds = float(sum(Decimal(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(text)))
    if seconds > LONGEST:
        raise ValueError("longer than a hundred years")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest writing of a duration with one unit; what parse_duration reads back to the same number."""
    exact = Decimal(repr(seconds))
    for unit, size in _DURATION_UNITS.items():
        if exact and exact % size == 0:
            return f"{exact / size:.0f}{unit}"
    return f"{exact:f}s" if exact else "0s"


def parse_size(text: str) -> int:
    """Bytes of "64KiB", "16MiB", "1GiB" (powers of 1024), "64KB", "1MB", "1GB" (of 1000), "512B". Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if not match or match[2] not in _SIZE_UNITS:
        raise ValueError("not a size")
    amount = Decimal(match[1]) * _SIZE_UNITS[match[2]]
    if amount != int(amount):
        raise ValueError("not a whole number of bytes")
    if amount > LARGEST:
        raise ValueError("larger than an exbibyte")
    return int(amount)


def format_size(size: int) -> str:
    """The shortest exact writing of a size; what parse_size reads back to the same number."""
    for unit, factor in _SIZE_UNITS.items():
        if size and size % factor == 0 and (unit != "B"):
            return f"{size // factor}{unit}"
    return f"{size}B"
