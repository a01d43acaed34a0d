"""How numbers, times and money look in answers."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from llmqd.usage import PICO

_encoder = msgspec.json.Encoder(decimal_format="number")


def encoded(answer: Any) -> bytes:
    """An answer as JSON, with a line break for people at a terminal. Money has all its digits."""
    return _encoder.encode(answer) + b"\n"


def rfc3339(at: float) -> str:
    """Unix seconds as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def dollars(amount_pico: int) -> Decimal:
    """Picodollars in US dollars, exactly."""
    return Decimal(amount_pico) / PICO


def known(amount_pico: int, unknown: int) -> Decimal | None:
    """A sum of costs in US dollars; None where nothing is known of it and `unknown` calls have no price."""
    return None if unknown and not amount_pico else dollars(amount_pico)


def seconds(ms: float | None) -> float | None:
    """Milliseconds in seconds."""
    return None if ms is None else round(ms / 1000, 6)


def mean(ms: float, count: int) -> float | None:
    """The mean in seconds of a sum of milliseconds; None of nothing."""
    return round(ms / count / 1000, 6) if count else None


def percent(part: float, whole: float) -> float:
    """The share in percent, to the hundredth; 0 of nothing."""
    return round(100 * part / whole, 2) if whole else 0.0
