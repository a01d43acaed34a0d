"""A call that was turned away, or whose client gave up, comes back to its place; a place that nobody had gives none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from llmqd.config.model import Key, Limits, Queue
from llmqd.errors import (
    Cancelled,
    DeadlineExceeded,
    QueueFull,
    ShuttingDown,
    TooLargeForLimit,
    UpstreamUnreachable,
    WouldExceedDeadline,
)
from llmqd.lane.lane import Lane
from llmqd.lane.places import Places
from llmqd.lane.standing import Returning, Standing
from llmqd.lane.throttle import Demand, Throttle
from llmqd.lane.turn import Turn
from tests.calls import a_call
from tests.clock import ManualClock, run_virtual


def returning(places: Places, call: str = "same", who: str = "ada", *, clock: ManualClock) -> Returning:
    return Returning(places, who, lambda: call, clock=clock)


@pytest.mark.parametrize(
    ("error", "within"),
    [
        (QueueFull("full", retry_after=30.0), 90.0),
        (DeadlineExceeded("late"), 60.0),
        (WouldExceedDeadline("late", retry_after=5.0), 65.0),
        (ShuttingDown("bye", retry_after=1.0), 61.0),
        (asyncio.CancelledError(), 60.0),
        (ConnectionResetError(), 60.0),
    ],
)
def test_a_place_is_kept_as_long_as_the_call_may_take_to_be_back(error: BaseException, within: float) -> None:
    clock, places = ManualClock(), Places()
    standing = returning(places, clock=clock)
    standing.since = clock.now - 7.0
    standing.left(error)
    clock.advance(within - 0.001)
    assert returning(places, clock=clock).since == 993.0
    returning(places, clock=clock).left(error)
    clock.advance(within)
    assert returning(places, clock=clock).since is None


@pytest.mark.parametrize("error", [Cancelled("no"), TooLargeForLimit("no"), UpstreamUnreachable("no"), ValueError()])
def test_what_is_no_reason_to_come_back_keeps_no_place(error: BaseException) -> None:
    places = Places()
    returning(places, clock=ManualClock()).left(error)
    assert len(places) == 0


def test_a_call_is_told_apart_only_when_there_is_a_need() -> None:
    def never() -> str:
        raise AssertionError("nothing is kept of this caller")

    clock, places = ManualClock(), Places()
    returning(places, who="bob", clock=clock).left(asyncio.CancelledError())
    assert Returning(places, "ada", never, clock=clock).since is None


@asynccontextmanager
async def running(limits: Limits, queue: Queue | None = None) -> AsyncIterator[Lane]:
    throttle = Throttle(limits, learns=False, noise=lambda: 0.0, wall_offset=0.0)
    clock = asyncio.get_running_loop().time
    key = Key(name="default", limits=limits)
    lane = Lane("test", "test", key, queue or Queue(), throttle=throttle, clock=clock, announce=lambda _: None)
    worker = asyncio.create_task(lane.work())
    try:
        yield lane
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


class Crowd:
    """Callers of one lane, who come back for the places that they had."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.places = Places()
        self.order: list[str] = []

    def comes(self, name: str, max_wait: float | None = None, who: str = "ada") -> asyncio.Task[None]:
        return asyncio.create_task(self._passes(name, max_wait, who))

    async def _passes(self, name: str, max_wait: float | None, who: str) -> None:
        clock = asyncio.get_running_loop().time
        standing = Returning(self.places, who, lambda: name, clock=clock)
        call = a_call(max_wait=max_wait, user=who)
        async with Turn(self.lane, call, Demand(), standing) as turn:
            turn.sent()
            self.order.append(name)


