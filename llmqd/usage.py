"""What one call consumed: tokens by kind, normalised over all providers, and what they cost."""

from __future__ import annotations

from typing import Literal

import msgspec

Source = Literal["exact", "estimated", "unknown"]


class Usage(msgspec.Struct, gc=False):
    """Tokens of one call.

    `input` and `output` are totals: `cached`, both cache writes and `input_audio` are parts of `input`;
    `reasoning` and `output_audio` are parts of `output`. Providers that report cached or reasoning tokens beside
    their totals (Anthropic, Gemini) are converted by their dialect.

    `source` says how far the figures can be trusted: `exact` as the provider reported them at the end of the answer,
    `estimated` from the bytes that went by (a cut stream, an answer without usage), `unknown` when neither can be.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    reasoning: int = 0
    output_audio: int = 0
    web_searches: int = 0
    audio_seconds: float = 0.0
    """Length of transcribed audio where the provider bills by time (whisper-1)."""
    service_tier: str | None = None
    cost_reported_pico: int | None = None
    """The provider's own price of the call (OpenRouter's `usage.cost`), in 1e-12 USD."""
    source: Source = "unknown"

    @property
    def total(self) -> int:
        """All tokens, in and out."""
        return self.input + self.output


class LaneUsage(msgspec.Struct, frozen=True, gc=False):
    """What calls to one model, sent by one lane within a stretch of time, take of the provider's limits.

    `last` is when the last of them was sent, in Unix seconds. Of calls that were cut off by the end of the daemon the
    tokens are not known, and `input` holds only a guess. `model` is "" where the calls named none. A share of
    what many have sent has fractions.
    """

    lane: str
    model: str
    last: float
    calls: float
    input: float
    output: float
    cached: float


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One call's size, as in Call, and what it consumed: from these, estimates of tokens are made."""

    upstream: str
    model: str
    text_bytes: int
    media: int
    usage: Usage


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What one call cost, in picodollars (1e-12 USD): whole numbers, so that sums are exact.

    `input` is the price of the input that was neither read from nor written to the cache. The parts add up to `total`,
    except where the provider itself reported the total. Parts that nobody knows are None.
    """

    total: int
    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None


PICO = 10**12
"""Picodollars in one US dollar."""


def dollars(pico: int) -> str:
    """Picodollars as dollars, with all digits that count and no more: `0.00135`, `12`."""
    whole, rest = divmod(abs(pico), PICO)
    text = f"{whole}.{rest:012}".rstrip("0").rstrip(".")
    return f"-{text}" if pico < 0 else text
