"""What a call takes from each limit: as reserved before it is sent, at the very least, and as it turned out."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from llmqd.config.limits import Dimension, Limits
from llmqd.usage import Usage


class Ask(msgspec.Struct, frozen=True):
    """What a call that waits is going to need, in tokens.

    `group` is the model group it counts in, "" where its model is in none. `input_tokens` and `output_tokens` are to be
    reserved, `max_tokens` is what the request allows (all choices together; None: it does not say), `least_input` what
    the input has for certain, `expected_input` and `expected_output` are the guesses without any margin, by which
    guessing is judged and waits are told.
    """

    model: str | None = None
    group: str = ""
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    max_tokens: float | None = None
    least_input: float = 0.0
    expected_input: float = 0.0
    expected_output: float = 0.0


class Tokens(NamedTuple):
    """What a call takes of limits on tokens: on both kinds together, on input and on output."""

    both: float = 0.0
    input: float = 0.0
    output: float = 0.0


NO_TOKENS = Tokens()


def reserved(ask: Ask, dimension: Dimension, limits: Limits) -> float:
    """What is set aside for a call before it is sent."""
    return _amount(dimension, limits, ask.input_tokens, _reserved_output(ask, limits))


def reserved_tokens(ask: Ask, limits: Limits) -> Tokens:
    """What is set aside for a call of every limit on tokens that there may be."""
    output = _reserved_output(ask, limits)
    together = 0.0 if limits.reserve_output == "none" else output
    return Tokens(ask.input_tokens + together, ask.input_tokens, output)


def least(ask: Ask, dimension: Dimension, limits: Limits) -> float:
    """What a call needs for certain: where even this is more than a limit ever holds, it can never be sent."""
    # How much of the input comes from the provider's cache shows only in the answer.
    known_input = ask.least_input if limits.count_cached else 0.0
    return _amount(dimension, limits, known_input, (ask.max_tokens or 0.0) if _reserves_all(ask, limits) else 0.0)


def counted(ask: Ask, usage: Usage, dimension: Dimension, limits: Limits) -> float:
    """What the provider has counted for a call in the end."""
    return _amount(dimension, limits, *_counted(ask, usage, limits))


def counted_tokens(ask: Ask, usage: Usage, limits: Limits) -> Tokens:
    """What the provider has counted for a call in the end, of every limit on tokens that there may be."""
    consumed, output = _counted(ask, usage, limits)
    return Tokens(consumed if limits.reserve_output == "none" else consumed + output, consumed, output)


def _counted(ask: Ask, usage: Usage, limits: Limits) -> tuple[float, float]:
    consumed = usage.input if limits.count_cached else usage.input - usage.cached
    output = float(usage.output)
    if limits.reserve_output == "max_tokens" and ask.max_tokens is not None:
        output = max(output, ask.max_tokens)
    return max(consumed, 0), output


def _reserved_output(ask: Ask, limits: Limits) -> float:
    if ask.max_tokens is None:
        return ask.output_tokens
    return ask.max_tokens if _reserves_all(ask, limits) else min(ask.output_tokens, ask.max_tokens)


def _reserves_all(ask: Ask, limits: Limits) -> bool:
    return ask.max_tokens is not None and limits.reserve_output in ("max_tokens", "refunded")


def _amount(dimension: Dimension, limits: Limits, input_tokens: float, output_tokens: float) -> float:
    if dimension == "tokens_per_minute":
        return input_tokens if limits.reserve_output == "none" else input_tokens + output_tokens
    if dimension == "input_tokens_per_minute":
        return input_tokens
    if dimension == "output_tokens_per_minute":
        return output_tokens
    return 1.0
