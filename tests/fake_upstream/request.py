"""Reads HTTP/1.1 requests off the wire exactly as they were sent, and says what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

HEAD_LIMIT = 1 << 20


@dataclass(slots=True, kw_only=True)
class Received:
    """One request as it stood on the wire.

    `target` is the raw request target with its query; `raw_headers` keeps order, case and duplicates; `connection`
    numbers the TCP connection from 1; `at` is the upstream's clock when the whole request had arrived, `head_at` when
    its headers had.
    """

    method: str
    target: str
    version: str
    raw_headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    connection: int = 0
    head_at: float = 0.0
    at: float = 0.0
    raw_head: bytes = b""

    @property
    def path(self) -> str:
        """The raw path, still percent-encoded, without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The raw query without its question mark."""
        return self.target.partition("?")[2]

    @property
    def params(self) -> dict[str, str]:
        """The query decoded; the last of equal names."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def header(self, name: str) -> str | None:
        """The value of a header, several joined by a comma; None when absent."""
        values = self.header_list(name)
        return ", ".join(values) if values else None

    def header_list(self, name: str) -> list[str]:
        """All values of a header in their order."""
        return [value for key, value in self.raw_headers if key.lower() == name.lower()]

    @property
    def header_names(self) -> set[str]:
        """The names of all headers in lower case."""
        return {name.lower() for name, _ in self.raw_headers}

    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def chunked(self) -> bool:
        """Whether the body came in chunks."""
        return (self.header("transfer-encoding") or "").lower() == "chunked"

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for 100 Continue before it sends the body."""
        return (self.header("expect") or "").lower() == "100-continue"

    @property
    def upgrades_to_websocket(self) -> bool:
        """Whether this is a WebSocket handshake."""
        return (self.header("upgrade") or "").lower() == "websocket"


class BadRequest(Exception):
    """The bytes are not a request; says which rule they break."""


class RequestReader:
    """Incremental parser: `feed` bytes, then take requests with `head` and `body`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._chunks: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Takes what came from the socket."""
        self._buffer += data

    def rest(self) -> bytes:
        """Takes what has been fed and not parsed."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def head(self) -> Received | None:
        """The next request's head once it is there; its body is still empty. Raises `BadRequest`."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise BadRequest(f"no end of the headers within {HEAD_LIMIT} bytes")
            return None
        raw = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        line, *fields = raw[:-4].decode("utf-8", "surrogateescape").split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise BadRequest(f"not a request line: {line!r}")
        method, target, version = words
        return Received(
            method=method, target=target, version=version, raw_headers=[_field(text) for text in fields], raw_head=raw
        )

    def body(self, request: Received) -> bool:
        """Moves the body into `request`; False while some of it has still to come. Raises `BadRequest`."""
        if request.chunked:
            return self._chunked_body(request)
        length = request.header("content-length") or "0"
        if not length.isdecimal():
            raise BadRequest(f"Content-Length: {length!r}")
        size = int(length)
        if len(self._buffer) < size:
            return False
        request.body = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return True

    def _chunked_body(self, request: Received) -> bool:
        while (end := self._buffer.find(b"\r\n")) >= 0:
            text = bytes(self._buffer[:end]).split(b";")[0].strip()
            try:
                size = int(text, 16)
            except ValueError:
                raise BadRequest(f"chunk size: {text!r}") from None
            if size == 0:
                return self._trailers(request, end)
            if len(self._buffer) < end + 2 + size + 2:
                return False
            if self._buffer[end + 2 + size : end + 4 + size] != b"\r\n":
                raise BadRequest("a chunk is longer than its size says")
            self._chunks.append(bytes(self._buffer[end + 2 : end + 2 + size]))
            del self._buffer[: end + 4 + size]
        return False

    def _trailers(self, request: Received, end: int) -> bool:
        last = self._buffer.find(b"\r\n\r\n", end)
        if last < 0:
            return False
        lines = bytes(self._buffer[end + 2 : last]).decode("utf-8", "surrogateescape")
        request.trailers = [_field(line) for line in lines.split("\r\n") if line]
        request.body = b"".join(self._chunks)
        self._chunks.clear()
        del self._buffer[: last + 4]
        return True


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip() or "\n" in line:
        raise BadRequest(f"not a header line: {line!r}")
    return name, value.strip(" \t")


def violations(request: Received, hosts: set[str]) -> list[str]:
    """What no client may send to a provider, and what must never leave llmqd. `hosts` are the upstream's own names."""
    found = []
    host = request.header_list("host")
    if len(host) != 1 or host[0].lower() not in hosts:
        found.append(f"Host {host} is not one of {sorted(hosts)}")
    if "transfer-encoding" in request.header_names and "content-length" in request.header_names:
        found.append("Content-Length and Transfer-Encoding together (RFC 9112 section 6.3)")
    for name in ("content-length", "transfer-encoding", "content-type", "authorization", "x-api-key"):
        if len(request.header_list(name)) > 1:
            found.append(f"{name} sent {len(request.header_list(name))} times")
    leaked = sorted(name for name in request.header_names if name.startswith("x-llmqd-"))
    if leaked:
        found.append(f"control headers left the daemon: {', '.join(leaked)}")
    for name in ("proxy-authorization", "proxy-connection", "keep-alive", "te", "trailer"):
        if name in request.header_names:
            found.append(f"hop-by-hop header forwarded: {name} (RFC 9110 section 7.6.1)")
    return [f"{request.method} {request.target}: {text}" for text in found]
