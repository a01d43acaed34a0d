"""Routes: which upstreams serve which models, in which order, and under which name each of them has the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmqd.config.faults import nearest
from llmqd.config.kinds import Kind, Listing, Text
from llmqd.config.net_kinds import Name
from llmqd.config.setting import required


@dataclass(frozen=True, slots=True)
class Step:
    """An upstream of a route, and the model that it is asked for in place of the caller's; None: as asked."""

    upstream: str
    model: str | None = None

    def __str__(self) -> str:
        return self.upstream if self.model is None else f"{self.upstream} as {self.model}"


@dataclass(frozen=True, slots=True)
class RouteStep:
    """The name of an upstream, or a table of its `name` and the `model` to ask it for."""

    noun: str = "upstream"

    def read(self, value: object) -> Step:
        if not isinstance(value, dict):
            return Step(Name().read(value))
        for key in value:
            if key not in _STEP:
                raise ValueError(f"{key}: unknown; such a table has name and model{nearest(key, _STEP)}")
        for key in _STEP:
            if key not in value:
                raise ValueError(f'{key}: missing; write for example {{ name = "azure", model = "my-gpt-4o" }}')
        return Step(_keyed("name", Name(), value), _keyed("model", Text(), value))

    def show(self, value: Step) -> object:
        return value.upstream if value.model is None else {"name": value.upstream, "model": value.model}


_STEP = ("name", "model")


def _keyed(key: str, kind: Kind, table: Mapping[str, object]) -> Any:
    try:
        return kind.read(table[key])
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which upstreams serve which models on /v1/...; the first route that matches decides."""

    model: str = required(Text(), "Model name as in the request; * and ? stand for any text.", example="gpt-*")
    upstreams: tuple[Step, ...] = required(
        Listing(RouteStep(), least=1),
        "Names of the upstreams, the preferred one first; a call goes on to the next where one cannot serve it.\n"
        'Where the model has another name there: ["openai", { name = "azure", model = "my-gpt-4o" }].',
        example=["openai"],
    )
