"""What a provider lets through: the settings of limits, and the frozen Limits that hold in one lane.

Everywhere 0 means no limit. Requests and tokens are counted per upstream key; the tables `[[upstream.limit]]` count
the calls of some models once more, against limits of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from llmqd.config.kinds import Choice, Duration, Flag, Integer, Listing, Number, Text, Zone
from llmqd.config.net_kinds import Name
from llmqd.config.setting import required, setting
from llmqd.providers.presets import Algorithm, ReserveOutput

Dimension = Literal[
    "requests_per_second",
    "requests_per_minute",
    "requests_per_day",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
    "max_concurrent",
]
"""What can be limited; the names are those of the settings."""

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

POLITE_RATE = 60.0
"""Calls a minute where nobody said how many: a start that every provider's lowest paid tier allows."""

_ALGORITHM = Choice(get_args(Algorithm))
_RESERVE = Choice(get_args(ReserveOutput))
_THERE = "As in [queue]. Unset: what holds around it."


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultLimits:
    """Settings of limits as they stand in [queue]: what holds in every lane that sets none of its own."""

    requests_per_minute: float | None = setting(
        Number(),
        None,
        "Calls let through in a minute. Fractions are allowed: 0.5 is one in two minutes. 0: no limit.\n"
        "Unset: 60, from which what the provider allows is learned; no limit where requests_per_second is set.",
        example=60,
    )
    requests_per_second: float = setting(Number(), 0, "Calls let through in a second. 0: no limit.")
    requests_per_day: float = setting(Number(), 0, "Calls let through in a day of day_zone. 0: no limit.")
    day_zone: str | None = setting(
        Zone(),
        None,
        "Time zone whose midnight begins a new day. Unset: as the provider has it (Gemini: America/Los_Angeles).",
        example="UTC",
    )
    tokens_per_minute: float = setting(Number(), 0, "Tokens in a minute, input and output together. 0: no limit.")
    input_tokens_per_minute: float = setting(Number(), 0, "Input tokens in a minute. 0: no limit.")
    output_tokens_per_minute: float = setting(Number(), 0, "Output tokens in a minute. 0: no limit.")
    max_concurrent: int = setting(Integer(), 0, "Calls running at the same time. 0: no limit.")
    burst: int = setting(
        Integer(least=1),
        1,
        "Calls that may go at once after a pause. 1: every call keeps its distance from the one before.",
    )
    algorithm: str | None = setting(
        _ALGORITHM,
        None,
        "How the provider counts. auto: safe whichever of the others it is. even: each call at its distance.\n"
        "bucket: refilled all the time, holds burst calls or a minute's tokens. fixed: a count that begins anew with\n"
        "each minute. sliding: never more in any 60 seconds. Unset: as is known of the provider (Anthropic: bucket),\n"
        "else auto.",
        example="auto",
    )
    quantum: float = setting(
        Duration(),
        "0s",
        "Where the provider splits its minute (Azure: 1s or 10s), the length of a part: 600 a minute and 1s mean at\n"
        "most 10 in each second. 0: it does not.",
    )
    reserve_output: str | None = setting(
        _RESERVE,
        None,
        "What the provider counts as output. max_tokens: what the request allows. refunded: that at first, the real\n"
        "output in the end. typical: the real output alone. none: no output in tokens_per_minute. Unset: as suits\n"
        "the provider.",
        example="typical",
    )
    count_cached: bool | None = setting(
        Flag(),
        None,
        "Whether input read from the provider's cache counts as input tokens. Unset: as suits the provider.",
        example=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLimits:
    """The same settings in an upstream, a key or a table for some models; None means not set there."""

    requests_per_minute: float | None = setting(Number(), None, _THERE, example=60)
    requests_per_second: float | None = setting(Number(), None, _THERE, example=0)
    requests_per_day: float | None = setting(Number(), None, _THERE, example=0)
    day_zone: str | None = setting(Zone(), None, _THERE, example="UTC")
    tokens_per_minute: float | None = setting(Number(), None, _THERE, example=0)
    input_tokens_per_minute: float | None = setting(Number(), None, _THERE, example=0)
    output_tokens_per_minute: float | None = setting(Number(), None, _THERE, example=0)
    max_concurrent: int | None = setting(Integer(), None, _THERE, example=0)
    burst: int | None = setting(Integer(least=1), None, _THERE, example=1)
    algorithm: str | None = setting(_ALGORITHM, None, _THERE, example="auto")
    quantum: float | None = setting(Duration(), None, _THERE, example="0s")
    reserve_output: str | None = setting(_RESERVE, None, _THERE, example="typical")
    count_cached: bool | None = setting(Flag(), None, _THERE, example=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimit(OwnLimits):
    """Limits of some models of an upstream, which hold beside those of the key; the first table that fits decides."""

    models: tuple[str, ...] = required(
        Listing(Text(), least=1), "Model names as in the request; * and ? stand for any text.", example=["gpt-4o*"]
    )
    name: str | None = setting(
        Name(),
        None,
        "Name in figures and events. Tables of one name share their limits. Unset: the first of its models.",
        example="gpt-4o",
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """What one lane, or one group of models in it, keeps to. 0 means no limit, except for `burst`, at least 1.

    `assumed` says that nobody set requests_per_minute: it is only a start, and what is learned takes its place.
    `quantum` is in seconds. `groups` are the model groups of a lane, in the order in which they are tried.
    """

    requests_per_minute: float = POLITE_RATE
    burst: int = 1
    max_concurrent: int = 0
    requests_per_second: float = 0.0
    requests_per_day: float = 0.0
    day_zone: str = "UTC"
    tokens_per_minute: float = 0.0
    input_tokens_per_minute: float = 0.0
    output_tokens_per_minute: float = 0.0
    algorithm: Algorithm = "auto"
    quantum: float = 0.0
    reserve_output: ReserveOutput = "typical"
    count_cached: bool = True
    assumed: bool = False
    groups: tuple[ModelGroup, ...] = ()

    def limit(self, dimension: Dimension) -> float:
        """The limit in one dimension; 0 means none."""
        return float(getattr(self, dimension))


@dataclass(frozen=True, slots=True)
class ModelGroup:
    """Models that share limits of their own. `models` are patterns with * and ?; `limits` hold no further groups."""

    name: str
    models: tuple[str, ...]
    limits: Limits
