"""The calls that a simulation plays: those that a ledger remembers, or drawn from a pattern."""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec

from llmqd.call import Call, Outcome, Record
from llmqd.config.quantities import parse_duration
from llmqd.controls import parse_priority
from llmqd.usage import Usage

_MODELS = 1000
"""Models whose typical calls are remembered."""
_WEIGHT = 0.1
"""How much the latest call of a model counts in what is typical of it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call, and what would become of it: `usage` tokens in a stay of `seconds` at its upstream.

    Its time is the call's `received_at`, in seconds.
    """

    call: Call
    usage: Usage
    seconds: float

    @property
    def at(self) -> float:
        """When it comes."""
        return self.call.received_at


class Recorded:
    """Turns records of a ledger into arrivals.

    A call that was never sent (refused, abandoned) would have been sent under other limits, so it gets the length and
    the tokens that have been typical of its model so far.
    """

    def __init__(self) -> None:
        self._typical: OrderedDict[tuple[str, str | None], tuple[float, float, float]] = OrderedDict()

    def arrival(self, record: Record) -> Arrival | None:
        """The arrival of one record; None for a call that waits for no turn, such as a list of models."""
        call, outcome = record.call, record.outcome
        if outcome.queued_ms is None:
            return None
        model = call.upstream, call.limited_as
        seconds, usage = _stay(outcome), outcome.usage
        if seconds is not None and usage is not None:
            self._learn(model, seconds, usage)
        known = self._typical.get(model, (0.0, 0.0, 0.0))
        return Arrival(
            call,
            usage if usage is not None else Usage(input=round(known[1]), output=round(known[2]), source="estimated"),
            seconds if seconds is not None else known[0],
        )

    def _learn(self, model: tuple[str, str | None], seconds: float, usage: Usage) -> None:
        new = seconds, float(usage.input), float(usage.output)
        old = self._typical.pop(model, new)
        self._typical[model] = (
            old[0] + _WEIGHT * (new[0] - old[0]),
            old[1] + _WEIGHT * (new[1] - old[1]),
            old[2] + _WEIGHT * (new[2] - old[2]),
        )
        if len(self._typical) > _MODELS:
            self._typical.popitem(last=False)


def _stay(outcome: Outcome) -> float | None:
    """Seconds at the upstream; None for a call that was never there or whose end is not known."""
    if outcome.total_ms is None or outcome.queued_ms is None or outcome.status in ("refused", "abandoned"):
        return None
    return max(outcome.total_ms - outcome.queued_ms, 0.0) / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Calls that come at random at a steady rate (a Poisson process), with sizes over a range of `spread`.

    `rate` is calls a minute, `lasting` seconds. `input` and `output` are mean tokens, `seconds` is the mean stay; all
    three vary together, so that long answers take long. `priorities` are (priority, share). `users` is how many
    programs they come from.
    """

    rate: float
    lasting: float = 3600.0
    upstream: str = ""
    model: str = "synthetic"
    input: float = 500.0
    output: float = 500.0
    seconds: float = 2.0
    spread: float = 20.0
    priorities: tuple[tuple[int, float], ...] = ((5, 1.0),)
    users: int = 1
    seed: int = 1

    def arrivals(self, max_wait: float | None = None) -> Iterator[Arrival]:
        """The calls in their order, beginning at 0. The same pattern always gives the same calls."""
        rng = random.Random(self.seed)
        priorities, shares = zip(*self.priorities, strict=True)
        at, number = 0.0, 0
        while (at := at + rng.expovariate(self.rate / 60)) < self.lasting:
            number += 1
            factor = self._factor(rng)
            given, made = round(self.input * factor), round(self.output * factor)
            call = Call(
                id=f"{self.seed}-{number}",
                received_at=at,
                arrived=at,
                method="POST",
                path="/v1/chat/completions",
                dialect="openai",
                operation="chat",
                upstream=self.upstream,
                model=self.model,
                priority=rng.choices(priorities, shares)[0],
                max_wait=max_wait,
                user=f"user-{rng.randrange(self.users) + 1}",
                request_bytes=given * 4,
            )
            yield Arrival(call, Usage(input=given, output=made, source="exact"), self.seconds * factor)

    def _factor(self, rng: random.Random) -> float:
        """Evenly distributed on a logarithmic scale over `spread`, with a mean of 1."""
        logarithm = math.log(self.spread)
        if not logarithm:
            return 1.0
        return math.exp(rng.random() * logarithm) * logarithm / (self.spread - 1)


_NUMBERS = ("rate", "input", "output", "spread")
_WORDS = ("upstream", "model")
_DURATIONS = {"lasting": "lasting", "for": "lasting", "seconds": "seconds"}
PATTERN_NAMES = ("rate", "tokens", "input", "output", "spread", "for", "seconds", "upstream", "model", "priority")
"""What a pattern's text may name, besides `users` and `seed`."""


def parse_pattern(text: str) -> Pattern:
    """A pattern from text such as `rate=600,tokens=1000,for=1h,priority=high:1/low:9`. Raises ValueError.

    `tokens` stands for input and output in equal parts. Durations may be plain numbers of seconds.
    """
    values: dict[str, object] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise ValueError(f'"{part}" is not name=value')
        values |= _pattern_value(name.strip(), value.strip())
    if "rate" not in values:
        raise ValueError("rate is missing: how many calls come in a minute, for example rate=600")
    return Pattern(**values)  # type: ignore[arg-type]


def _pattern_value(name: str, value: str) -> Mapping[str, object]:
    if name in _WORDS:
        return {name: value}
    if name == "priority":
        return {"priorities": _shares(value)}
    if name in _DURATIONS:
        return {_DURATIONS[name]: _number(name, value, seconds=True)}
    if name in _NUMBERS:
        return {name: _number(name, value, least=1.0 if name == "spread" else 0.0)}
    if name == "tokens":
        half = _number(name, value) / 2
        return {"input": half, "output": half}
    if name in ("users", "seed"):
        return {name: round(_number(name, value, least=1.0))}
    raise ValueError(f'"{name}" is unknown; there are {", ".join((*PATTERN_NAMES, "users", "seed"))}')


def _number(name: str, value: str, *, least: float = 0.0, seconds: bool = False) -> float:
    try:
        number = parse_duration(value) if seconds and not value.replace(".", "", 1).isdigit() else float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= least) or (name == "rate" and number == 0):
        bound = "more than 0" if name == "rate" else f"at least {least:g}"
        raise ValueError(f"{name}={value}: must be a {'duration' if seconds else 'number'}, {bound}")
    return number


def _shares(text: str) -> tuple[tuple[int, float], ...]:
    shares = []
    for part in text.split("/"):
        priority, _, share = part.partition(":")
        shares.append((parse_priority(priority), _number("priority", share or "1")))
    if not sum(share for _, share in shares):
        raise ValueError(f"priority={text}: the shares add up to nothing")
    return tuple(shares)


def faster(arrivals: Iterable[Arrival], factor: float) -> Iterator[Arrival]:
    """The same calls `factor` times as dense: what would happen with so many times the load."""
    first: float | None = None
    for arrival in arrivals:
        first = arrival.at if first is None else first
        at = first + (arrival.at - first) / factor
        yield replace(arrival, call=msgspec.structs.replace(arrival.call, received_at=at))
