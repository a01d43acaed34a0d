"""The simulated provider's list of models, in the shape that the asking SDK expects."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from llmqd.sim.reply import dialect_of

MODELS = ("sim-small", "sim-large")
"""The models that the lists name; any other name is answered as well."""


async def models(request: web.Request) -> web.StreamResponse:
    """`GET /v1/models` and `GET /v1beta/models`"""
    spoken = dialect_of(request)
    if spoken == "gemini":
        return web.json_response({"models": [_gemini(name) for name in MODELS]})
    if spoken == "anthropic":
        listed = [_anthropic(name) for name in MODELS]
        return web.json_response({"data": listed, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]})
    return web.json_response({"object": "list", "data": [_openai(name) for name in MODELS]})


async def model(request: web.Request) -> web.StreamResponse:
    """`GET .../models/{model}`; every name is a model here."""
    shapes = {"gemini": _gemini, "anthropic": _anthropic, "openai": _openai}
    return web.json_response(shapes[dialect_of(request)](request.match_info["model"]))


def _openai(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llmqd-sim"}


def _anthropic(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": f"{name} (llmqd-sim)", "created_at": "1970-01-01T00:00:00Z"}


def _gemini(name: str) -> dict[str, Any]:
    methods = ["generateContent", "countTokens"]
    return {"name": f"models/{name}", "displayName": f"{name} (llmqd-sim)", "supportedGenerationMethods": methods}
