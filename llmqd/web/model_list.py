"""The list of models where an upstream has none: what the configuration and the list of prices know of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import orjson

from llmqd.prices import listed_models

if TYPE_CHECKING:
    from llmqd.config.model import Config, Upstream
    from llmqd.in_force import InForce
    from llmqd.web.passage import Passage

_PATHS = frozenset({"/v1/models", "/v1/models/"})
_LACKING = frozenset({404, 405, 501})
"""How an upstream answers that has no list."""
_PATTERN = frozenset("*?[")


class ModelList:
    """Answers `GET /v1/models` in place of an upstream that cannot."""

    def __init__(self, in_force: InForce) -> None:
        self._in_force = in_force

    def instead(self, passage: Passage, status: int) -> bytes | None:
        """The list, as JSON, for a call that its upstream has answered with `status`; None where that answer passes.

        It has the models of exact routes and those of the price list, of all upstreams that the caller may use, or of
        the one that the URL names.
        """
        if passage.request.method != "GET" or passage.target.path not in _PATHS or status not in _LACKING:
            return None
        named = None if passage.target.upstream is None else passage.upstream.name
        key = passage.caller.key
        found = {
            model: owner
            for model, owner in known_models(self._in_force.config, named)
            if key is None or (key.may_use_model(model) and key.may_use_upstream(owner))
        }
        if not found:
            return None
        anthropic = "anthropic-version" in passage.request.headers
        return orjson.dumps(_anthropic(found) if anthropic else _openai(found))


def known_models(config: Config, named: str | None) -> Iterator[tuple[str, str]]:
    """Every model with the name of an upstream that serves it."""
    upstreams: list[Upstream] = [one for one in config.upstreams if named in (None, one.name)]
    names = {one.name.lower(): one.name for one in upstreams}
    for upstream in upstreams:
        if upstream.price_provider is not None:
            for model in listed_models(upstream.price_provider):
                yield model, upstream.name
    for route in config.routes:
        owner = next((names[step.upstream.lower()] for step in route.upstreams if step.upstream.lower() in names), None)
        if owner is not None and _PATTERN.isdisjoint(route.model):
            yield route.model, owner


def _openai(found: dict[str, str]) -> dict[str, object]:
    models = [{"id": model, "object": "model", "created": 0, "owned_by": owner} for model, owner in found.items()]
    return {"object": "list", "data": models}


def _anthropic(found: dict[str, str]) -> dict[str, object]:
    models = [
        {"type": "model", "id": model, "display_name": model, "created_at": "1970-01-01T00:00:00Z"} for model in found
    ]
    names = list(found)
    return {"data": models, "has_more": False, "first_id": names[0], "last_id": names[-1]}
