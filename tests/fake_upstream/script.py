"""What the fake upstream plays: an answer as a list of byte chunks, pauses and gates, and how it ends."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import random
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Literal

import orjson

Step = bytes | float | asyncio.Event
"""Bytes are sent as one write (one chunk of a chunked body), a number is a pause in seconds, an event a gate: the
answer stops there until the test sets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One scripted answer.

    `framing`: `length` sends Content-Length (the sum of the bytes, or `length` where the test wants it to lie),
    `chunked` one HTTP chunk per step, `close` neither: the end of the connection is the end of the body.
    `before`: steps before the status line; bytes there go out as they are (for example a 103 interim answer).
    `end`: `clean`; `cut` closes the connection without finishing the body; `reset` sends a TCP RST (put a short pause
    before it where the client shall have read what came before: a reset may overtake bytes); `hang` says nothing more
    until the client leaves. With `headers_sent` false the end comes before the status line.
    `raw`: the steps are the whole response, status line and headers included; then the connection closes.
    """

    status: int = 200
    reason: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    body: Sequence[Step] = ()
    framing: Literal["length", "chunked", "close"] = "length"
    length: int | None = None
    trailers: Sequence[tuple[str, str]] = ()
    before: Sequence[Step] = ()
    end: Literal["clean", "cut", "reset", "hang"] = "clean"
    headers_sent: bool = True
    raw: bool = False

    @property
    def data(self) -> bytes:
        """All bytes of the body as the client must see them, framing removed."""
        return b"".join(step for step in self.body if isinstance(step, bytes))

    @property
    def bodiless(self) -> bool:
        """Whether this status never has a body (RFC 9110 section 6.4.1)."""
        return self.status in (204, 304) or 100 <= self.status < 200

    def head(self) -> bytes:
        """The status line and headers, up to and with the empty line."""
        reason = self.reason if self.reason is not None else _reason(self.status)
        lines = [f"HTTP/1.1 {self.status} {reason}", *(f"{name}: {value}" for name, value in self.headers)]
        if self.framing == "chunked" and not self.bodiless:
            lines.append("Transfer-Encoding: chunked")
        elif self.framing == "length" and not self.bodiless:
            lines.append(f"Content-Length: {len(self.data) if self.length is None else self.length}")
        elif self.framing == "close":
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")

    def but(self, **changes: Any) -> Answer:
        """The same answer with other fields: `answer.but(end="cut")`."""
        return replace(self, **changes)

    def with_headers(self, *headers: tuple[str, str]) -> Answer:
        """The same answer with more headers."""
        return replace(self, headers=[*self.headers, *headers])

    def paused(self, step: float | asyncio.Event, after: int = 1) -> Answer:
        """The same answer with a pause or gate put in behind its first `after` body steps."""
        return replace(self, body=[*self.body[:after], step, *self.body[after:]])


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def json_answer(value: Any, status: int = 200, *headers: tuple[str, str], indent: bool = False) -> Answer:
    """A JSON body with its length."""
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else 0)
    return Answer(status=status, headers=[("Content-Type", "application/json"), *headers], body=[body])


def sse(events: Iterable[bytes], *headers: tuple[str, str], newline: bytes = b"\n") -> Answer:
    """A chunked `text/event-stream`; each event is its lines without the closing blank line, one chunk an event."""
    body: list[Step] = [event.replace(b"\n", newline) + newline * 2 for event in events]
    content_type = ("Content-Type", "text/event-stream; charset=utf-8")
    return Answer(headers=[content_type, *headers], body=body, framing="chunked")


def crlf(answer: Answer) -> Answer:
    """The same event stream with CRLF line ends, as Gemini sends it."""
    steps = [step.replace(b"\n", b"\r\n") if isinstance(step, bytes) else step for step in answer.body]
    return answer.but(body=steps)


def rechunked(answer: Answer, cuts: Iterable[int] | random.Random, largest: int = 64) -> Answer:
    """The same bytes in other pieces: `cuts` are offsets, or a random generator that makes pieces of 1 to `largest`."""
    data = answer.data
    if isinstance(cuts, random.Random):
        offsets, at = [], 0
        while (at := at + cuts.randint(1, largest)) < len(data):
            offsets.append(at)
    else:
        offsets = sorted({cut for cut in cuts if 0 < cut < len(data)})
    edges = [0, *offsets, len(data)]
    return answer.but(body=[data[a:b] for a, b in itertools.pairwise(edges) if a < b])


def trickle(data: bytes, pause: float, size: int = 1) -> list[Step]:
    """Steps that send `size` bytes, wait, send the next; no wait behind the last."""
    steps: list[Step] = []
    for start in range(0, len(data), size):
        steps += [data[start : start + size], pause]
    return steps[:-1]


def compressed(answer: Answer, *, flush: bool = True) -> Answer:
    """The same answer with `Content-Encoding: gzip`.

    With `flush` each step can be decoded as it arrives; without, as some servers do it, the last step holds it all.
    """
    encoding = ("Content-Encoding", "gzip")
    if not flush:
        return answer.but(headers=[*answer.headers, encoding], body=[gzip.compress(answer.data, mtime=0)])
    packer = zlib.compressobj(wbits=31)
    steps: list[Step] = []
    for step in answer.body:
        steps.append(packer.compress(step) + packer.flush(zlib.Z_SYNC_FLUSH) if isinstance(step, bytes) else step)
    return answer.but(headers=[*answer.headers, encoding], body=[*steps, packer.flush()])
