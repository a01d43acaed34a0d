"""What a stream is told whose 200 is out already: llmqd's own errors, and answers that are no stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from llmqd.call import Call
from llmqd.providers.error_bodies import ErrorBody, parse
from llmqd.tap.decoding import Decoder
from llmqd.web.heartbeat import StreamForm
from llmqd.web.refusal import error_object

UPSTREAM_ERROR = "upstream_error"
"""Code of an upstream's refusal that came in another dialect than the caller's."""
NOT_A_STREAM = "upstream_not_streaming"
"""Code where an upstream answered a call for a stream in one piece, of a shape that the stream cannot carry."""

_MOST = 8 * 1024 * 1024
"""Bytes of an answer in one piece that are looked at."""
_MOST_DECODED = 1 << 31
_QUOTED = 200
"""Characters of an unknown body that are quoted in an error's message."""


class Edit(Protocol):
    """A change to an answer's bytes while they pass."""

    def feed(self, chunk: bytes) -> bytes:
        """The next bytes from the upstream; returns those that the client may have now."""

    def flush(self) -> bytes:
        """The upstream has ended; returns what is still to go."""


def late_error(call: Call, status: int, code: str, message: str) -> bytes:
    """An error of llmqd's own as it stands in a stream of the call's dialect."""
    return _in_stream(call, error_object(call.dialect, status, code, message))


def late_code(status: int, media: str, form: StreamForm, call: Call) -> str | None:
    """llmqd's own code where it can only tell the caller that this answer cannot be passed on, else None."""
    if not _is_piece(status, media, form) or not _good(status) or (call.dialect == "gemini" and _is_json(media)):
        return None
    return NOT_A_STREAM


def late_edits(call: Call, upstream: str, status: int, headers: Mapping[str, str], form: StreamForm) -> list[Edit]:
    """What makes an upstream's answer fit into a stream that has begun as `form` says; nothing for what fits as it is.

    `headers` are the answer's. Its encoding is undone, as the client was not told of any.
    """
    edits: list[Edit] = []
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        edits.append(_Decoding(call, upstream, encoding))
    media = media_type(headers)
    if _is_piece(status, media, form):
        edits.append(_Piece(call, upstream, status, media))
    return edits


def media_type(headers: Mapping[str, str]) -> str:
    """The media type of an answer in lower case, without its parameters; empty where it has none."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


class _Decoding:
    """Undoes a Content-Encoding. What cannot be read ends the stream with an error."""

    def __init__(self, call: Call, upstream: str, encoding: str) -> None:
        self._call = call
        self._decoder = Decoder(encoding, _MOST_DECODED)
        self._message = f"{upstream} sent its answer as {encoding} though identity was asked for"

    def feed(self, chunk: bytes) -> bytes:
        return self._decoder.feed(chunk)

    def flush(self) -> bytes:
        failed = self._decoder.failed
        if failed is None:
            return b""
        return late_error(self._call, 502, UPSTREAM_ERROR, f"{self._message}, and it cannot be decoded: {failed}")


class _Piece:
    """Holds an answer that came in one piece, and tells it in the end as the stream can carry it.

    That is an error, but for Gemini, whose answers in one piece have the shape of its events.
    """

    def __init__(self, call: Call, upstream: str, status: int, media: str) -> None:
        self._call = call
        self._upstream = upstream
        self._status = status
        self._media = media
        self._held = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        self._held += chunk[: _MOST - len(self._held)]
        return b""

    def flush(self) -> bytes:
        body = bytes(self._held)
        self._held.clear()
        if _good(self._status) and self._call.dialect == "gemini" and (events := _events(body)) is not None:
            return events
        return _in_stream(self._call, self._error(body))

    def _error(self, body: bytes) -> Mapping[str, Any]:
        found = parse(body)
        if (own := _of_dialect(self._call, found)) is not None:
            return own
        if _good(self._status):
            said = f"{self._media or 'something'} instead of a stream"
            return error_object(self._call.dialect, 502, NOT_A_STREAM, f"{self._upstream} answered with {said}")
        said = found.message or body[: _QUOTED * 4].decode("utf-8", "replace").strip()[:_QUOTED]
        message = f"{self._upstream} answered with HTTP {self._status}" + (f": {said}" if said else "")
        return error_object(self._call.dialect, self._status, UPSTREAM_ERROR, message)


def _is_piece(status: int, media: str, form: StreamForm) -> bool:
    return not _good(status) or media not in form.passes


def _good(status: int) -> bool:
    return 200 <= status < 300


def _is_json(media: str) -> bool:
    return media == "application/json" or media.endswith("+json")


def _events(body: bytes) -> bytes | None:
    """Gemini's answers as its events: one object, or the array that it streams without `alt=sse`; None for others."""
    try:
        whole = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    pieces = whole if isinstance(whole, list) else [whole]
    if not all(isinstance(piece, dict) for piece in pieces):
        return None
    return b"".join(b"data: %b\n\n" % orjson.dumps(piece) for piece in pieces)


def _of_dialect(call: Call, found: ErrorBody) -> Mapping[str, Any] | None:
    """An upstream's error where clients of the call's dialect can read it, else None."""
    outer = found.body or {}
    error = outer.get("error")
    if call.dialect == "ollama":
        return outer if isinstance(error, str) and error else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    if call.dialect == "anthropic":
        return outer if outer.get("type") == "error" else None
    if call.dialect == "gemini":
        # Google's SDKs know an error by its first key.
        return {"error": error} if isinstance(error.get("code"), int) else None
    return outer


def _in_stream(call: Call, error: Mapping[str, Any]) -> bytes:
    """An error of the call's dialect as its streams carry it.

    OpenAI: API reference, "Streaming events", `error`; Anthropic: "Streaming messages", error events; Ollama: "Errors
    that occur while streaming". Chat streams of OpenAI's kind and Gemini's carry the object that a refusal has.
    """
    if call.dialect == "ollama":
        return orjson.dumps(error) + b"\n"
    if call.dialect == "anthropic":
        return b"event: error\ndata: %b\n\n" % orjson.dumps(error)
    if call.operation == "responses":
        inner = error["error"]
        event = {
            "type": "error",
            "code": inner.get("code") or inner.get("type"),
            "message": inner["message"],
            "param": inner.get("param"),
            "sequence_number": 0,
        }
        return b"event: error\ndata: %b\n\n" % orjson.dumps(event)
    return b"data: %b\n\n" % orjson.dumps(error)
