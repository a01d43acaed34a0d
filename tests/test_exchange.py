"""One call over one kept connection: what stands on the wire, when the connection is used again, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Literal

import aiohttp
import pytest
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from llmqd.exchange import Exchange, exchange, pour
from llmqd.outbound import Outbound
from llmqd.pool import Origin, Pool
from llmqd.wire import WireConnector
from tests.fake_upstream import Answer, FakeUpstream, json_answer, rechunked

ANY_TIME = aiohttp.ClientTimeout(total=None)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with WireConnector(limit=0) as connector:
        pool = Pool(connector, most=lambda: 100)
        yield pool
        pool.close()


async def asked(
    origin: Origin,
    body: bytes | None = b"{}",
    *,
    method: str = "POST",
    silence: float = 20.0,
    left: Callable[[], object] = bool,
) -> Exchange:
    connection, _ = await origin.lease(ANY_TIME)
    request = Outbound(method, "http://u.test/x", CIMultiDict())
    return await exchange(origin, connection, request, body, left=left, silence=silence, max_header=8190)


async def whole(answer: Exchange) -> bytes:
    body = b""
    while piece := await answer.content.readany():
        body += piece
    return body


async def test_a_connection_is_used_again_when_its_answer_has_ended(pool: Pool) -> None:
    async with FakeUpstream(json_answer({"ok": 1})) as upstream:
        origin = pool.origin(upstream.url, True)
        assert await whole(await asked(origin)) == await whole(await asked(origin))
        connection, reused = await origin.lease(ANY_TIME)
        connection.close()
        assert reused
        assert upstream.connections == 1


async def test_a_connection_whose_answer_was_left_is_closed(pool: Pool) -> None:
    async with FakeUpstream(Answer(end="hang", body=[b"x"], framing="chunked")) as upstream:
        origin = pool.origin(upstream.url, True)
        answer = await asked(origin)
        assert await answer.content.readany() == b"x"
        answer.close()
        connection, reused = await origin.lease(ANY_TIME)
        assert not reused
        connection.close()


async def test_a_call_tells_when_it_is_written_and_a_request_of_each_method_is_whole(pool: Pool) -> None:
    async with FakeUpstream(json_answer({})) as upstream:
        origin = pool.origin(upstream.url, True)
        told: list[bool] = []
        await whole(await asked(origin, b"abc", left=lambda: told.append(True)))
        await whole(await asked(origin, None, method="GET"))
        await whole(await asked(origin, None, method="HEAD"))
        await whole(await asked(origin, None, method="DELETE"))
        assert told == [True]
        assert [(each.method, each.body) for each in upstream.requests] == [
            ("POST", b"abc"),
            ("GET", b""),
            ("HEAD", b""),
            ("DELETE", b""),
        ]


async def test_silence_is_counted_only_while_bytes_are_waited_for(pool: Pool) -> None:
    async with FakeUpstream(Answer(end="hang", body=[b"x"], framing="chunked")) as upstream:
        answer = await asked(pool.origin(upstream.url, True), silence=0.2)
        await asyncio.sleep(0.3)  # nobody reads: the client may be slow
        assert await answer.content.readany() == b"x"
        with pytest.raises(aiohttp.SocketTimeoutError):
            await answer.content.readany()
        answer.close()


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_what_is_poured_comes_whole_and_stops_where_it_is_told_to(
    pool: Pool, framing: Literal["chunked", "close"]
) -> None:
    data = bytes(range(256)) * 50
    answer = rechunked(Answer(body=[data], framing=framing), range(7, len(data), 700))
    async with FakeUpstream(answer) as upstream:
        content, got, stops = (await asked(pool.origin(upstream.url, True))).content, list[bytes](), 0

        def take(piece: bytes) -> bool:
            got.append(piece)
            return len(got) % 3 == 0

        while await pour(content, take):
            stops += 1
            assert len(got) == 3 * stops
        assert b"".join(got) == data
        assert not await pour(content, take)


async def test_who_is_poured_to_is_told_of_its_own_fault_and_of_silence(pool: Pool) -> None:
    async with FakeUpstream(Answer(end="hang", body=[b"x"], framing="chunked")) as upstream:
        answer = await asked(pool.origin(upstream.url, True), silence=0.1)

        def faulty(_: bytes) -> bool:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await pour(answer.content, faulty)
        with pytest.raises(aiohttp.SocketTimeoutError):
            await pour(answer.content, lambda _: False)
        answer.close()


async def test_what_broke_off_is_told_behind_its_last_bytes(pool: Pool) -> None:
    async with FakeUpstream(Answer(end="reset", body=[b"abc", b"def"], framing="chunked")) as upstream:
        answer, got = await asked(pool.origin(upstream.url, True)), list[bytes]()

        def take(piece: bytes) -> bool:
            got.append(piece)
            return False

        with pytest.raises((aiohttp.ClientError, OSError)):
            await pour(answer.content, take)
        answer.close()
        assert b"abcdef".startswith(b"".join(got))


async def test_silence_before_the_head_ends_the_call(pool: Pool) -> None:
    async with FakeUpstream(Answer(end="hang", headers_sent=False)) as upstream:
        with pytest.raises(aiohttp.SocketTimeoutError):
            await asked(pool.origin(upstream.url, True), silence=0.05)


async def test_what_is_no_http_is_raised_and_not_kept(pool: Pool) -> None:
    async with FakeUpstream(Answer(raw=True, body=[b"SSH-2.0-OpenSSH_9.2\r\n"])) as upstream:
        origin = pool.origin(upstream.url, True)
        with pytest.raises((HttpProcessingError, aiohttp.ClientError)):
            await asked(origin)


async def test_a_stream_comes_byte_for_byte(pool: Pool) -> None:
    data = bytes(range(256)) * 50
    async with FakeUpstream(rechunked(Answer(body=[data], framing="chunked"), range(7, len(data), 7))) as upstream:
        assert await whole(await asked(pool.origin(upstream.url, True))) == data


async def test_a_closed_pool_gives_nothing() -> None:
    async with aiohttp.TCPConnector() as connector:
        pool = Pool(connector, most=lambda: 100)
        pool.close()
        with pytest.raises(RuntimeError):
            pool.origin("http://127.0.0.1:9", True)


async def test_a_request_is_written_only_when_it_may_leave(pool: Pool) -> None:
    async with FakeUpstream(json_answer({})) as upstream:
        origin, order = pool.origin(upstream.url, True), list[str]()
        connection, _ = await origin.lease(ANY_TIME)

        async def poised() -> None:
            await asyncio.sleep(0.05)
            order.append(f"may leave, {len(upstream.requests)} there")

        answer = await exchange(
            origin,
            connection,
            Outbound("POST", "http://u.test/x", CIMultiDict()),
            b"{}",
            poised=poised,
            left=lambda: order.append("left"),
            silence=20.0,
            max_header=8190,
        )
        await whole(answer)
        assert order == ["may leave, 0 there", "left"]
