from __future__ import annotations

import asyncio

import aiohttp

from llmqd.wire import Wire, WireConnector
from tests.fake_upstream import FakeUpstream
from tests.fake_upstream.script import Answer

PIECES = [b"x" * 10_000] * 300


class Transport(asyncio.Transport):
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")


async def test_only_what_was_paused_is_resumed() -> None:
    wire, transport = Wire(asyncio.get_running_loop()), Transport()
    wire.connection_made(transport)
    wire.set_response_params()
    wire.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    wire.resume_reading()
    assert transport.asked == []
    wire.pause_reading()
    wire.resume_reading()
    wire.resume_reading()
    assert transport.asked == ["pause", "resume"]


async def test_a_body_that_is_not_read_for_a_while_is_held_back_and_comes_whole() -> None:
    async with (
        FakeUpstream(lambda _: Answer(body=PIECES)) as upstream,
        WireConnector() as connector,
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"{upstream.url}/v1/models") as answer,
    ):
        assert answer.connection is not None
        wire = answer.connection.protocol
        assert isinstance(wire, Wire)
        async with asyncio.timeout(10):
            while not wire._reading_paused:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
        assert await answer.read() == b"".join(PIECES)
