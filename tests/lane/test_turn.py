"""A turn, and the moment at which its request leaves: calls keep their distance when they are written."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from llmqd.lane.turn import Turn
from tests.calls import a_call
from tests.clock import run_virtual
from tests.lane.test_lane import key, running


@pytest.mark.parametrize("slow", [0.09, 0.18, 0.25, 0.6, 1.0])
def test_calls_keep_their_distance_though_one_is_late_to_leave(slow: float) -> None:
    """A connection takes long to come about, or the loop is held up: others have got their turns meanwhile."""

    async def scenario() -> list[float]:
        loop, left = asyncio.get_running_loop(), list[float]()

        async def passes(number: int) -> None:
            async with Turn(lane, a_call()) as turn:
                await asyncio.sleep(slow if number % 5 == 2 else 0.002)
                await turn.poised()
                left.append(loop.time())
                turn.sent()
                await asyncio.sleep(0.3)

        async with running(key(600)) as lane:
            await asyncio.gather(*(passes(number) for number in range(40)))
        return left

    left = run_virtual(scenario())
    assert min(later - earlier for earlier, later in pairwise(left)) >= 0.1


@pytest.mark.parametrize(("rate", "metered"), [(0, False), (600, True)])
def test_the_moment_of_leaving_matters_where_there_is_a_limit(rate: float, metered: bool) -> None:
    async def scenario() -> bool:
        async with running(key(rate)) as lane, Turn(lane, a_call()) as turn:
            return turn.metered

    assert run_virtual(scenario()) is metered
