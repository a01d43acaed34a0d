"""A lane whose calls wait here while another daemon decides: what it gave itself does not hold once others share it."""

from __future__ import annotations

import asyncio
from typing import Any

from llmqd.cluster.held_lane import HeldLane
from llmqd.cluster.redis_time import RedisTime
from llmqd.cluster.shared_lane import SharedLane
from llmqd.config.model import Key, Limits, Queue
from llmqd.lane.throttle import Throttle
from llmqd.lane.turn import Turn
from tests.calls import a_call
from tests.clock import run_virtual


class Seat:
    """Remembers what was said to the owner."""

    def __init__(self, time: RedisTime) -> None:
        self.time = time
        self.said: list[list[Any]] = []
        self.soon: list[str] = []
        """What of it had to go soon, by kind."""

    def send(self, lane: HeldLane, message: list[Any], *, soon: bool = True) -> None:
        """Something for the owner."""
        self.said.append(message)
        self.soon += [message[0]] if soon else []

    def add(self, lane: SharedLane) -> None:
        """A lane was made."""

    def retuned(self, lane: SharedLane) -> None:
        """It has other settings."""


def test_a_call_that_waits_for_a_slot_of_its_own_asks_for_a_turn_once_others_share_the_lane_again() -> None:
    async def scenario() -> None:
        loop, limits = asyncio.get_running_loop(), Limits(600)
        seat, left = Seat(RedisTime(loop.time)), list[float]()
        throttle = Throttle(limits, learns=False, noise=lambda: 0.0, wall_offset=0.0)
        key, clock = Key(name="default", limits=limits), loop.time
        lane = SharedLane("l", "l", key, Queue(), throttle=throttle, clock=clock, announce=lambda _: None, seat=seat)
        lane.go_alone(0, 4)

        async def one() -> None:
            async with Turn(lane, a_call(arrived=loop.time())) as turn:
                await turn.poised()
                left.append(loop.time())
                turn.sent()

        await asyncio.sleep(0.51 - loop.time() % 0.5)  # the own slots begin at whole halves of a second
        call = asyncio.create_task(one())
        await asyncio.sleep(0.1)
        lane.join()
        await asyncio.sleep(1)
        assert left == []
        [number] = [message[1][0] for message in seat.said if message[0] == "e"]
        lane.granted_there(number, loop.time(), 0.2)
        await call
        assert len(left) == 1

    run_virtual(scenario())
