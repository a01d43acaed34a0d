"""Connections between calls: how many there are, who waits for one, and who gets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp.tracing import Trace

from llmqd.pool import Origin, Pool
from tests.fake_upstream import FakeUpstream, json_answer

ANY_TIME = aiohttp.ClientTimeout(total=None)


class Counting(aiohttp.TCPConnector):
    """Knows how many connections it has been making at the same time; `gate` holds all of them."""

    def __init__(self) -> None:
        super().__init__(limit=0)
        self.making = self.most = self.made = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._one_more = asyncio.Condition()

    async def has_made(self, number: int) -> None:
        async with self._one_more:
            await self._one_more.wait_for(lambda: self.made >= number)

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        self.making += 1
        self.most = max(self.most, self.making)
        try:
            await self.gate.wait()
            made = await super().connect(req, traces, timeout)
            self.made += 1
            async with self._one_more:
                self._one_more.notify_all()
            return made
        finally:
            self.making -= 1


@pytest.fixture
async def connector() -> AsyncIterator[Counting]:
    running = Counting()
    async with running:
        yield running


@pytest.fixture
async def pool_of(connector: Counting) -> AsyncIterator[Callable[[int], Pool]]:
    pools: list[Pool] = []

    def make(most: int) -> Pool:
        pools.append(Pool(connector, most=lambda: most))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


async def call(origin: Origin, done: list[bool], hold: asyncio.Event | None = None) -> None:
    connection, reused = await origin.lease(ANY_TIME)
    if hold is not None:
        await hold.wait()
    await asyncio.sleep(0)
    done.append(reused)
    origin.give_back(connection)


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_crowd_makes_so_many_connections_at_a_time_and_uses_those_that_come_back(
    connector: Counting, pool_of: Callable[[int], Pool]
) -> None:
    async with FakeUpstream(json_answer({})) as upstream:
        origin, done = pool_of(10_000).origin(upstream.url, True), list[bool]()
        connector.gate.clear()
        calls = [asyncio.create_task(call(origin, done)) for _ in range(1000)]
        await turns()
        assert connector.making == 128
        connector.gate.set()
        await asyncio.gather(*calls)
        assert connector.most == 128
        assert len(done) == 1000
        assert done.count(False) == connector.made < 1000


async def test_no_more_connections_than_there_is_room_for(connector: Counting, pool_of: Callable[[int], Pool]) -> None:
    async with FakeUpstream(json_answer({})) as upstream:
        origin, done, hold = pool_of(3).origin(upstream.url, True), list[bool](), asyncio.Event()
        calls = [asyncio.create_task(call(origin, done, hold)) for _ in range(9)]
        await connector.has_made(3)
        await turns()
        assert connector.making == 0
        hold.set()
        await asyncio.gather(*calls)
        assert sorted(done) == [False] * 3 + [True] * 6
        assert upstream.connections == 3


async def test_a_connection_that_is_kept_makes_room_for_another_place(
    connector: Counting, pool_of: Callable[[int], Pool]
) -> None:
    async with FakeUpstream(json_answer({})) as one, FakeUpstream(json_answer({})) as other:
        pool, done = pool_of(1), list[bool]()
        for _ in range(2):
            await call(pool.origin(one.url, True), done)
            await call(pool.origin(other.url, True), done)
        assert done == [False] * 4


async def test_who_waits_for_another_place_gets_the_room_of_a_call_that_ends(
    connector: Counting, pool_of: Callable[[int], Pool]
) -> None:
    async with FakeUpstream(json_answer({})) as one, FakeUpstream(json_answer({})) as other:
        pool, done, hold = pool_of(1), list[bool](), asyncio.Event()
        first = asyncio.create_task(call(pool.origin(one.url, True), done, hold))
        await connector.has_made(1)
        second = asyncio.create_task(call(pool.origin(other.url, True), done))
        await turns()
        assert connector.making == 0
        hold.set()
        await asyncio.gather(first, second)
        assert done == [False, False]


async def test_a_connection_that_cannot_be_made_keeps_no_room(pool_of: Callable[[int], Pool]) -> None:
    origin = pool_of(1).origin("http://127.0.0.1:9", True)
    results = await asyncio.gather(*(origin.lease(ANY_TIME) for _ in range(5)), return_exceptions=True)
    assert {type(each) for each in results} == {aiohttp.ClientConnectorError}


@pytest.mark.parametrize("at_once", [True, False])
async def test_who_leaves_while_waiting_takes_nothing_along(
    connector: Counting, pool_of: Callable[[int], Pool], at_once: bool
) -> None:
    async with FakeUpstream(json_answer({})) as upstream:
        origin, done = pool_of(1).origin(upstream.url, True), list[bool]()
        connection, _ = await origin.lease(ANY_TIME)
        waiting = [asyncio.create_task(call(origin, done)) for _ in range(3)]
        await turns()
        if at_once:
            origin.give_back(connection)  # it is handed over in the same turn of the loop in which its taker leaves
            waiting[0].cancel()
        else:
            waiting[0].cancel()
            await turns()
            connection.close()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert done == ([True, True] if at_once else [False, True])


async def test_who_leaves_just_as_a_connection_may_be_made_gives_its_room_back(
    connector: Counting, pool_of: Callable[[int], Pool]
) -> None:
    async with FakeUpstream(json_answer({})) as upstream:
        origin, done = pool_of(1).origin(upstream.url, True), list[bool]()
        connection, _ = await origin.lease(ANY_TIME)
        waiting = [asyncio.create_task(call(origin, done)) for _ in range(2)]
        await turns()
        connection.close()
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert done == [False]


async def test_a_place_that_is_forgotten_keeps_nothing(connector: Counting, pool_of: Callable[[int], Pool]) -> None:
    async with FakeUpstream(json_answer({})) as upstream:
        pool = pool_of(1)
        origin = pool.origin(upstream.url, True)
        connection, _ = await origin.lease(ANY_TIME)
        pool.forget()
        origin.give_back(connection)
        assert connection.closed
        done = list[bool]()
        await call(pool.origin(upstream.url, True), done)
        assert done == [False]
