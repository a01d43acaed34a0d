"""What hostile and clumsy clients send."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import cast

_BODY = b'{"model":"gpt-4o","messages":[]}'
_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: llmqd\r\nContent-Type: application/json\r\n"
_LENGTH = b"Content-Length: %d\r\n" % len(_BODY)
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: llmqd\r\n\r\n"

INJECTIONS = tuple(
    _HEAD + _LENGTH + header + b"\r\n\r\n" + _BODY
    for header in (
        b"X-LLMQD-Session: a\nX-Injected: 1",
        b"X-LLMQD-Session: a\rX-Injected: 1",
        b"X-LLMQD-Session: a\x00b",
        b"X-LLMQD-Agent: \x7f\x1b[2J",
        b"X-LLMQD-User: \xff\xfe\xfd",
        b"X Injected: 1",
        b"X-Injected : 1",
        b": no name",
        b"X-Folded: a\r\n b",
        b"\x00: a",
        b"X-LLMQD-Tags: " + b"a," * 500,
        b"X-LLMQD-Priority: high\tlow",
        b"X-LLMQD-Deadline: -1e999",
        b"Connection: X-LLMQD-Session, Content-Length, Host",
        b"Host: other",
    )
)

SMUGGLING = (
    _HEAD + _LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    _HEAD + _LENGTH + b"Content-Length: 3\r\n\r\n" + _BODY + _SMUGGLED,
    _HEAD + b"Content-Length: 0, %d\r\n\r\n" % len(_BODY) + _BODY,
    _HEAD + b"Content-Length: +5\r\n\r\n" + _BODY,
    _HEAD + b"Content-Length: 0x20\r\n\r\n" + _BODY,
    _HEAD + b"Content-Length: -1\r\n\r\n" + _SMUGGLED,
    _HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n" + _SMUGGLED,
    _HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    _HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    _HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    _HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;a=\nb\r\nhello\r\n0\r\n\r\n" + _SMUGGLED,
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + _SMUGGLED,
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n" + _SMUGGLED,
    b"POST /v1/chat/completions HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    _HEAD.replace(b"\r\n", b"\n") + _LENGTH.replace(b"\r\n", b"\n") + b"\n" + _BODY + _SMUGGLED,
)

PATHS = tuple(
    b"GET " + path + b" HTTP/1.1\r\nHost: llmqd\r\nConnection: close\r\n\r\n"
    for path in (
        b"/v1/../../etc/passwd",
        b"/openai/../health",
        b"/v1/%2e%2e/%2e%2e/etc/passwd",
        b"/v1/models%2f..%2f..%2fsecret",
        b"/v1/models/%00",
        b"/v1/session/%2e%2e%2f/models",
        b"/v1/session/" + b"a" * 10_000 + b"/models",
        b"/v1/session/%0d%0aX-Injected:1/models",
        b"/v1/session/\xff\xfe/models",
        b"//evil.test/v1/models",
        b"http://evil.test/v1/models",
        b"/\\evil.test/v1/models",
        b"/v1/models?" + b"a=b&" * 5000,
        b"/api/v1/sessions/..%2f..%2f/messages",
        b"/api/v1/requests/%00",
        b"/docs/../../../../etc/passwd",
        b"/docs/%2e%2e/%2e%2e/setup.cfg",
        b"/queue/%F0%28%8C%28",
        b"*",
        b"",
    )
)

OVERSIZED = (
    _HEAD + b"X-Large: " + b"a" * 70_000 + b"\r\n\r\n",
    _HEAD + b"".join(b"X-Many-%d: a\r\n" % number for number in range(5_000)) + b"\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"A" * 200_000,
)


_AFTERWARDS = 1.0
"""Seconds for which it is looked whether an answer is followed by another, which nobody asked for."""


async def send_all(port: int, requests: Iterable[bytes], *, within: float = 6.0) -> list[int]:
    """Sends each on a connection of its own; the statuses of all that was answered. Never hangs."""
    every = await asyncio.gather(*(_send(port, one, within) for one in requests))
    return [status for answers in every for status in answers]


async def _send(port: int, request: bytes, within: float) -> list[int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer, patience = b"", within
    try:
        async with asyncio.timeout(within):
            writer.write(request)
            await writer.drain()
        while piece := await asyncio.wait_for(reader.read(65536), patience):
            answer += piece
            patience = min(within, _AFTERWARDS)
    except (TimeoutError, OSError):
        pass
    finally:
        writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


async def endless_header(port: int, seconds: float) -> int:
    """Sends one head that never ends; how many bytes were taken before the connection was closed."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = 0
    try:
        async with asyncio.timeout(seconds):
            writer.write(_HEAD)
            while True:
                writer.write(b"X-More: " + b"a" * 1000 + b"\r\n")
                sent += 1010
                await writer.drain()
                await asyncio.sleep(0)
    except (TimeoutError, OSError):
        return sent
    finally:
        writer.transport.abort()


@asynccontextmanager
async def connections(
    port: int, count: int, first: bytes = b"", *, reading: bool = True
) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """So many connections that say this much and then nothing, and take nothing where they are not `reading`."""
    writers: list[asyncio.StreamWriter] = []
    try:
        for begun in range(0, count, 100):
            some = [asyncio.open_connection("127.0.0.1", port) for _ in range(min(100, count - begun))]
            for opened in await asyncio.gather(*some, return_exceptions=True):
                if isinstance(opened, BaseException):
                    continue  # refused
                writers.append(opened[1])
                if not reading:
                    cast(asyncio.Transport, opened[1].transport).pause_reading()
                if first:
                    opened[1].write(first)
        yield writers
    finally:
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


SLOW = (
    b"POST /v1/chat/comp",
    _HEAD + b"X-Half: a",
    _HEAD + b"Content-Length: 1000\r\n\r\n{",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
)
"""What slow clients have said when they fall silent."""

LARGE = b'{"model":"large","messages":[]}'
LARGE_CALL = _HEAD + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE
"""A call whose answer is large, for clients that read none of it."""
