"""The load: raw connections that ask again as soon as they are answered, or at a pace. No two calls say the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

_BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"' + b"x" * 400 + b' @@@@@@@@"}]%s}'
PLAIN = _BODY % b""
STREAM = _BODY % b',"stream":true,"stream_options":{"include_usage":true}'
PACED = _BODY % b',"stream":true,"stream_options":{"include_usage":true},"user":"paced"'
_MARK = b"@@@@@@@@"
_STALL = 0.1
"""Seconds between two pieces of a paced stream from which on it counts as a stall."""


def request(body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """One chat call as bytes, with a mark that each call replaces by its number."""
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items()).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer x\r\n%sContent-Length: %d\r\n\r\n%s" % (more, len(body), body)
    )


_number = iter(range(10_000_000, 100_000_000))


def _next(message: bytes) -> bytes:
    return message.replace(_MARK, b"%08d" % next(_number))


async def _answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    at = head.lower().find(b"content-length:")
    if at != -1:
        await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
    else:
        await reader.readuntil(b"\r\n0\r\n\r\n")


async def calls(
    port: int, body: bytes, connections: int, total: int, headers: Mapping[str, str] | None = None
) -> float:
    """Seconds that `total` calls take over so many connections."""
    waiting = iter(range(total))
    message = request(body, headers)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        for _ in waiting:
            writer.write(_next(message))
            await _answer(reader)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return time.perf_counter() - began


async def latencies(port: int, rate: float, seconds: float, headers: Mapping[str, str] | None = None) -> list[float]:
    """Seconds that each plain call takes at so many calls a second, whether the one before is answered or not."""
    message, taken, idle = (
        request(PLAIN, headers),
        list[float](),
        list[tuple[asyncio.StreamReader, asyncio.StreamWriter]](),
    )

    async def one() -> None:
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        began = time.perf_counter()
        writer.write(_next(message))
        await _answer(reader)
        taken.append(time.perf_counter() - began)
        idle.append((reader, writer))

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one())
    for _, writer in idle:
        writer.close()
    return taken


@dataclass(slots=True)
class Streams:
    """What clients saw of paced streams: seconds to the first piece, stalls, and whether every byte came."""

    first: list[float] = field(default_factory=list)
    stalls: int = 0
    intact: int = 0


class _PacedClient(asyncio.Protocol):
    """One paced stream, read as it comes."""

    def __init__(self, message: bytes, seen: Streams, chunks: int) -> None:
        self._message, self._seen, self._chunks = message, seen, chunks
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._events = 0
        self._last = 0.0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._began = time.perf_counter()
        self._transport.write(_next(self._message))

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        events = data.count(b"data: ")
        if events:
            if not self._events:
                self._seen.first.append(now - self._began)
            elif now - self._last > _STALL:
                self._seen.stalls += 1
            self._events += events
            self._last = now
        self._tail = (self._tail + data)[-7:]
        if self._tail == b"\r\n0\r\n\r\n":
            self._seen.intact += self._events == self._chunks + 2
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def paced(
    port: int, streams: int, chunks: int, spread: float = 2.0, headers: Mapping[str, str] | None = None
) -> Streams:
    """So many streams at once, begun one after the other within `spread` seconds."""
    seen, message = Streams(), request(PACED, headers)
    loop = asyncio.get_running_loop()
    begin = time.perf_counter()
    clients: list[_PacedClient] = []
    for number in range(streams):
        await asyncio.sleep(max(0.0, begin + number * spread / streams - time.perf_counter()))
        _, client = await loop.create_connection(lambda: _PacedClient(message, seen, chunks), "127.0.0.1", port)
        clients.append(client)
    await asyncio.wait([client.done for client in clients], timeout=120)
    return seen
