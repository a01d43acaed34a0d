"""Who listens hears of every pause, and once that it is over, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from llmqd.config.model import Queue
from llmqd.events.kinds import Event, Paused, Resumed
from llmqd.lane.lane import Lane
from llmqd.lane.throttle import Throttle
from llmqd.lane.turn import Turn
from llmqd.providers.refusals import Verdict
from tests.calls import a_call
from tests.clock import run_virtual
from tests.lane.test_lane import key

Heard = list[tuple[float, str, str]]


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Lane, Heard]]:
    """A lane and what is heard of its pauses: seconds since the start, type of event, by whom."""
    clock, heard = asyncio.get_running_loop().time, Heard()
    began = clock()

    def hear(event: Event) -> None:
        if isinstance(event, Paused | Resumed):
            heard.append((clock() - began, event.type, event.by))

    limits = key(0)
    throttle = Throttle(limits.limits, learns=False, noise=lambda: 0.0, wall_offset=0.0)
    lane = Lane("test", "test", limits, Queue(), throttle=throttle, clock=clock, announce=hear)
    worker = asyncio.create_task(lane.work())
    try:
        yield lane, heard
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def refused(lane: Lane, wait: float) -> None:
    async with Turn(lane, a_call()) as turn:
        turn.sent()
        turn.refused(Verdict(kind="wait", reason="429", wait=wait), ())


async def test_nothing_is_said_of_a_lane_that_does_not_pause() -> None:
    async with listening() as (lane, heard):
        async with Turn(lane, a_call()):
            pass
        await lane.answer()
        assert heard == []


@pytest.mark.parametrize("waiting", [0, 2])
def test_the_end_of_an_operators_timed_pause_is_told_when_it_comes(waiting: int) -> None:
    async def scenario() -> None:
        async with listening() as (lane, heard):
            lane.pause(100.0, "why")
            calls = [asyncio.create_task(_passes(lane)) for _ in range(waiting)]
            await asyncio.sleep(99.9)
            assert heard == [(0.0, "paused", "operator")]
            await asyncio.sleep(0.2)
            assert heard == [(0.0, "paused", "operator"), (pytest.approx(100.0), "resumed", "time")]
            await asyncio.sleep(1000)
            await asyncio.gather(*calls)
            assert len(heard) == 2

    run_virtual(scenario())


def test_the_end_of_an_upstreams_pause_is_told_when_it_comes() -> None:
    async def scenario() -> None:
        async with listening() as (lane, heard):
            await refused(lane, 30.0)
            await asyncio.sleep(60)
            assert heard == [(0.0, "paused", "upstream"), (pytest.approx(30.0), "resumed", "time")]

    run_virtual(scenario())


def test_a_pause_that_is_prolonged_ends_once_and_late() -> None:
    async def scenario() -> None:
        async with listening() as (lane, heard):
            first, second = Turn(lane, a_call()), Turn(lane, a_call())
            async with first, second:
                for turn, wait in ((first, 10.0), (second, 40.0)):
                    turn.sent()
                    turn.refused(Verdict(kind="wait", reason="429", wait=wait), ())
            await asyncio.sleep(100)
            assert heard == [(0.0, "paused", "upstream"), (pytest.approx(40.0), "resumed", "time")]

    run_virtual(scenario())


def test_of_two_pauses_at_once_the_end_of_the_later_is_told() -> None:
    async def scenario() -> None:
        async with listening() as (lane, heard):
            await refused(lane, 50.0)
            lane.pause(10.0, "why")
            await asyncio.sleep(100)
            assert [(kind, by) for _, kind, by in heard] == [
                ("paused", "upstream"), ("paused", "operator"), ("resumed", "time"),
            ]  # fmt: skip
            assert heard[-1][0] == pytest.approx(50.0)

    run_virtual(scenario())


def test_what_an_operator_has_resumed_does_not_end_again_by_time() -> None:
    async def scenario() -> None:
        async with listening() as (lane, heard):
            lane.pause(100.0, "why")
            await asyncio.sleep(10)
            lane.resume()
            await asyncio.sleep(1000)
            assert heard == [(0.0, "paused", "operator"), (10.0, "resumed", "operator")]

    run_virtual(scenario())


def test_a_pause_without_an_end_does_not_end() -> None:
    async def scenario() -> None:
        async with listening() as (lane, heard):
            lane.pause(5.0, "first")
            lane.pause(None, "second")
            await asyncio.sleep(1_000_000)
            assert [kind for _, kind, _ in heard] == ["paused", "paused"]

    run_virtual(scenario())


async def _passes(lane: Lane) -> None:
    async with Turn(lane, a_call()):
        pass
