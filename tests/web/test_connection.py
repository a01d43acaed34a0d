"""What becomes of a connection when a request cannot be handled."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from aiohttp import web

from llmqd.config.address import Address
from llmqd.systemd import Notifier
from llmqd.web.listening import Listening
from tests.fake_upstream import FakeUpstream
from tests.under_test import running, upstream_toml


async def answer_of(app: web.Application, request: bytes) -> bytes:
    """All that somebody gets who sends this."""
    async with Listening(app, [Address("127.0.0.1", 0)], grace=1, max_header=65536, notifier=Notifier({})) as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(listening.addresses[0].rpartition(":")[2]))
        writer.write(request)
        got = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()
    return got


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_left_costs_no_traceback_and_no_answer(
    caplog: pytest.LogCaptureFixture, begun: bool
) -> None:
    async def left(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if begun:
            await response.prepare(request)
            await response.write(b"half")
        raise ConnectionResetError("Cannot write to closing transport")

    app = web.Application()
    app.router.add_get("/", left)
    with caplog.at_level(logging.INFO):
        got = await answer_of(app, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 500 " not in got
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


async def test_an_answer_of_unknown_length_ends_with_its_connection_where_there_are_no_chunks() -> None:
    async def streamed(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"all of it")
        return response

    app = web.Application()
    app.router.add_get("/", streamed)
    got = await answer_of(app, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert got.endswith(b"\r\n\r\nall of it")


async def test_who_goes_on_after_a_stop_is_cut_when_the_grace_is_over_and_may_tidy_up() -> None:
    began, tidied = asyncio.Event(), asyncio.Event()

    async def endless(_: web.Request) -> web.StreamResponse:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidied.set()
        raise AssertionError

    app, grace = web.Application(), 0.5
    app.router.add_get("/", endless)
    clock = asyncio.get_running_loop().time
    addresses, notifier = [Address("127.0.0.1", 0)], Notifier({})
    async with Listening(app, addresses, grace=grace, max_header=65536, notifier=notifier) as listening:
        _, writer = await asyncio.open_connection("127.0.0.1", int(listening.addresses[0].rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await began.wait()
        stopped = clock()
    assert grace <= clock() - stopped < 2 * grace
    assert tidied.is_set()
    writer.close()
    await writer.wait_closed()


async def test_a_fault_of_a_handler_is_told_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def faulty(_: web.Request) -> web.StreamResponse:
        raise ZeroDivisionError

    app = web.Application()
    app.router.add_get("/", faulty)
    got = await answer_of(app, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 500 " in got
    assert [record for record in caplog.records if record.exc_info]


PLACES = {
    "a call that waits": "/v1/chat/completions",
    "a call that goes through": "/v1/files",
    "an own URL": "/api/v1/sessions/search",
}


@pytest.mark.parametrize("path", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("broken", [b"zz\r\n", b"5\r\nhello, world\r\n"], ids=["size", "end"])
async def test_a_chunk_that_is_none_is_400_at_once_and_the_end_of_the_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str, broken: bytes
) -> None:
    async with (
        FakeUpstream(tolerant=True) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url), server='client_timeout = "1h"') as daemon,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head % path.encode() + b"2\r\n{ \r\n")
        await asyncio.sleep(0.1)  # it has been begun with by now; if not, the answer is no other
        writer.write(broken)
        got = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()
    assert got.startswith(b"HTTP/1.1 400 ")
    assert got.count(b"HTTP/1.1 ") == 1
    assert b"not valid HTTP" in got
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
