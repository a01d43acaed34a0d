"""Turns of a shared lane: where nothing limits it, calls go without asking, until one of them is refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from llmqd.cluster import codec
from llmqd.cluster.redis_time import RedisTime
from llmqd.cluster.shared_lane import SharedLane
from llmqd.config.model import Key, Limits, Queue
from llmqd.lane.throttle import Throttle
from llmqd.lane.turn import Turn
from llmqd.providers.refusals import Verdict
from tests.calls import a_call
from tests.clock import run_virtual
from tests.cluster.members import unheard
from tests.cluster.test_shared_lane import Seat

FREE = codec.view(codec.View(free=True), 0.0)


def joined(*, free: bool = True) -> tuple[SharedLane, Seat]:
    loop, limits = asyncio.get_running_loop(), Limits(0)
    throttle = Throttle(limits, learns=False, noise=lambda: 0.0, wall_offset=0.0)
    seat, key = Seat(RedisTime(loop.time)), Key(name="default", limits=limits)
    lane = SharedLane("l", "l", key, Queue(), throttle=throttle, clock=loop.time, announce=unheard, seat=seat)
    lane.join()
    if free:
        lane.seen_there(FREE)
    return lane, seat


def call(lane: SharedLane) -> Turn:
    return Turn(lane, a_call(arrived=asyncio.get_running_loop().time()))


async def go(turn: Turn) -> None:
    await turn.poised()
    turn.sent()
    turn.flushed()


def kinds(seat: Seat) -> list[str]:
    return [message[0] for message in seat.said]


def test_where_nothing_limits_the_lane_calls_go_without_asking() -> None:
    async def scenario() -> None:
        lane, seat = joined()
        async with call(lane) as turn:
            await go(turn)
            turn.answered(())
            assert lane.running == 1
        assert (lane.running, lane.granted, seat.said) == (0, 1, [])

    run_virtual(scenario())


def test_where_something_does_they_ask() -> None:
    async def scenario() -> None:
        lane, seat = joined(free=False)
        waits = asyncio.create_task(call(lane).__aenter__())
        await asyncio.sleep(0)
        assert kinds(seat) == ["e"]
        lane.seen_there(FREE)
        behind = asyncio.create_task(call(lane).__aenter__())
        await asyncio.sleep(0)
        assert kinds(seat) == ["e", "e"], "nobody passes one who waits"
        for task in (waits, behind):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    run_virtual(scenario())


def test_how_many_go_is_told_once_it_has_changed() -> None:
    async def scenario() -> None:
        lane, seat = joined()
        async with call(lane) as one, call(lane) as other:
            await go(one)
            await go(other)
            lane.tell_free()
            lane.tell_free()
            assert seat.said == [["f", 2, 2]]
        lane.tell_free()
        lane.tell_free()
        assert seat.said[1:] == [["f", 0, 0]]

    run_virtual(scenario())


def test_of_a_call_that_is_refused_the_owner_is_told_and_the_next_ones_ask() -> None:
    async def scenario() -> None:
        lane, seat = joined()
        turn = call(lane)
        async with turn:
            await go(turn)
            turn.refused(Verdict(kind="wait", reason="429", wait=1.0), ())
        assert kinds(seat) == ["t", "r", "l"]
        assert len({message[1][0] if message[0] == "t" else message[1] for message in seat.said}) == 1
        again = asyncio.create_task(turn.__aenter__())
        await asyncio.sleep(0)
        assert kinds(seat)[3:] == ["e"]
        again.cancel()
        with suppress(asyncio.CancelledError):
            await again

    run_virtual(scenario())


def test_what_went_so_is_told_to_a_new_owner_and_known_when_nobody_can_be_asked() -> None:
    async def scenario() -> None:
        lane, _ = joined()
        async with call(lane) as sent, call(lane) as unsent:
            await go(sent)
            waiting, running, *_ = lane.join()
            assert not waiting
            assert sorted(left for *_, left in running) == [False, True]
            lane.seen_there(FREE)
            async with call(lane) as other:
                await go(other)
                lane.lost()
                lane.go_alone(0, 2)
                await unsent.poised()
                unsent.sent()
                other.refused(Verdict(kind="wait", reason="429", wait=1.0), ())
                assert lane.paused is not None
        assert lane.running == 0

    run_virtual(scenario())


def test_what_becomes_of_a_turn_is_urgent_only_where_calls_wait() -> None:
    async def scenario() -> None:
        lane, seat = joined(free=False)
        for waiting, urgent in ((0, ["e"]), (1, ["e", "s", "a", "l"])):
            lane.seen_there(codec.view(codec.View(waiting=waiting), 0.0))
            seat.said.clear()
            seat.soon.clear()
            turn = call(lane)
            entering = asyncio.create_task(turn.__aenter__())
            await asyncio.sleep(0)
            lane.granted_there(seat.said[0][1][0], asyncio.get_running_loop().time(), 1.0)
            await entering
            await go(turn)
            turn.answered(())
            await turn.__aexit__(None, None, None)
            assert kinds(seat) == ["e", "s", "a", "l"]
            assert seat.soon == urgent

    run_virtual(scenario())
