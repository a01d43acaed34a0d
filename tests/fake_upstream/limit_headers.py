"""The rate limit headers of providers, in each one's own format and arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Style = Literal["openai", "azure", "groq", "anthropic"]
"""`openai` and `groq`: Go durations until everything is refilled (developers.openai.com rate limits guide,
console.groq.com/docs/rate-limits; at Groq `requests` are those of a day); `azure`: whole seconds
(learn.microsoft.com Azure OpenAI quota); `anthropic`: RFC 3339 times (platform.claude.com rate limits)."""

_ROUNDED_TO = 1000
"""Anthropic rounds remaining tokens to the nearest thousand."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One limit as headers show it. `name` is `requests`, `tokens`, `input-tokens` or `output-tokens`;
    `full_in` is in seconds."""

    name: str
    limit: float
    remaining: float
    full_in: float


def limit_headers(style: Style, shown: Iterable[Shown], wall: float) -> list[tuple[str, str]]:
    """The headers of one answer. `wall` is Unix time."""
    headers = []
    for one in shown:
        remaining = math.floor(one.remaining + 1e-6)
        if style == "anthropic":
            if one.name != "requests":
                remaining = round(one.remaining / _ROUNDED_TO) * _ROUNDED_TO
            reset = datetime.fromtimestamp(math.ceil(wall + one.full_in), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            names = [f"anthropic-ratelimit-{one.name}-{field}" for field in ("limit", "remaining", "reset")]
        else:
            reset = str(math.ceil(one.full_in)) if style == "azure" else go_duration(one.full_in)
            names = [f"x-ratelimit-{field}-{one.name}" for field in ("limit", "remaining", "reset")]
        headers += list(zip(names, (f"{one.limit:.0f}", str(remaining), reset), strict=True))
    return headers


def go_duration(seconds: float) -> str:
    """As Go's time.Duration prints itself: `20ms`, `7.66s`, `6m0s`, `11m32.334s`."""
    millis = round(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, rest = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
