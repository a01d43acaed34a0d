"""A passed answer goes out as aiohttp would write it, head and body in one, and no faster than its client takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from aiohttp import web
from multidict import CIMultiDict

from llmqd.config.address import Address
from llmqd.systemd import Notifier
from llmqd.web.listening import Listening
from llmqd.web.passed import PassedResponse

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def answer_of(answering: Answering, request: bytes) -> bytes:
    """All that comes over the connection of somebody who sends this."""
    app = web.Application()
    app.router.add_route("*", "/", answering)
    async with Listening(app, [Address("127.0.0.1", 0)], grace=1, max_header=65536, notifier=Notifier({})) as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(listening.addresses[0].rpartition(":")[2]))
        writer.write(request)
        try:
            async with asyncio.timeout(0.3):
                got = await reader.read()
        except TimeoutError:  # it is kept open
            got = b"kept: " + bytes(reader._buffer)  # type: ignore[attr-defined]
        writer.close()
        await writer.wait_closed()
    return got


def sent(kind: type[web.StreamResponse], status: int, length: bool, body: bool) -> Answering:
    async def answering(request: web.Request) -> web.StreamResponse:
        headers = CIMultiDict({"Content-Type": "x/y", "Server": "s", "Date": "d"})
        if length:
            headers["Content-Length"] = "6" if body else "0"
        response = kind(status=status, headers=headers)
        await response.prepare(request)
        if body:
            await response.write(b"abc")
        await response.write_eof(b"def" if body else b"")
        return response

    return answering


OWN = (b"X-Content-Type-Options", b"X-Frame-Options", b"Referrer-Policy", b"Cache-Control")


def without_own(answer: bytes) -> bytes:
    head, blank, body = answer.partition(b"\r\n\r\n")
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith((*OWN, b"Server"))) + blank + body


@pytest.mark.parametrize("length", [False, True])
@pytest.mark.parametrize("status", [200, 204, 304, 404, 599])
@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n",
        b"GET / HTTP/1.0\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n",
        b"HEAD / HTTP/1.1\r\n",
    ],
)
async def test_head_and_framing_are_those_of_aiohttp(start: bytes, status: int, length: bool) -> None:
    body = not start.startswith(b"HEAD") and status not in (204, 304)
    request = start + b"Host: x\r\n\r\n"
    passed, own = await asyncio.gather(
        answer_of(sent(PassedResponse, status, length, body), request),
        answer_of(sent(web.StreamResponse, status, length, body), request),
    )
    if b"1.0" in start and b"keep-alive" in start and body and not length:
        # Only the end of the connection ends such a body: aiohttp keeps it, and its client waits for ever.
        assert b"\r\nConnection:" not in passed
        assert passed.endswith(b"\r\n\r\nabcdef")
        return
    assert without_own(passed) == without_own(own)


async def test_head_body_and_end_leave_in_one_write() -> None:
    written: list[bytes] = []

    async def answering(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        response = PassedResponse(status=200, headers={"Date": "d"})
        await response.prepare(request)
        request.protocol.transport = cast(asyncio.Transport, _Noting(transport, written))
        await response.write_eof(b"all of it")
        return response

    await answer_of(answering, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert written == [b"HTTP/1.1 200 OK\r\nDate: d\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n\r\n"]


class _Noting:
    """A transport whose writes are noted."""

    def __init__(self, transport: asyncio.Transport, written: list[bytes]) -> None:
        self._transport = transport
        self._written = written

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._written.append(data)
        self._transport.write(data)


async def test_what_a_client_does_not_take_is_not_written() -> None:
    wrote = 0

    async def answering(request: web.Request) -> web.StreamResponse:
        nonlocal wrote
        response = PassedResponse(status=200)
        await response.prepare(request)
        while True:
            await response.write(bytes(100_000))
            wrote += 100_000

    app = web.Application()
    app.router.add_get("/", answering)
    async with Listening(app, [Address("127.0.0.1", 0)], grace=0, max_header=65536, notifier=Notifier({})) as listening:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(listening.addresses[0].rpartition(":")[2]), limit=1000
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readline()
        await asyncio.sleep(0.2)
        stalled = wrote
        await asyncio.sleep(0.2)
        assert 0 < stalled == wrote < 50_000_000
        writer.close()
