from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp.streams import StreamReader

from llmqd.wire import Body, Wire, WireConnector
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


class Closing(Transport):
    """Can be closed, too."""

    def close(self) -> None:
        self.asked.append("close")


def begun(head: bytes) -> tuple[Wire, Closing]:
    """A connection over which a request has been written and the first bytes of its answer have come."""
    wire, transport = Wire(asyncio.get_running_loop()), Closing()
    wire.connection_made(transport)
    wire.begin(bodyless=False, max_header=8190)
    wire.data_received(head)
    return wire, transport


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


@pytest.mark.parametrize("wire_bytes", [CHUNKED + b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n", LONG + b"helloworld"])
async def test_an_answer_cut_at_any_byte_is_the_same(wire_bytes: bytes) -> None:
    for cut in range(1, len(wire_bytes)):
        wire, _ = begun(wire_bytes[:cut])
        wire.data_received(wire_bytes[cut:])
        message, body = await wire.read()
        assert (message.code, await body.readany(), body.at_eof()) == (200, b"helloworld", True)
        assert not wire.should_close


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (CHUNKED, Body),
        (LONG, Body),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n", Body),
        (CHUNKED.replace(b"\r\n", b"\n"), StreamReader),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", StreamReader),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", StreamReader),
    ],
)
async def test_usual_bodies_are_read_here_and_others_by_aiohttp(head: bytes, kind: type) -> None:
    wire, _ = begun(head)
    _, body = await wire.read()
    assert type(body) is kind


@pytest.mark.parametrize("head", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"])
async def test_an_answer_without_a_body_has_none(head: bytes) -> None:
    wire, _ = begun(head)
    _, body = await wire.read()
    assert body.at_eof()
    assert not wire.should_close


async def test_an_informational_answer_comes_before_the_answer() -> None:
    wire, _ = begun(b"HTTP/1.1 100 Continue\r\n\r\n" + LONG + b"helloworld")
    assert (await wire.read())[0].code == 100
    message, body = await wire.read()
    assert (message.code, await body.readany()) == (200, b"helloworld")


@pytest.mark.parametrize("head", [CHUNKED + b"5\r\nhello\r\n", LONG + b"hello"])
@pytest.mark.parametrize("error", [None, ConnectionResetError(104, "reset")])
async def test_what_came_before_a_break_is_given_before_it_is_told(head: bytes, error: Exception | None) -> None:
    wire, _ = begun(head)
    _, body = await wire.read()
    assert wire.should_close
    wire.connection_lost(error)
    assert await body.readany() == b"hello"
    with pytest.raises(aiohttp.ClientPayloadError, match="not completed"):
        await body.readany()
    with pytest.raises(aiohttp.ClientPayloadError, match="not completed"):
        body.read_nowait()


async def test_who_waits_for_bytes_is_woken_by_the_break() -> None:
    wire, _ = begun(LONG)
    _, body = await wire.read()
    waiting = asyncio.create_task(body.readany())
    await asyncio.sleep(0)
    wire.connection_lost(None)
    with pytest.raises(aiohttp.ClientPayloadError):
        await waiting


async def test_what_is_no_chunk_breaks_the_answer_and_closes() -> None:
    wire, transport = begun(CHUNKED + b"5\r\nhello\r\n")
    wire.data_received(b"nonsense\r\n")
    _, body = await wire.read()
    assert await body.readany() == b"hello"
    with pytest.raises(aiohttp.ClientPayloadError, match="no size of a chunk"):
        await body.readany()
    assert wire.should_close
    assert transport.asked == ["close"]


@pytest.mark.parametrize("head", [CHUNKED + b"5\r\nhello\r\n0\r\n\r\nmore", LONG + b"helloworldmore"])
async def test_a_connection_with_more_than_its_answer_is_not_used_again(head: bytes) -> None:
    wire, _ = begun(head)
    _, body = await wire.read()
    assert (await body.readany()).startswith(b"hello")
    assert wire.should_close


async def test_an_upstream_waits_while_its_body_is_not_read() -> None:
    wire, transport = begun(CHUNKED)
    _, body = await wire.read()
    for _ in range(3):
        wire.data_received(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
    assert transport.asked == ["pause"]
    assert len(await body.readany()) == 3 * 0x10000
    assert transport.asked == ["pause", "resume"]


async def test_the_end_of_a_body_lets_the_connection_go_on() -> None:
    wire, transport = begun(CHUNKED)
    _, body = await wire.read()
    ended: list[bool] = []
    body.on_eof(lambda: ended.append(True))
    wire.data_received(b"30000\r\n" + b"x" * 0x30000 + b"\r\n")
    assert transport.asked == ["pause"]
    assert ended == []
    wire.data_received(b"0\r\n\r\n")
    assert transport.asked == ["pause", "resume"]
    assert ended == [True]
    assert not wire.should_close
