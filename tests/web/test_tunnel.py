"""WebSockets pass through: handshake, frames of every kind, closes, and refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.fake_upstream import FakeUpstream
from tests.under_test import DaemonUnderTest, RawClient, running, upstream_toml

REALTIME = "/v1/realtime?model=gpt-realtime"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(keys={"sk-upstream"}) as fake:
        yield fake


@pytest.fixture
async def daemon(tmp_path: Path, upstream: FakeUpstream) -> AsyncIterator[DaemonUnderTest]:
    async with running(tmp_path, upstream_toml("openai", upstream.url)) as running_daemon:
        yield running_daemon


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


async def test_frames_of_every_kind_pass_both_ways(
    daemon: DaemonUnderTest, upstream: FakeUpstream, session: aiohttp.ClientSession
) -> None:
    async with session.ws_connect(daemon.url + REALTIME, autoping=False, max_msg_size=0) as socket:
        await socket.send_str("héllo")
        assert (await socket.receive_str(timeout=5)) == "héllo"
        await socket.send_bytes(b"\x00\xff" * 500_000)
        assert await socket.receive_bytes(timeout=5) == b"\x00\xff" * 500_000
        await socket.ping(b"are you there")
        answer = await socket.receive(timeout=5)
        assert (answer.type, bytes(answer.data)) == (aiohttp.WSMsgType.PONG, b"are you there")
        await socket.close(code=4001, message=b"done")
    await upstream.until(lambda: upstream.websocket_closes == [4001])
    await daemon.until(lambda: daemon.running == 0)
    assert await daemon.ledger.settled(5)
    assert await daemon.ledger.count_by_status() == {"done": 1}


async def test_the_upstream_chooses_the_subprotocol_and_never_sees_the_client_s_key(
    daemon: DaemonUnderTest, upstream: FakeUpstream, session: aiohttp.ClientSession
) -> None:
    protocols = ("realtime", "openai-insecure-api-key.sk-client")
    async with session.ws_connect(daemon.url + REALTIME, protocols=protocols) as socket:
        assert socket.protocol == "realtime"
    assert upstream.requests[0].target == REALTIME
    assert b"sk-client" not in upstream.requests[0].raw_head
    assert upstream.requests[0].header("authorization") == "Bearer sk-upstream"


async def test_the_model_in_the_query_is_routed_renamed_and_recorded(
    tmp_path: Path, upstream: FakeUpstream, session: aiohttp.ClientSession
) -> None:
    async with FakeUpstream() as other:
        toml = upstream_toml("openai", other.url) + upstream_toml("groq", upstream.url)
        route = '[[route]]\nmodel = "gpt-real*"\nupstreams = [{ name = "groq", model = "ours/1" }]\n'
        async with running(tmp_path, toml + route) as daemon:
            async with session.ws_connect(f"{daemon.url}/v1/realtime?a=%20&model=gpt%2Drealtime&model") as socket:
                await socket.send_str("x")
                request_id = socket._response.headers["X-LLMQD-Request-Id"]
            record = await daemon.record(request_id)
            assert (record.call.model, record.call.sent_model, record.call.upstream) == (
                "gpt-realtime", "ours/1", "groq",
            )  # fmt: skip
        assert not other.requests
    assert upstream.requests[0].target.endswith("/realtime?a=%20&model=ours%2F1&model=ours%2F1")


async def test_a_refused_handshake_is_the_upstream_s_own_answer(tmp_path: Path) -> None:
    async with (
        FakeUpstream(keys={"another"}) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url)) as daemon,
        RawClient.to(daemon.port) as client,
    ):
        await client.send(
            "GET",
            REALTIME,
            headers={
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Version": "13",
            },
        )
        response = await client.response()
        assert response.status == 401
        assert b"error" in response.body


async def test_a_client_that_vanishes_closes_the_upstream(
    daemon: DaemonUnderTest, upstream: FakeUpstream, session: aiohttp.ClientSession
) -> None:
    socket = await session.ws_connect(daemon.url + REALTIME)
    await socket.send_str("x")
    await socket.receive_str(timeout=5)
    assert socket._response.connection is not None
    assert socket._response.connection.transport is not None
    socket._response.connection.transport.abort()
    await upstream.until(lambda: upstream.open_connections == 0)
    await daemon.until(lambda: daemon.running == 0)
    await socket.close()


async def test_an_upstream_that_vanishes_closes_the_client(
    daemon: DaemonUnderTest, upstream: FakeUpstream, session: aiohttp.ClientSession
) -> None:
    async with session.ws_connect(daemon.url + REALTIME) as socket:
        await socket.send_str("x")
        await socket.receive_str(timeout=5)
        await upstream.stop()
        message = await socket.receive(timeout=5)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR)
    await daemon.until(lambda: daemon.running == 0)
