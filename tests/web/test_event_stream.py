"""GET /events over real connections."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from llmqd.events import Alert, EventBus, Paused, Queued
from llmqd.web.event_stream import EventStream
from tests.calls import a_call


@dataclass
class Served:
    """The events of a bus, served."""

    bus: EventBus
    client: TestClient[web.Request, web.Application]

    @asynccontextmanager
    async def stream(self, query: str = "", last: str | None = None) -> AsyncIterator[Blocks]:
        headers = {} if last is None else {"Last-Event-ID": last}
        async with self.client.get(f"/events{query}", headers=headers) as response:
            assert response.status == 200
            blocks = Blocks(response)
            assert (await blocks.next()).get("retry") == "2000"
            yield blocks


@dataclass
class Blocks:
    """The blocks of a stream, as fields; a comment is the field ''."""

    response: ClientResponse
    last_id: str = field(default="")

    async def next(self) -> dict[str, str]:
        raw = await asyncio.wait_for(self.response.content.readuntil(b"\n\n"), 5)
        block = {}
        for line in raw.decode().split("\n"):
            if line:
                name, _, value = line.partition(":")
                block[name] = value.removeprefix(" ")
        self.last_id = block.get("id", self.last_id)
        return block


@asynccontextmanager
async def serving(
    *, keep: int = 100, keep_alive: float = 15.0, stalled: float = 20.0, wall: Callable[[], float] = time.time
) -> AsyncIterator[Served]:
    bus = EventBus(wall=wall, keep=keep)
    app = web.Application()
    app.router.add_get("/events", EventStream(bus, keep_alive=keep_alive, stalled=stalled).events)

    async with TestClient(TestServer(app)) as client:
        yield Served(bus, client)


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 (the server has no events for tests)
            await asyncio.sleep(0.001)


def alert(name: str) -> Alert:
    return Alert(name=name, message="m")


async def test_an_event_is_sent_at_once_as_id_type_and_json() -> None:
    async with serving() as served, served.stream() as blocks:
        assert blocks.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert blocks.response.headers["Cache-Control"] == "no-cache, no-transform"
        assert blocks.response.headers["X-Accel-Buffering"] == "no"
        event_id = served.bus.publish(alert("here"))
        block = await blocks.next()
        assert (block["id"], block["event"]) == (str(event_id), "alert")
        told = orjson.loads(block["data"])
        assert (told["id"], told["type"], told["name"]) == (event_id, "alert", "here")


async def test_text_with_line_breaks_stays_one_event() -> None:
    async with serving() as served, served.stream() as blocks:
        served.bus.publish(Alert(name="x", message="one\r\ntwo\n\nevent: forged\u2028"))
        assert orjson.loads((await blocks.next())["data"])["message"] == "one\r\ntwo\n\nevent: forged\u2028"


@pytest.mark.parametrize("by", ["header", "parameter"])
async def test_a_client_resumes_behind_its_last_event(by: str) -> None:
    async with serving() as served:
        ids = [served.bus.publish(alert(str(number))) for number in range(5)]
        last = str(ids[1])
        query = f"?last_event_id={last}" if by == "parameter" else ""
        async with served.stream(query, last if by == "header" else None) as blocks:
            got = [int((await blocks.next())["id"]) for _ in range(3)]
        assert got == ids[2:]


async def test_a_client_that_never_had_an_event_can_resume_by_the_id_of_the_beginning() -> None:
    async with serving() as served:
        async with served.stream() as blocks:
            pass
        missed = served.bus.publish(alert("meanwhile"))
        async with served.stream(last=blocks.last_id) as again:
            assert (await again.next())["id"] == str(missed)


async def test_a_gap_is_told_without_an_id() -> None:
    async with serving(keep=2) as served:
        ids = [served.bus.publish(alert(str(number))) for number in range(5)]
        async with served.stream(last=str(ids[0])) as blocks:
            gap = await blocks.next()
            assert (gap["event"], "id" in gap) == ("gap", False)
            assert orjson.loads(gap["data"]) == {"type": "gap", "after": ids[0], "next": ids[3]}
            assert (await blocks.next())["id"] == str(ids[3])


async def test_filters_by_type_lane_and_session() -> None:
    call = a_call(id="wanted")
    async with serving() as served, served.stream("?types=queued,alert&lane=a&lane=b") as blocks:
        served.bus.publish(Queued.of(a_call(), "c", position=1, eta=0))
        served.bus.publish(Paused(lane="a", reason="", seconds=None, by="operator"))
        served.bus.publish(alert("of no lane"))
        served.bus.publish(Queued.of(call, "b", position=1, eta=0))
        assert orjson.loads((await blocks.next())["data"])["request_id"] == "wanted"


async def test_a_session_id_with_a_comma_is_one_session() -> None:
    async with serving() as served, served.stream("?session=a,b") as blocks:
        served.bus.publish(Alert(name="1", message="", session="a"))
        served.bus.publish(Alert(name="2", message="", session="a,b"))
        assert orjson.loads((await blocks.next())["data"])["name"] == "2"


async def test_silence_is_filled_with_comments_that_carry_the_position() -> None:
    async with serving(keep_alive=0.02) as served, served.stream("?types=paused") as blocks:
        unwanted = served.bus.publish(alert("x"))
        block = await blocks.next()
        while block["id"] != str(unwanted):
            block = await blocks.next()
        assert (block[""], "data" in block) == ("keep-alive", False)


@pytest.mark.parametrize(
    ("query", "last", "named"),
    [
        ("?types=queued,nonsense", None, "types: 'nonsense'"),
        ("?last_event_id=abc", None, "last_event_id: 'abc'"),
        ("", "-1", "Last-Event-ID: '-1'"),
        ("", "9" * 19, "Last-Event-ID"),
    ],
)
async def test_a_wrong_parameter_is_422_and_named(query: str, last: str | None, named: str) -> None:
    async with serving() as served:
        headers = {} if last is None else {"Last-Event-ID": last}
        async with served.client.get(f"/events{query}", headers=headers) as response:
            error = (await response.json())["error"]
        assert (response.status, error["code"]) == (422, "bad_field")
        assert named in error["message"]
        assert served.bus.listeners == 0


async def test_head_tells_the_type_and_ends() -> None:
    async with serving() as served, served.client.head("/events") as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert served.bus.listeners == 0


async def test_closing_ends_every_stream_cleanly_and_refuses_new_ones() -> None:
    async with serving() as served:
        async with served.stream() as blocks:
            last = served.bus.publish(alert("last"))
            served.bus.close()
            assert (await blocks.next())["id"] == str(last)
            assert await asyncio.wait_for(blocks.response.content.read(), 5) == b""
        async with served.client.get("/events") as response:
            assert (response.status, response.headers["x-should-retry"]) == (503, "true")


async def test_a_client_that_leaves_is_forgotten() -> None:
    async with serving() as served:
        async with served.stream() as blocks:
            assert served.bus.listeners == 1
            blocks.response.close()
        await eventually(lambda: served.bus.listeners == 0)


async def test_a_client_that_takes_nothing_is_cut_and_its_neighbour_misses_nothing() -> None:
    async with serving(keep=10_000, stalled=0.2) as served, served.stream() as blocks:
        assert served.client.port is not None
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(stuck, ("127.0.0.1", served.client.port))
            await loop.sock_sendall(stuck, b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            await eventually(lambda: served.bus.listeners == 2)
            for number in range(1000):
                served.bus.publish(Alert(name=str(number), message="x" * 10_000))
            got = [orjson.loads((await blocks.next())["data"])["name"] for _ in range(1000)]
            assert got == [str(number) for number in range(1000)]
            await eventually(lambda: served.bus.listeners == 1)
