"""The alarm rings at its moment, never before it, and exactly where that is wanted."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvloop

from llmqd.lane.alarm import Alarm, until
from tests.clock import run_virtual


def test_it_rings_at_its_moment_in_virtual_time() -> None:
    async def wait() -> tuple[float, float]:
        loop, rung = asyncio.get_running_loop(), asyncio.Event()
        alarm = Alarm(rung.set, loop.time)
        due = loop.time() + 60
        alarm.set(due)
        await rung.wait()
        return loop.time(), due

    now, due = run_virtual(wait())
    assert now == due


def test_a_later_setting_replaces_the_earlier_one() -> None:
    async def rings() -> list[float]:
        loop = asyncio.get_running_loop()
        times: list[float] = []
        alarm = Alarm(lambda: times.append(loop.time() - began), loop.time)
        began = loop.time()
        alarm.set(began + 1)
        alarm.set(began + 5)
        await asyncio.sleep(10)
        return times

    assert run_virtual(rings()) == [5]


def test_a_stopped_alarm_is_silent_and_can_be_set_again() -> None:
    async def rings() -> list[float]:
        loop = asyncio.get_running_loop()
        times: list[float] = []
        alarm = Alarm(lambda: times.append(loop.time() - began), loop.time)
        began = loop.time()
        alarm.set(began + 1)
        alarm.stop()
        await asyncio.sleep(2)
        alarm.set(began + 3)
        await asyncio.sleep(2)
        return times

    assert run_virtual(rings()) == [3]


def test_it_can_be_set_anew_while_it_rings() -> None:
    async def rings() -> list[float]:
        loop = asyncio.get_running_loop()
        times: list[float] = []

        def ring() -> None:
            times.append(loop.time() - began)
            if len(times) < 3:
                alarm.set(loop.time() + 1)

        alarm = Alarm(ring, loop.time)
        began = loop.time()
        alarm.set(began + 1)
        await asyncio.sleep(10)
        return times

    assert run_virtual(rings()) == [1, 2, 3]


@pytest.mark.parametrize("roughly", [False, True])
@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_it_never_rings_before_its_moment_on_a_real_loop(make: object, roughly: bool) -> None:
    async def rings() -> list[float]:
        early = []
        for step in range(40):
            rung = asyncio.Event()
            alarm = Alarm(rung.set, time.monotonic)
            due = time.monotonic() + 0.0003 * step
            alarm.set(due, roughly=roughly)
            await rung.wait()
            early.append(due - time.monotonic())
        return early

    with asyncio.Runner(loop_factory=make) as runner:  # type: ignore[arg-type]
        assert max(runner.run(rings())) <= 0


def test_a_moment_is_waited_for_and_whoever_gives_up_leaves_no_alarm_behind() -> None:
    async def wait() -> list[float]:
        loop, times = asyncio.get_running_loop(), list[float]()
        began = loop.time()
        await until(began + 0.25, loop.time)
        times.append(loop.time() - began)
        waiting = asyncio.create_task(until(began + 60, loop.time))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait([waiting])
        times.append(loop.time() - began)
        return times

    assert run_virtual(wait()) == [0.25, 1.25]


def test_whoever_gives_up_in_the_very_tick_of_the_moment_breaks_nothing() -> None:
    async def wait() -> list[dict[str, object]]:
        loop, failures = asyncio.get_running_loop(), list[dict[str, object]]()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        due = loop.time() + 60
        waiting = asyncio.create_task(until(due, loop.time))
        loop.call_at(due, waiting.cancel)  # rings before the alarm, which is set when the task has begun
        await asyncio.sleep(61)
        assert waiting.cancelled()
        return failures

    assert run_virtual(wait()) == []
