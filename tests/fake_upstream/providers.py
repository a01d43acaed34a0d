"""Plays the providers: checks paths, keys and bodies as they do, and gives the canned answers or their refusals."""

from __future__ import annotations

import math
from typing import Any, Literal

import orjson

from tests.fake_upstream import anthropic_answers as anthropic
from tests.fake_upstream import gemini_answers as gemini
from tests.fake_upstream import ollama_answers as ollama
from tests.fake_upstream import openai_answers as openai
from tests.fake_upstream.request import Received
from tests.fake_upstream.script import Answer

Dialect = Literal["openai", "anthropic", "gemini", "ollama"]
OPENAI_PATHS = ("/chat/completions", "/completions", "/embeddings", "/responses")


def dialect(request: Received) -> Dialect:
    """Which provider a request is meant for, by path and, for model lists, by its headers."""
    path = request.path
    if "/messages" in path or request.header("anthropic-version"):
        return "anthropic"
    if "/openai/" not in path and ("/v1beta/" in path or request.header("x-goog-api-key")):
        return "gemini"
    return "ollama" if "/api/chat" in path or "/api/generate" in path else "openai"


def key_of(request: Received) -> str | None:
    """The key that a request carries, wherever it stands."""
    authorization = request.header("authorization") or ""
    if authorization.lower().startswith("bearer "):
        return authorization[7:]
    named = (request.header(name) for name in ("x-api-key", "x-goog-api-key", "api-key"))
    return next((value for value in named if value), None) or request.params.get("key")


def unauthorized(request: Received, keys: set[str] | None) -> Answer | None:
    """The provider's 401 where `keys` are given and the request carries none of them."""
    if keys is None or key_of(request) in keys:
        return None
    if dialect(request) == "anthropic":
        return anthropic.error(401, "authentication_error", "invalid x-api-key")
    if dialect(request) == "gemini":
        text = "API key not valid. Please pass a valid API key."
        return gemini.error(400, "INVALID_ARGUMENT", text)
    return openai.error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")


def rate_limited(request: Received, wait: float) -> Answer:
    """The provider's own 429 with the time after which a retry can succeed."""
    seconds = str(math.ceil(wait)) if math.isfinite(wait) else "60"
    retry = ("Retry-After", seconds)
    if dialect(request) == "anthropic":
        text = "This request would exceed your organization's rate limit. Please reduce your requests."
        return anthropic.error(429, "rate_limit_error", text).with_headers(retry)
    if dialect(request) == "gemini":
        quota = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "15"}
        details: list[dict[str, Any]] = [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [quota]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"},
        ]
        return gemini.error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", details).with_headers(retry)
    if dialect(request) == "ollama":
        return ollama.error(503, "server busy, please try again.  maximum pending requests exceeded")
    text = f"Rate limit reached for requests per min (RPM). Please try again in {wait:.3f}s."
    return openai.error(429, text, "requests", "rate_limit_exceeded").with_headers(
        retry, ("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", f"{wait:.3f}s")
    )


def answer(request: Received) -> Answer:
    """What the provider would answer to a request with a good key."""
    spoken = dialect(request)
    body: Any = None
    if request.method == "POST":
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            return _bad(spoken, "We could not parse the JSON body of your request.")
    if spoken == "anthropic":
        return _anthropic(request, body)
    if spoken == "gemini":
        return _gemini(request, body)
    if spoken == "ollama":
        return _ollama(body)
    return _openai(request, body)


def _openai(request: Received, body: dict[str, Any] | None) -> Answer:
    if request.method in ("GET", "HEAD") and request.path.endswith("/models"):
        return openai.models("gpt-4o", "gpt-4o-mini")
    kind = next((path for path in OPENAI_PATHS if request.path.endswith(path)), None)
    if kind is None:
        text = f"Invalid URL ({request.method} {request.path})"
        return openai.error(404, text, "invalid_request_error")
    if body is None:
        text = f"Not allowed to {request.method} on {request.path}."
        return openai.error(405, text, "invalid_request_error", "method_not_supported")
    model = body.get("model")
    if not isinstance(model, str):
        return _bad("openai", "you must provide a model parameter", "model")
    needed = {"/chat/completions": "messages", "/completions": "prompt"}.get(kind, "input")
    if needed not in body:
        return _bad("openai", f"Missing required parameter: '{needed}'.", needed)
    stream = body.get("stream") is True
    if body.get("stream_options") is not None and not stream:
        return _bad("openai", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    usage = (body.get("stream_options") or {}).get("include_usage") is True
    if kind == "/embeddings":
        count = len(body["input"]) if isinstance(body["input"], list) else 1
        return openai.embeddings(model, count, base64_floats=body.get("encoding_format") == "base64")
    if kind == "/responses":
        return openai.response_stream(model) if stream else openai.response(model)
    if kind == "/completions":
        return openai.completion_stream(model, include_usage=usage) if stream else openai.completion(model)
    return openai.chat_stream(model, include_usage=usage) if stream else openai.chat(model)


def _ollama(body: dict[str, Any] | None) -> Answer:
    if body is None or not isinstance(body.get("model"), str):
        return _bad("ollama", "model is required")
    return ollama.chat(body["model"]) if body.get("stream") is False else ollama.chat_stream(body["model"])


def _anthropic(request: Received, body: dict[str, Any] | None) -> Answer:
    if request.header("anthropic-version") is None:
        return _bad("anthropic", "anthropic-version: header is required")
    if request.method in ("GET", "HEAD") and request.path.endswith("/models"):
        return anthropic.models("claude-sonnet-4-6")
    if body is None or not request.path.endswith(("/messages", "/messages/count_tokens")):
        return anthropic.error(404, "not_found_error", "Not Found")
    for name in ("model", "messages"):
        if name not in body:
            return _bad("anthropic", f"{name}: Field required")
    if request.path.endswith("/count_tokens"):
        return anthropic.token_count()
    if "max_tokens" not in body:
        return _bad("anthropic", "max_tokens: Field required")
    if "stream_options" in body:
        return _bad("anthropic", "stream_options: Extra inputs are not permitted")
    return anthropic.message_stream(body["model"]) if body.get("stream") is True else anthropic.message(body["model"])


def _gemini(request: Received, body: dict[str, Any] | None) -> Answer:
    if request.method in ("GET", "HEAD") and request.path.endswith("/models"):
        return gemini.models("gemini-2.5-flash")
    model, _, method = request.path.rpartition("/models/")[2].partition(":")
    if body is None or not model or method not in ("generateContent", "streamGenerateContent", "countTokens"):
        return gemini.error(404, "NOT_FOUND", "Requested entity was not found.")
    if "contents" not in body:
        return _bad("gemini", "* GenerateContentRequest.contents: contents is not specified")
    if method == "countTokens":
        return gemini.token_count()
    if method == "generateContent":
        return gemini.content(model)
    return gemini.content_sse(model) if request.params.get("alt") == "sse" else gemini.content_array(model)


def _bad(spoken: Dialect, text: str, param: str | None = None) -> Answer:
    if spoken == "anthropic":
        return anthropic.error(400, "invalid_request_error", text)
    if spoken == "gemini":
        return gemini.error(400, "INVALID_ARGUMENT", text)
    if spoken == "ollama":
        return ollama.error(400, text)
    return openai.error(400, text, "invalid_request_error", None, param)