async def give_up(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("fair_by", ["key", "none"])
def test_a_client_that_gave_up_while_waiting_goes_before_those_that_came_after_it(fair_by: str) -> None:
    async def scenario() -> None:
        async with running(Limits(60), Queue(fair_by=fair_by)) as lane:
            crowd = Crowd(lane)
            calls = []
            for name in ("first", "early", "impatient", "late"):
                calls.append(crowd.comes(name))
                await asyncio.sleep(0.01)
            await give_up(calls[2])
            calls += [crowd.comes("later"), crowd.comes("impatient"), crowd.comes("impatient")]
            await asyncio.gather(*calls, return_exceptions=True)
            assert crowd.order == ["first", "early", "impatient", "late", "later", "impatient"]

    run_virtual(scenario())


def test_a_hopeless_deadline_costs_no_place_and_bounds_the_next_wait_anew() -> None:
    async def scenario() -> None:
        async with running(Limits(60)) as lane:
            lane.pause(50.0, "test")
            crowd = Crowd(lane)
            first = crowd.comes("short", max_wait=20.0)
            await asyncio.sleep(0.01)
            calls = [crowd.comes(f"other {number}") for number in range(3)]
            with pytest.raises(WouldExceedDeadline):
                await first
            await asyncio.sleep(35)
            await asyncio.gather(crowd.comes("short", max_wait=20.0), *calls)
            assert crowd.order[0] == "short"

    run_virtual(scenario())


def test_a_call_turned_away_at_a_full_queue_is_not_new_work_when_it_is_back() -> None:
    async def scenario() -> None:
        async with running(Limits(60), Queue(max_waiting=2)) as lane:
            crowd = Crowd(lane)
            calls = [crowd.comes(f"early {number}") for number in range(3)]
            await asyncio.sleep(0.01)
            with pytest.raises(QueueFull):
                await crowd.comes("turned away")
            await asyncio.sleep(1.1)
            calls.append(crowd.comes("late"))
            await asyncio.sleep(1.0)
            calls.append(crowd.comes("turned away"))
            await asyncio.gather(*calls)
            assert crowd.order == ["early 0", "early 1", "early 2", "turned away", "late"]

    run_virtual(scenario())


def test_after_a_restart_those_who_waited_stand_as_they_stood() -> None:
    async def scenario() -> None:
        async with running(Limits(60)) as lane:
            crowd = Crowd(lane)
            calls = [crowd.comes(name) for name in ("gone", "a", "b", "c")]
            await asyncio.sleep(0.01)
            lane.close()
            assert [type(error) for error in await asyncio.gather(*calls, return_exceptions=True)][1:] == [
                ShuttingDown
            ] * 3
            plain = crowd.places.export(asyncio.get_running_loop().time())
        async with running(Limits(60)) as lane:
            lane.pause(1.0, "test")
            crowd = Crowd(lane)
            crowd.places.load(plain, asyncio.get_running_loop().time(), away=2.0)
            await asyncio.gather(*(crowd.comes(name) for name in ("new", "c", "b", "a")))
            assert crowd.order == ["c", "b", "a", "new"], "all three had come in one moment"

    run_virtual(scenario())


def test_who_comes_back_gains_nothing_over_other_callers() -> None:
    async def scenario() -> None:
        async with running(Limits(60)) as lane:
            crowd = Crowd(lane)
            waiting = [crowd.comes(f"greedy {number}", who="greedy") for number in range(10)]
            await asyncio.sleep(0.01)
            for task in waiting[1:]:
                await give_up(task)
            calls = [crowd.comes(f"modest {number}", who="modest") for number in range(3)]
            await asyncio.sleep(0.01)
            calls += [crowd.comes(f"greedy {number}", who="greedy") for number in range(1, 10)]
            await asyncio.gather(*calls)
            turns = [name.split()[0] for name in crowd.order]
            assert turns[1:7].count("modest") == 3, "turn by turn, whoever has waited how long"

    run_virtual(scenario())


def test_the_place_and_the_end_of_the_wait_go_along_to_another_lane() -> None:
    async def scenario() -> None:
        clock = asyncio.get_running_loop().time
        async with running(Limits(60)) as one, running(Limits(0)) as other:
            standing, call = Standing(), a_call(max_wait=10.0)
            async with Turn(one, call, Demand(), standing) as turn:
                turn.sent()
            assert (standing.since, standing.until) == (1000.0, 1010.0)
            await asyncio.sleep(6)
            other.pause(None, "test")
            with pytest.raises(DeadlineExceeded):
                async with Turn(other, call, Demand(), standing):
                    pass
            assert clock() == pytest.approx(1010.0)

    run_virtual(scenario())
