"""The bench's server: arrivals in the order of the kernel's clock, answers on time, places counted as they are held."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bench.queue.load import fetch, post, read_answer
from bench.queue.server import StrictServer, schedule
from tests.fake_upstream import Answer, Concurrency, Received, json_answer, sse

CALL = post("/v1/chat/completions", b"{}")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def serving(
    script: Callable[[Received], Answer], limiter: Concurrency | None = None
) -> AsyncIterator[tuple[StrictServer, Callable[[], asyncio.Future[Streams]]]]:
    server = StrictServer(script, limiter)
    opened: list[Streams] = []

    async def client() -> Streams:
        opened.append(await asyncio.open_connection("127.0.0.1", server.port))
        return opened[-1]

    try:
        yield server, lambda: asyncio.ensure_future(client())
    finally:
        for _, writer in opened:
            writer.close()
        server.close()


async def test_calls_on_one_connection_are_answered_one_after_the_other() -> None:
    async with serving(lambda request: json_answer({"path": request.path})) as (_, client):
        reader, writer = await client()
        for path in ("/a", "/b"):
            writer.write(post(path, b"{}"))
            assert await read_answer(reader) == (200, b'{"path":"%b"}' % path.encode())
        writer.write(post("/c", b"{}") + post("/d", b"{}"))
        assert [(await read_answer(reader))[1] for _ in range(2)] == [b'{"path":"/c"}', b'{"path":"/d"}']


async def test_arrivals_bear_the_time_at_which_the_kernel_had_them_and_are_judged_in_its_order() -> None:
    seen: list[Received] = []

    def script(request: Received) -> Answer:
        seen.append(request)
        return json_answer({})

    async with serving(script) as (_, client):
        clients = [await client() for _ in range(20)]
        sent = []
        for number, (_, writer) in enumerate(reversed(clients)):
            sent.append(time.time())
            writer.write(post(f"/{number}", b"{}"))
        time.sleep(0.05)  # noqa: ASYNC251 (the server shall be late)
        await asyncio.gather(*(read_answer(reader) for reader, _ in clients))
    assert [request.path for request in seen] == [f"/{number}" for number in range(20)]
    assert [request.at for request in seen] == sorted(request.at for request in seen)
    assert max(abs(request.at - at) for request, at in zip(seen, sent, strict=True)) < 0.04


async def test_an_answer_ends_when_it_shall_however_many_steps_it_has() -> None:
    whole = sse([b"data: x"] * 50)
    body = [step for part in whole.body for step in (0.004, part)]
    async with serving(lambda _: whole.but(body=body)) as (_, client):
        reader, writer = await client()
        began = time.monotonic()
        writer.write(CALL)
        assert (await read_answer(reader))[1] == b"data: x\n\n" * 50
        assert 0.19 <= time.monotonic() - began <= 0.3


async def test_calls_beyond_the_places_are_refused_and_places_come_back() -> None:
    slow = json_answer({}).but(before=[0.1])
    async with serving(lambda _: slow, Concurrency(2)) as (server, client):
        clients = [await client() for _ in range(3)]
        for _, writer in clients:
            writer.write(CALL)
        statuses = [(await read_answer(reader))[0] for reader, _ in clients]
        assert sorted(statuses) == [200, 200, 429]
        assert server.refused == 1
        assert all(0.09 < end - begin < 0.2 for begin, end in server.played)
        clients[0][1].write(CALL)
        assert (await read_answer(clients[0][0]))[0] == 200


async def test_a_client_that_leaves_gives_its_place_back() -> None:
    async with serving(lambda _: json_answer({}).but(before=[60.0]), Concurrency(1)) as (server, client):
        _, writer = await client()
        writer.write(CALL)
        await _until(lambda: bool(server.played))
        writer.close()
        await _until(lambda: len(server.played[0]) == 2)


async def _until(predicate: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not predicate():  # noqa: ASYNC110 (the server has no events for tests)
            await asyncio.sleep(0.001)


async def test_a_reset_comes_before_the_status_line() -> None:
    async with serving(lambda _: Answer(end="reset", headers_sent=False)) as (_, client):
        reader, writer = await client()
        writer.write(CALL)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


async def test_a_large_answer_arrives_whole() -> None:
    numbers = list(range(500_000))
    async with serving(lambda _: json_answer(numbers)) as (server, _):
        assert await fetch(server.port, "/") == numbers


async def test_what_is_no_http_is_hung_up_on() -> None:
    async with serving(lambda _: json_answer({})) as (_, client):
        reader, writer = await client()
        writer.write(b"nonsense\r\n\r\n")
        assert await reader.read() == b""


def test_what_goes_out_at_the_same_moment_is_one_write() -> None:
    assert len(schedule(json_answer({"a": 1}))) == 1
    steps = schedule(sse([b"data: 1", b"data: 2"]).but(body=[0.5, b"1", b"2", 0.5, b"3"]))
    assert [offset for offset, _ in steps] == [0.0, 0.5, 1.0]
    assert steps[1][1] == b"1\r\n1\r\n1\r\n2\r\n"
    assert steps[2][1] == b"1\r\n3\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(framing="close"),
        Answer(raw=True, body=[b"x"]),
        Answer(end="hang"),
        Answer(end="reset"),
        Answer(framing="chunked", trailers=[("a", "b")]),
    ],
)
def test_answers_that_it_cannot_play_are_refused(answer: Answer) -> None:
    with pytest.raises(ValueError, match=r"server|reset"):
        schedule(answer)
