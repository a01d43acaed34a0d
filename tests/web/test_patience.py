"""Clients that say nothing, stop in the middle, or take nothing of their answer."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from llmqd.web.patience import Patience
from tests.clock import ManualClock
from tests.fake_upstream import Answer, FakeUpstream
from tests.under_test import DaemonUnderTest, RawClient, call, running, upstream_toml

CHAT = "/v1/chat/completions"
NOWHERE = upstream_toml("openai", "http://127.0.0.1:9")


def patience(
    daemon: DaemonUnderTest, clock: ManualClock, seconds: float, *, limit: int = 1000, used: int = 0
) -> Patience:
    return Patience(lambda: daemon.listening.connections, seconds, clock=clock, limit=lambda: limit, used=lambda: used)


async def closed(client: RawClient) -> bool:
    try:
        return await asyncio.wait_for(client.reader.read(1), 0.2) == b""
    except TimeoutError:
        return False


async def test_who_sends_no_first_request_is_closed_and_who_has_called_is_not(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        running(tmp_path, NOWHERE) as daemon,
        RawClient.to(daemon.port) as silent,
        RawClient.to(daemon.port) as half,
        RawClient.to(daemon.port) as known,
    ):
        half.writer.write(b"GET /health HTTP/1.1\r\nX-Half")
        assert (await known.call("GET", "/health")).status == 200
        await daemon.until(lambda: len(daemon.listening.connections) == 3)
        looked = patience(daemon, clock, 10)
        looked.look()
        clock.advance(9.9)
        looked.look()
        assert (await known.call("GET", "/health")).status == 200
        assert not await closed(silent)
        clock.advance(0.2)
        looked.look()
        assert [await closed(each) for each in (silent, half)] == [True, True]
        assert (await known.call("GET", "/health")).status == 200
        assert not looked.faults()


async def test_the_longest_idle_go_when_descriptors_run_short(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        running(tmp_path, NOWHERE) as daemon,
        RawClient.to(daemon.port) as first,
        RawClient.to(daemon.port) as second,
    ):
        await daemon.until(lambda: len(daemon.listening.connections) == 2)
        looked = patience(daemon, clock, 0, limit=4)
        looked.look()
        assert not looked.faults()
        clock.advance(1)
        assert (await first.call("GET", "/health")).status == 200
        looked.look()
        async with RawClient.to(daemon.port) as third:
            await daemon.until(lambda: len(daemon.listening.connections) == 3)
            looked.look()
            assert await closed(second)
            assert "raise LimitNOFILE=" in looked.faults()[0]
            assert (await first.call("GET", "/health")).status == 200
            assert (await third.call("GET", "/health")).status == 200
        clock.advance(60)
        assert not looked.faults()


async def test_it_is_told_when_others_take_the_descriptors(tmp_path: Path) -> None:
    async with running(tmp_path, NOWHERE) as daemon:
        looked = patience(daemon, ManualClock(), 0, limit=100, used=95)
        looked.look()
        assert looked.faults() == [
            "95 files and connections are open; the process may have 100 file descriptors: raise LimitNOFILE="
        ]


async def test_a_body_that_stops_is_refused_in_the_dialect_of_the_route(tmp_path: Path) -> None:
    toml = upstream_toml("openai", "http://127.0.0.1:9")
    async with running(tmp_path, toml, server='client_timeout = "50ms"') as daemon, RawClient.to(daemon.port) as client:
        client.writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{{".encode())
        answer = await client.response()
        assert answer.status == 408
        assert b'"code":"request_timeout"' in answer.body
        assert daemon.waiting == daemon.running == 0


async def test_a_body_that_stops_while_it_passes_is_refused_too(tmp_path: Path) -> None:
    async with (
        FakeUpstream(Answer(body=[b"{}"]), tolerant=True) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url), server='client_timeout = "50ms"') as daemon,
        RawClient.to(daemon.port) as client,
    ):
        client.writer.write(b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        assert (await client.response()).status == 408


async def test_who_takes_nothing_of_an_answer_is_cut(tmp_path: Path) -> None:
    large = Answer(body=[b"x" * 65536] * 400, framing="chunked")
    async with (
        FakeUpstream(large) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url), server='client_timeout = "500ms"') as daemon,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port, limit=1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = b'{"model":"gpt-4o","messages":[]}'
        writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await daemon.until(lambda: daemon.running == 1)
        await daemon.until(lambda: daemon.running == 0, within=30)
        assert reader is not None
        writer.transport.abort()
        assert (await call(daemon.port, "GET", "/health")).status == 200
