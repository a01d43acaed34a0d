"""A lane in virtual time: who gets a turn when, and that every turn comes back."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from llmqd.call import Call
from llmqd.config.model import Key, Limits, Queue
from llmqd.errors import DeadlineExceeded, QueueFull, ShuttingDown, WouldExceedDeadline
from llmqd.events.kinds import Event
from llmqd.lane.lane import Lane
from llmqd.lane.throttle import Throttle
from llmqd.lane.turn import Turn
from llmqd.providers.limit_values import Observed
from tests.calls import a_call
from tests.clock import run_virtual


def about(expected: Any) -> Any:
    """Even spacing keeps a headroom of half a per cent below the limit."""
    return pytest.approx(expected, rel=0.006, abs=1e-6)


def key(per_minute: float = 60, burst: int = 1, max_concurrent: int = 0) -> Key:
    return Key(name="default", limits=Limits(per_minute, burst, max_concurrent))


@asynccontextmanager
async def running(limits: Key, queue: Queue | None = None) -> AsyncIterator[Lane]:
    throttle = Throttle(limits.limits, learns=False, noise=lambda: 0.0, wall_offset=0.0)
    clock, told = asyncio.get_running_loop().time, list[Event]()
    lane = Lane("test", "test", limits, queue or Queue(), throttle=throttle, clock=clock, announce=told.append)
    worker = asyncio.create_task(lane.work())
    try:
        yield lane
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def passes(lane: Lane, call: Call, log: list[tuple[float, Call]], takes: float = 0.0) -> None:
    async with Turn(lane, call) as turn:
        turn.sent()
        log.append((asyncio.get_running_loop().time() - 1000.0, call))
        if takes:
            await asyncio.sleep(takes)


def test_an_idle_lane_lets_the_first_call_go_in_the_same_tick() -> None:
    async def scenario() -> None:
        async with running(key()) as lane, Turn(lane, a_call()):
            assert asyncio.get_running_loop().time() == 1000.0
            assert repr(lane) == "<Lane test: 1 running, <CallQueue 0 waiting>, 60/min>"

    run_virtual(scenario())


def test_calls_go_evenly_at_the_rate() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(600)) as lane:
            await asyncio.gather(*(passes(lane, a_call(), log) for _ in range(50)))
        assert [at for at, _ in log] == about([number / 10 for number in range(50)])

    run_virtual(scenario())


@pytest.mark.parametrize("late", [0.0005, 0.002, 0.004])
def test_6000_a_minute_for_a_minute_are_6000_however_late_timers_fire(late: float) -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(6000)) as lane:
            waiting = [asyncio.create_task(passes(lane, a_call(), log)) for _ in range(7000)]
            await asyncio.sleep(60)
            in_time = len(log)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        assert 5940 <= in_time <= 6060

    noise = random.Random(1)
    run_virtual(scenario(), jitter=lambda: noise.uniform(0, 2 * late))


def test_a_high_call_passes_a_thousand_waiting_low_ones_at_the_next_grant() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        high = a_call(priority=0)
        async with running(key(600)) as lane:
            low = [asyncio.create_task(passes(lane, a_call(priority=7), log)) for _ in range(1000)]
            await asyncio.sleep(1.05)
            await passes(lane, high, log)
            assert log[-1][1] is high
            assert log[-1][0] == about(1.1)
            for task in low:
                task.cancel()
            await asyncio.gather(*low, return_exceptions=True)

    run_virtual(scenario())


def test_max_concurrent_holds_and_a_place_that_is_given_back_is_used_at_once() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(0, max_concurrent=2)) as lane:
            await asyncio.gather(*(passes(lane, a_call(), log, takes=1.0) for _ in range(5)))
            assert lane.running == 0
        assert [at for at, _ in log] == about([0, 0, 1, 1, 2])

    run_virtual(scenario())


def test_whoever_leaves_while_waiting_costs_no_turn() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(60)) as lane:
            tasks = [asyncio.create_task(passes(lane, a_call(), log)) for _ in range(100)]
            await asyncio.sleep(0.5)
            for task in tasks[1:99]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert repr(lane) == "<Lane test: 0 running, <CallQueue 0 waiting>, 60/min>"
        assert [at for at, _ in log] == about([0, 1])

    run_virtual(scenario())


def test_granted_and_cancelled_in_the_same_tick_gives_the_turn_to_the_next() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(60)) as lane:
            await passes(lane, a_call(), log)
            victim = asyncio.create_task(passes(lane, a_call(), log))
            heir = asyncio.create_task(passes(lane, a_call(), log))
            await asyncio.sleep(0)
            await asyncio.sleep(1.004)
            loop = asyncio.get_running_loop()
            loop.call_at(loop.time() + 0.001, lane._admit)  # grants, and before the waiter runs...
            loop.call_at(loop.time() + 0.001, victim.cancel)  # ...its client is gone
            await asyncio.gather(victim, heir, return_exceptions=True)
            assert victim.cancelled()
        assert [at for at, _ in log] == about([0, 1])

    run_virtual(scenario())


def test_cancelled_and_then_due_in_the_same_tick_grants_somebody_who_is_there() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(60)) as lane:
            await passes(lane, a_call(), log)
            victim = asyncio.create_task(passes(lane, a_call(), log))
            heir = asyncio.create_task(passes(lane, a_call(), log))
            await asyncio.sleep(0)
            await asyncio.sleep(1.004)
            loop = asyncio.get_running_loop()
            loop.call_at(loop.time() + 0.001, victim.cancel)
            loop.call_at(loop.time() + 0.001, lane._admit)
            await asyncio.gather(victim, heir, return_exceptions=True)
            assert lane.granted == 2
        assert [at for at, _ in log] == about([0, 1])

    run_virtual(scenario())


@pytest.mark.parametrize("step", range(12))
def test_half_of_six_cancelled_at_any_step_leaves_the_lane_whole(step: int) -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(0, max_concurrent=2)) as lane:
            tasks = [asyncio.create_task(passes(lane, a_call(), log, takes=0.001)) for _ in range(6)]
            for _ in range(step):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (lane.running, lane.waiting, lane.waiting_bytes) == (0, 0, 0)
            assert all(not task.cancelled() for task in tasks[1::2])

    run_virtual(scenario())


def test_the_longest_wait_ends_with_a_refusal_that_says_where_it_stood() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(6)) as lane:
            await passes(lane, a_call(), log)
            ahead = asyncio.create_task(passes(lane, a_call(user="another"), log))
            await asyncio.sleep(0)
            with pytest.raises(DeadlineExceeded) as refused:
                async with Turn(lane, a_call(max_wait=12)):
                    pytest.fail("no turn may come")
            assert asyncio.get_running_loop().time() == pytest.approx(1012)
            assert refused.value.position == 1
            assert refused.value.retry_after == about(8.1)
            assert lane.waiting == 0
            await ahead

    run_virtual(scenario())


def test_a_hopeless_deadline_is_refused_at_once_not_after_the_wait() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(6)) as lane:
            await passes(lane, a_call(), log)
            with pytest.raises(WouldExceedDeadline, match=r"10 s, longer than the 2\.5 s") as refused:
                async with Turn(lane, a_call(max_wait=2.5)):
                    pytest.fail("no turn may come")
            assert asyncio.get_running_loop().time() == 1000.0
            assert (refused.value.position, lane.waiting) == (1, 0)
            assert refused.value.retry_after == pytest.approx(7.55)

    run_virtual(scenario())


def test_a_deadline_that_the_callers_own_calls_use_up_is_refused_at_once() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(60)) as lane, asyncio.TaskGroup() as others:
            for _ in range(20):
                others.create_task(passes(lane, a_call(user="ada"), log))
            await asyncio.sleep(0)
            with pytest.raises(WouldExceedDeadline) as refused:
                async with Turn(lane, a_call(user="ada", max_wait=10)):
                    pytest.fail("no turn may come")
            assert refused.value.eta == about(20)
            async with Turn(lane, a_call(user="bob", max_wait=10)):  # whose share comes sooner
                assert asyncio.get_running_loop().time() < 1010

    run_virtual(scenario())


def test_no_queue_is_refused_at_once_when_no_turn_is_free() -> None:
    async def scenario() -> None:
        async with running(key(60)) as lane:
            async with Turn(lane, a_call(no_queue=True)) as turn:
                turn.sent()
            with pytest.raises(QueueFull, match="No-Queue") as refused:
                async with Turn(lane, a_call(no_queue=True)):
                    pytest.fail("no turn may come")
            assert refused.value.retry_after == about(1.0)
            assert lane.waiting == 0

    run_virtual(scenario())


def test_a_full_lane_says_position_and_wait() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(60), Queue(max_waiting=2)) as lane:
            waiting = [asyncio.create_task(passes(lane, a_call(), log)) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(QueueFull, match="max_waiting") as refused:
                await passes(lane, a_call(), log)
            assert refused.value.position == 3
            assert refused.value.eta == about(3.0)
            await asyncio.gather(*waiting)

    run_virtual(scenario())


def test_closing_sends_the_waiting_away_and_lets_the_running_finish() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(60)) as lane:
            runs = asyncio.create_task(passes(lane, a_call(), log, takes=5))
            waits = asyncio.create_task(passes(lane, a_call(), log))
            await asyncio.sleep(0.1)
            lane.close()
            with pytest.raises(ShuttingDown) as refused:
                await waits
            assert (refused.value.retry, refused.value.retry_after) == (True, 1.0)
            with pytest.raises(ShuttingDown):
                await passes(lane, a_call(), log)
            await runs
            assert lane.load == 0

    run_virtual(scenario())


def test_a_reload_changes_the_rate_for_those_who_wait_already() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(6)) as lane:
            waiting = [asyncio.create_task(passes(lane, a_call(), log)) for _ in range(4)]
            await asyncio.sleep(10.5)
            lane.retune(key(600), Queue(), learns=False)
            await asyncio.gather(*waiting)
        assert [at for at, _ in log] == about([0, 10.05, 10.596, 10.6965])

    run_virtual(scenario())


def test_a_reload_that_changes_only_learning_is_applied() -> None:
    header = Observed(dimension="requests", window=60.0, limit=120.0, header="x-limit")

    async def scenario() -> None:
        async with running(key(600)) as lane:
            for learns, rate in ((True, 120), (False, 600)):
                lane.retune(key(600), Queue(), learns=learns)
                async with Turn(lane, a_call()) as turn:
                    turn.sent()
                    turn.answered((header,))
                assert lane.requests_per_minute == rate

    run_virtual(scenario())


def test_the_worker_answers_the_watchdog_also_while_everybody_waits() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(1)) as lane:
            waiting = [asyncio.create_task(passes(lane, a_call(), log)) for _ in range(2)]
            await asyncio.sleep(1)
            await asyncio.wait_for(lane.answer(), 0.1)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    run_virtual(scenario())


def test_a_thousand_of_two_thousand_vanish_at_once_and_nobody_gets_their_turns() -> None:
    async def scenario() -> None:
        log: list[tuple[float, Call]] = []
        calls = [a_call(request_bytes=10) for _ in range(2000)]
        async with running(key(6000)) as lane:
            tasks = [asyncio.create_task(passes(lane, call, log)) for call in calls]
            await asyncio.sleep(0.001)
            for task in tasks[1::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (lane.granted, lane.waiting, lane.waiting_bytes) == (1000, 0, 0)
        assert {id(call) for _, call in log} == {id(call) for call in calls[::2]}
        gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(log)]
        assert max(gaps) == about(0.01)

    run_virtual(scenario())


def test_random_arrivals_departures_and_ends_never_lose_a_place() -> None:
    async def scenario(noise: random.Random, pause: Callable[[], float]) -> None:
        log: list[tuple[float, Call]] = []
        async with running(key(3000, burst=5, max_concurrent=4)) as lane:
            tasks = []
            for _ in range(400):
                task = asyncio.create_task(
                    passes(lane, a_call(priority=noise.randrange(10), max_wait=0.5), log, takes=pause() / 10)
                )
                asyncio.get_running_loop().call_later(pause(), task.cancel)
                tasks.append(task)
                await asyncio.sleep(pause() / 50)
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (lane.running, lane.waiting, lane.waiting_bytes) == (0, 0, 0)
            async with Turn(lane, a_call()):
                assert lane.running == 1

    for seed in range(10):
        noise = random.Random(seed)
        run_virtual(scenario(noise, lambda noise=noise: noise.uniform(0, 0.4)))  # type: ignore[misc]


def test_a_call_that_is_let_through_ahead_of_its_moment_is_held_until_it_may_leave() -> None:
    async def scenario() -> None:
        log: list[float] = []
        loop = asyncio.get_running_loop()

        async def passes_asking(lane: Lane, takes: float) -> None:
            async with Turn(lane, a_call()) as turn:
                await asyncio.sleep(takes)
                await turn.poised()
                turn.sent()
                log.append(loop.time())

        async with running(key(600)) as lane:
            await asyncio.gather(*(passes_asking(lane, 0.004 if number % 2 else 0.001) for number in range(100)))
        gaps = [later - earlier for earlier, later in pairwise(log)]
        assert min(gaps) >= 0.1
        assert log[-1] - log[10] <= 89 * 0.1006

    run_virtual(scenario())


def test_no_more_turns_are_given_than_calls_get_ready_and_a_high_call_is_the_next_to_go() -> None:
    async def scenario() -> None:
        log: list[str] = []
        ready = asyncio.Event()

        async def getting_ready(call: Call) -> None:
            async with Turn(lane, call) as turn:
                await ready.wait()
                log.append(call.id)
                turn.sent()

        async with running(key(0)) as lane:
            calls = [asyncio.create_task(getting_ready(a_call())) for _ in range(1000)]
            await asyncio.sleep(1)
            assert (lane.running, lane.waiting) == (256, 744)
            high = a_call(priority=1)
            calls.append(asyncio.create_task(getting_ready(high)))
            await asyncio.sleep(1)
            ready.set()
            await asyncio.gather(*calls)
            assert (lane.running, lane.waiting, len(log)) == (0, 0, 1001)
            assert log.index(high.id) == 256

    run_virtual(scenario())


@pytest.mark.parametrize("sends", [True, False])
def test_calls_that_leave_or_give_up_make_way_for_those_who_get_ready(sends: bool) -> None:
    async def scenario() -> None:
        async def runs(end: asyncio.Event) -> None:
            async with Turn(lane, a_call()) as turn:
                if sends:
                    turn.sent()
                await end.wait()

        async with running(key(0)) as lane:
            ends = asyncio.Event()
            calls = [asyncio.create_task(runs(ends)) for _ in range(600)]
            await asyncio.sleep(1)
            assert lane.running == (600 if sends else 256)
            for task in calls[:300]:
                task.cancel()
            await asyncio.sleep(1)
            assert lane.running == (300 if sends else 256)
            ends.set()
            await asyncio.gather(*calls, return_exceptions=True)
            assert (lane.running, lane.waiting) == (0, 0)

    run_virtual(scenario())
