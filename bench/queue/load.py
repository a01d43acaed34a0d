"""Clients that keep a lane saturated: raw connections that ask again as soon as they are answered."""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

_KEPT_ERRORS = 5
_DIGITS = re.compile(r"\d+")
_PAUSE_AFTER_ERROR = 0.2
"""A refused client comes again soon, but no faster than a program in a loop would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What calls look like. Sizes are drawn evenly on a logarithmic scale; `streamed` is the share that streams."""

    path: str = "/v1/chat/completions"
    model: str = "gpt-4o-mini"
    prompt_bytes: tuple[int, int] = (400, 400)
    max_tokens: tuple[int, int] | None = None
    streamed: float = 0.5
    headers: tuple[tuple[str, str], ...] = ()

    def draw(self, rng: random.Random) -> bytes:
        """The next call as bytes."""
        content = "x" * _drawn(rng, self.prompt_bytes)
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        if self.max_tokens is not None:
            body["max_tokens"] = _drawn(rng, self.max_tokens)
        if rng.random() < self.streamed:
            body["stream"] = True
        data = orjson.dumps(body)
        version = [("anthropic-version", "2023-06-01")] if self.path.endswith("/messages") else []
        return post(self.path, data, *version, *self.headers)


def post(path: str, body: bytes, *headers: tuple[str, str]) -> bytes:
    """A call as bytes."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
    return (
        b"POST %b HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAuthorization: Bearer x\r\n"
        b"%bContent-Length: %d\r\n\r\n%b" % (path.encode(), more, len(body), body)
    )


def _drawn(rng: random.Random, between: tuple[int, int]) -> int:
    return round(math.exp(rng.uniform(*map(math.log, between))))


@dataclass(slots=True)
class Load:
    """The clients of one lane and what they saw. `errors` holds the first few different ones, as text."""

    port: int
    calls: Calls
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    ended: float = 0.0
    """When the clients were stopped, in Unix time."""
    errors: list[str] = field(default_factory=list)

    async def run(self, clients: int, seconds: float) -> None:
        """Keeps so many clients busy for so long; what is under way at the end is not judged."""
        tasks = [asyncio.create_task(self._client(random.Random(number))) for number in range(clients)]
        _, waiting = await asyncio.wait(tasks, timeout=seconds)
        self.ended = time.time()
        for task in waiting:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    @property
    def refused(self) -> int:
        """Answers 429 that clients saw."""
        return self.statuses[429]

    @property
    def failed(self) -> int:
        """Every other answer that was not 200, and every answer that was none."""
        return self.broken + sum(count for status, count in self.statuses.items() if status not in (200, 429))

    async def _client(self, rng: random.Random) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                try:
                    streams = streams or await asyncio.open_connection("127.0.0.1", self.port)
                    streams[1].write(self.calls.draw(rng))
                    status, body = await read_answer(streams[0])
                except (OSError, EOFError, ValueError) as error:
                    self.broken += 1
                    self._keep(f"{type(error).__name__}: {error}")
                    if streams is not None:
                        streams[1].close()
                    streams = None
                    await asyncio.sleep(_PAUSE_AFTER_ERROR)
                    continue
                self.statuses[status] += 1
                if status != 200:
                    self._keep(f"{status}: {' '.join(body.decode(errors='replace').split())[:200]}")
                    await asyncio.sleep(_PAUSE_AFTER_ERROR)
        finally:
            if streams is not None:
                streams[1].close()

    def _keep(self, text: str) -> None:
        known = {_DIGITS.sub("", error) for error in self.errors}
        if _DIGITS.sub("", text) not in known and len(self.errors) < _KEPT_ERRORS:
            self.errors.append(text)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one answer. Raises EOFError when it breaks off, ValueError when it is no HTTP."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    at = head.find(b"\r\ncontent-length:")
    if at != -1:
        return status, await reader.readexactly(int(head[at + 17 :].split(b"\r\n", 1)[0]))
    if b"transfer-encoding: chunked" not in head:
        raise ValueError(f"an answer without framing: {head!r}")
    body = b""
    while size := int(await reader.readline() or b"", 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return status, body


async def fetch(port: int, path: str) -> Any:
    """JSON from a server on this machine."""
    return await _asked(port, b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (path.encode(), port))


async def steer(port: int, path: str, body: bytes = b"") -> Any:
    """What a server on this machine answers to a POST, as JSON."""
    return await _asked(port, post(path, body))


async def _asked(port: int, request: bytes) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(request)
    try:
        return orjson.loads((await read_answer(reader))[1])
    finally:
        writer.close()
