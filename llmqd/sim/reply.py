"""How the simulated provider reads a request and sends an answer: the parts that all dialects share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import orjson
from aiohttp import web

Spoken = Literal["openai", "anthropic", "gemini"]
R = TypeVar("R", bound=msgspec.Struct)

Name = Annotated[str, msgspec.Meta(min_length=1)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Messages = Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]

GEMINI_STATUS = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 405: "UNIMPLEMENTED", 413: "INVALID_ARGUMENT"}
ANTHROPIC_TYPE = {404: "not_found_error", 405: "not_found_error", 413: "request_too_large"}


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds before the first byte of an answer, and between two pieces of a stream."""

    first: float
    between: float


def new_id(kind: str) -> str:
    """An id that shows where the answer came from: `sim-chatcmpl-…`."""
    return f"sim-{kind}-{uuid.uuid4().hex[:24]}"


def dialect_of(request: web.Request) -> Spoken:
    """Whose error objects the caller understands."""
    if request.path.startswith("/v1beta") or "x-goog-api-key" in request.headers or ":" in request.path:
        return "gemini"
    if request.path.startswith("/v1/messages") or "anthropic-version" in request.headers:
        return "anthropic"
    return "openai"


def refusal(spoken: Spoken, status: int, message: str) -> web.HTTPException:
    """An error in the provider's own shape, to be raised."""
    body: dict[str, Any]
    if spoken == "anthropic":
        kind = ANTHROPIC_TYPE.get(status, "invalid_request_error")
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": new_id("req")}
    elif spoken == "gemini":
        kind = GEMINI_STATUS.get(status, "INVALID_ARGUMENT")
        body = {"error": {"code": status, "message": message, "status": kind}}
    else:
        body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return _STATUSES[status](text=orjson.dumps(body).decode(), content_type="application/json")


class _TooLarge(web.HTTPClientError):
    """413 without the size arguments that aiohttp's own class demands."""

    status_code = 413


class _NotAllowed(web.HTTPClientError):
    """405 without the method arguments that aiohttp's own class demands."""

    status_code = 405


_STATUSES: dict[int, type[web.HTTPClientError]] = {
    400: web.HTTPBadRequest,
    404: web.HTTPNotFound,
    405: _NotAllowed,
    413: _TooLarge,
    417: web.HTTPExpectationFailed,
}


async def parse(request: web.Request, form: type[R]) -> R:
    """The body as `form`; raises the dialect's 400 that names the field which is wrong."""
    body = await request.read()
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal(dialect_of(request), 400, f"Invalid request body: {error}") from error


async def send(pace: Pace, value: Any) -> web.Response:
    """A JSON answer after the first pause."""
    await asyncio.sleep(pace.first)
    return web.Response(body=orjson.dumps(value), content_type="application/json")


async def stream(
    request: web.Request, pace: Pace, events: Iterable[bytes], content_type: str = "text/event-stream"
) -> web.StreamResponse:
    """Sends the events one by one with their pauses."""
    response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-cache"})
    await asyncio.sleep(pace.first)
    await response.prepare(request)
    for event in events:
        await response.write(event)
        await asyncio.sleep(pace.between)
    await response.write_eof()
    return response


def event(value: Any, name: str | None = None) -> bytes:
    """One server-sent event with a JSON value."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + orjson.dumps(value) + b"\n\n"
