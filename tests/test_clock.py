"""The clocks that other tests stand on."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from tests.clock import Deadlock, ManualClock, VirtualLoop, run_virtual


def test_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(5.0)
    assert (clock(), clock()) == (5.0, 5.0)
    clock.advance(0.25)
    assert clock() == 5.25


def test_manual_clock_never_goes_back() -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        ManualClock().advance(-1)


def test_an_hour_of_timers_takes_no_time() -> None:
    async def hour() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for _ in range(3600):
            await asyncio.sleep(1)
        return loop.time() - start

    began = time.monotonic()
    assert run_virtual(hour()) == pytest.approx(3600)
    assert time.monotonic() - began < 5


def test_timers_fire_in_order_and_exactly_when_due() -> None:
    async def body() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        seen: list[tuple[str, float]] = []
        start = loop.time()
        for name, delay in (("late", 86400 * 3.0), ("soon", 0.001), ("middle", 60.0)):
            loop.call_later(delay, lambda n: seen.append((n, round(loop.time() - start, 6))), name)
        await asyncio.sleep(86400 * 4)
        return seen

    assert run_virtual(body()) == [("soon", 0.001), ("middle", 60.0), ("late", 259200.0)]


def test_timeouts_use_virtual_time() -> None:
    async def body() -> None:
        async with asyncio.timeout(600):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        run_virtual(body())


def test_jitter_makes_every_wake_late() -> None:
    async def body() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for _ in range(10):
            await asyncio.sleep(1)
        return loop.time() - start

    assert run_virtual(body(), jitter=lambda: 0.1) == pytest.approx(11.0)


def test_deadlock_is_named_with_the_place_that_waits() -> None:
    async def body() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"test_clock\.py:\d+"):
        run_virtual(body())


def test_deadlock_does_not_leave_tasks_behind() -> None:
    ended = []

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def body() -> None:
        await asyncio.gather(other(), other())

    with pytest.raises(Deadlock):
        run_virtual(body())
    assert ended == [True, True]


def test_threads_are_waited_for_while_the_clock_stands() -> None:
    async def body() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        timer = loop.call_later(3600, lambda: None)
        result = await asyncio.to_thread(lambda: "from a thread")
        timer.cancel()
        return result, loop.time() - start

    assert run_virtual(body()) == ("from a thread", 0.0)


def test_sockets_are_refused() -> None:
    async def body() -> None:
        near, far = socket.socketpair()
        with near, far:
            asyncio.get_running_loop().add_reader(near, lambda: None)

    with pytest.raises(RuntimeError, match="no sockets"):
        run_virtual(body())


def test_result_and_exception_come_through() -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_virtual(fails())


def test_time_moves_only_when_nothing_is_ready() -> None:
    async def body() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        for _ in range(100):
            await asyncio.sleep(0)
        return loop.jumps

    assert run_virtual(body()) == 0
