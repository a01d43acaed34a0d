"""The simulated provider as an application: its URLs, its label on every answer, its errors in dialect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from llmqd.sim.anthropic import Anthropic
from llmqd.sim.gemini import Gemini
from llmqd.sim.models import model, models
from llmqd.sim.openai import OpenAI
from llmqd.sim.reply import Pace, dialect_of, refusal
from llmqd.sim.responses import Responses

HEADER = "X-LLMQD-Simulated"
"""Set to `true` on every answer, errors included."""

GEMINI_MODEL = "/{version:v1|v1beta|v1alpha}/models/{model}"
"""Google's own SDK asks under `/v1` from version 3 on, older ones and most examples under `/v1beta`."""

MAX_BODY = 64 << 20
"""Larger bodies are refused with 413: real providers accept no more either (Anthropic 32 MB, OpenAI 50 MB)."""


def build_app(*, first_pause: float = 0.3, pause: float = 0.02) -> web.Application:
    """The provider as an application to be served on a loopback address.

    `first_pause`: seconds until the first byte of an answer; `pause`: seconds between two pieces of a stream.
    """
    pace = Pace(first_pause, pause)
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_refuse_in_dialect])
    app.on_response_prepare.append(_label)
    openai, anthropic, gemini, responses = OpenAI(pace), Anthropic(pace), Gemini(pace), Responses(pace)
    app.add_routes(
        [
            web.get("/{version:v1|v1beta|v1alpha}/models", models),
            web.get("/{version:v1|v1beta|v1alpha}/models/{model}", model),
            web.post("/v1/chat/completions", openai.chat),
            web.post("/v1/completions", openai.completions),
            web.post("/v1/embeddings", openai.embeddings),
            web.post("/v1/responses", responses.create),
            web.post("/v1/messages", anthropic.messages),
            web.post("/v1/messages/count_tokens", anthropic.count_tokens),
            web.post(GEMINI_MODEL + ":generateContent", gemini.generate),
            web.post(GEMINI_MODEL + ":streamGenerateContent", gemini.stream),
            web.post(GEMINI_MODEL + ":countTokens", gemini.count_tokens),
        ]
    )
    return app


async def _label(_: web.Request, response: web.StreamResponse) -> None:
    response.headers[HEADER] = "true"


@web.middleware
async def _refuse_in_dialect(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turns aiohttp's own 404, 405 and 413 into the error object that the client's SDK understands."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400 or error.content_type == "application/json":
            raise
        text = f"{error.reason}: the simulated provider has no {request.method} {request.path}"
        if error.status == 413:
            text = f"{error.reason}: the simulated provider takes bodies up to {MAX_BODY >> 20} MiB"
        raise refusal(dialect_of(request), error.status, text) from error
