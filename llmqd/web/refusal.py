"""Turns an error of llmqd's own into an answer in the dialect of the route that was called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from llmqd import __version__
from llmqd.call import Dialect
from llmqd.errors import BadField, CallRefused, ShuttingDown
from llmqd.providers.refusals import LONG_WAIT

# Error types as the providers name them for the same status, so that an SDK raises the class its user expects.
# OpenAI: guide "Error codes"; Anthropic: docs "Errors"; Google: google.rpc.Code.
_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    499: "invalid_request_error",
}
_ANTHROPIC_TYPES = _OPENAI_TYPES | {413: "request_too_large", 503: "overloaded_error", 504: "timeout_error"}
_GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_SECURITY = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
"""Headers of every answer of llmqd's own: nothing is guessed, framed, told to others or kept."""


def error_object(dialect: Dialect, status: int, code: str, message: str) -> dict[str, Any]:
    """An error as clients of this dialect read it. Every dialect carries llmqd's own `code`."""
    if dialect == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message, "code": code}}
    if dialect == "gemini":
        state = _GOOGLE_STATUS.get(status, "INTERNAL")
        return {"error": {"code": status, "message": message, "status": state, "details": [{"reason": code}]}}
    if dialect == "ollama":
        return {"error": message, "code": code}
    kind = _OPENAI_TYPES.get(status, "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def refusal(error: CallRefused, dialect: Dialect, headers: Mapping[str, str] | None = None) -> web.Response:
    """The answer to a call that llmqd refuses, with the hints that official SDKs obey."""
    fault = error_object(dialect, error.status, error.code, error.message)
    if isinstance(error, BadField):
        fault["error"]["param"] = error.param
    response = web.Response(status=error.status, body=orjson.dumps(fault), content_type="application/json")
    if headers:
        response.headers.update(headers)
    if isinstance(error, ShuttingDown):
        response.force_close()  # so that the repetition comes on a new connection, which the next daemon takes
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="llmqd"'  # RFC 9110 §11.6.1 asks for one
    if error.retry_after is not None:
        # Whole seconds upwards for everybody, milliseconds for the SDKs that read them first.
        response.headers["Retry-After"] = str(max(math.ceil(error.retry_after), 1))
        response.headers["retry-after-ms"] = str(max(math.ceil(error.retry_after * 1000), 1))
    hopeless = error.retry is None and (error.retry_after or 0.0) > LONG_WAIT
    if error.retry is not None or hopeless:
        response.headers["x-should-retry"] = "true" if error.retry else "false"
    if error.position is not None:
        response.headers["X-LLMQD-Position"] = str(error.position)
    if error.eta is not None:
        response.headers["X-LLMQD-ETA-Ms"] = str(math.ceil(error.eta * 1000))
    return response


def sign(response: web.StreamResponse) -> None:
    """Gives an answer of llmqd's own the headers that all of them have."""
    response.headers["Server"] = f"llmqd/{__version__}"
    for name, value in _SECURITY:
        response.headers.setdefault(name, value)
