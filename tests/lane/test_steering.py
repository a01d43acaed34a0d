"""An operator's hand on a lane, in virtual time: pause, resume, another priority, cancellation."""

from __future__ import annotations

import asyncio

import pytest

from llmqd.call import Call
from llmqd.errors import Cancelled, DeadlineExceeded, QueueFull
from llmqd.lane.lane import Lane
from llmqd.lane.turn import Turn
from tests.calls import a_call
from tests.clock import run_virtual
from tests.lane.test_lane import about, key, passes, running

Log = list[tuple[float, Call]]


def now() -> float:
    return asyncio.get_running_loop().time() - 1000.0


def start(lane: Lane, call: Call, log: Log, takes: float = 0.0) -> asyncio.Task[None]:
    return asyncio.create_task(passes(lane, call, log, takes))


def test_a_paused_lane_lets_nobody_through_until_it_is_resumed() -> None:
    async def scenario() -> None:
        log: Log = []
        async with running(key(0)) as lane:
            lane.pause(None, "why")
            task = start(lane, a_call(), log)
            await asyncio.sleep(3600)
            assert (lane.waiting, log, lane.paused and lane.paused.reason) == (1, [], "why")
            lane.resume()
            await task
            assert lane.paused is None
            assert log[0][0] == about(3600)

    run_virtual(scenario())


def test_a_timed_pause_ends_by_itself_and_the_rate_holds_afterwards() -> None:
    async def scenario() -> None:
        log: Log = []
        async with running(key(60)) as lane:
            lane.pause(100, "")
            await asyncio.gather(*(passes(lane, a_call(), log) for _ in range(3)))
        assert [at for at, _ in log] == about([100, 101, 102])

    run_virtual(scenario())


def test_a_resume_before_its_time_and_another_pause_replace_the_first() -> None:
    async def scenario() -> None:
        log: Log = []
        async with running(key(0)) as lane:
            lane.pause(100, "")
            task = start(lane, a_call(), log)
            await asyncio.sleep(10)
            lane.pause(20, "")
            await task
            lane.pause(None, "")
            again = start(lane, a_call(), log)
            await asyncio.sleep(5)
            lane.resume()
            await again
        assert [at for at, _ in log] == about([30, 35])

    run_virtual(scenario())


def test_running_calls_go_on_through_a_pause() -> None:
    async def scenario() -> None:
        async with running(key(0)) as lane:
            task = start(lane, call := a_call(), [], takes=10)
            await asyncio.sleep(2)
            lane.pause(None, "")
            assert [(one.call, one.since) for one in lane.running_calls()] == [(call, 1000.0)]
            await task
            assert (now(), lane.running, [*lane.running_calls()]) == (10, 0, [])

    run_virtual(scenario())


def test_the_eta_knows_rate_and_pause() -> None:
    async def scenario() -> None:
        async with running(key(60)) as lane, Turn(lane, a_call()) as turn:
            turn.sent()
            assert [lane.eta(1), lane.eta(3)] == about([1, 3])
            lane.pause(100, "")
            assert [lane.eta(1), lane.eta(3)] == about([100, 102])
            lane.pause(0.5, "")
            assert [lane.eta(1), lane.eta(3)] == about([1, 3])
            lane.pause(None, "")
            assert (lane.eta(1), lane.eta(3)) == (None, None)

    run_virtual(scenario())


def test_deadlines_hold_during_a_pause_and_promise_nothing() -> None:
    async def scenario() -> None:
        async with running(key(0)) as lane:
            lane.pause(None, "")
            with pytest.raises(DeadlineExceeded) as late:
                await passes(lane, a_call(max_wait=5), [])
            assert (now(), late.value.position, late.value.eta, late.value.retry_after) == (5, 1, None, None)
            with pytest.raises(QueueFull) as refused:
                await passes(lane, a_call(no_queue=True), [])
            assert (refused.value.eta, lane.waiting) == (None, 0)

    run_virtual(scenario())


def test_a_call_of_another_priority_goes_in_its_new_place() -> None:
    async def scenario() -> None:
        log: Log = []
        calls = [a_call(id=str(number)) for number in range(4)]
        async with running(key(60)) as lane:
            tasks = [start(lane, call, log) for call in calls]
            await asyncio.sleep(0.5)
            ticket = lane.find("3")
            assert ticket is not None
            assert lane.position(ticket) == 3
            lane.reprioritise(ticket, 0)
            assert (lane.position(ticket), [one.call.id for one in lane.tickets()]) == (1, ["3", "1", "2"])
            await asyncio.gather(*tasks)
        assert [call.id for _, call in log] == ["0", "3", "1", "2"]

    run_virtual(scenario())


def test_a_cancelled_call_is_told_at_once_and_costs_no_turn() -> None:
    async def scenario() -> None:
        log: Log = []
        async with running(key(60)) as lane:
            tasks = [start(lane, a_call(id=str(number)), log) for number in range(3)]
            await asyncio.sleep(0.5)
            ticket = lane.find("1")
            assert ticket is not None
            lane.cancel(ticket)
            with pytest.raises(Cancelled) as cancelled:
                await tasks[1]
            assert (now(), cancelled.value.retry, lane.find("1"), lane.waiting) == (0.5, False, None, 1)
            await asyncio.gather(tasks[0], tasks[2])
        assert [(at, call.id) for at, call in log] == [(0, "0"), (about(1), "2")]
        assert (lane.granted, lane.running) == (2, 0)

    run_virtual(scenario())


def test_a_call_cancelled_in_the_tick_in_which_its_client_leaves_leaves_no_trace() -> None:
    async def scenario() -> None:
        async with running(key(0)) as lane:
            lane.pause(None, "")
            task = start(lane, a_call(id="x"), [])
            await asyncio.sleep(1)
            ticket = lane.find("x")
            assert ticket is not None
            lane.cancel(ticket)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (lane.waiting, lane.running, lane.find("x")) == (0, 0, None)

    run_virtual(scenario())


def test_every_turn_of_a_lane_that_is_paused_and_resumed_at_random_comes_back() -> None:
    async def scenario() -> None:
        log: Log = []
        async with running(key(600)) as lane:
            tasks = [start(lane, a_call(id=str(number)), log, takes=0.3) for number in range(50)]
            for step in range(40):
                await asyncio.sleep(0.13)
                if step % 3 == 0:
                    lane.pause(0.2 if step % 2 else None, "")
                else:
                    lane.resume()
                if (ticket := next(lane.tickets(), None)) is not None and step % 5 == 0:
                    lane.cancel(ticket)
            lane.resume()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        cancelled = sum(isinstance(one, Cancelled) for one in ended)
        assert (len(log) + cancelled, lane.granted) == (50, len(log))
        assert (lane.running, lane.waiting, [*lane.running_calls()]) == (0, 0, [])
        assert cancelled > 0

    run_virtual(scenario())
