"""When daemons say what is to be said: at once, and where that never ends, much of it at a time."""

from __future__ import annotations

import asyncio

from llmqd.cluster.messages import Held, Messages, Names
from llmqd.cluster.redis_time import RedisTime
from llmqd.cluster.timing import PACE, SPELL
from tests.clock import run_virtual


async def said(every: float, seconds: float) -> list[float]:
    """When something is said, where there is something to say every so many seconds."""
    clock = asyncio.get_running_loop().time
    messages = Messages("me", Names("{x}"), RedisTime(clock), Held(), lambda *_: None, lambda: None)
    moments: list[float] = []

    async def say() -> None:
        while True:
            await messages.due()
            moments.append(clock())

    task = asyncio.create_task(say())
    began = clock()
    while clock() - began < seconds:
        messages.up("lane", ["x"])
        await asyncio.sleep(every)
    task.cancel()
    return [at - began for at in moments]


def test_what_is_said_now_and_then_goes_at_once() -> None:
    async def scenario() -> None:
        moments = await said(0.01, 1.0)
        assert len(moments) >= 99
        assert all(min(at % 0.01, 0.01 - at % 0.01) < 1e-6 for at in moments)

    run_virtual(scenario())


def test_a_few_things_in_a_row_go_at_once_and_a_stream_of_them_together() -> None:
    async def scenario() -> None:
        moments = await said(PACE / 10, 1.0)
        burst = round(SPELL / PACE)
        assert moments[burst // 2] < SPELL / 4
        assert len(moments) < 1.0 / PACE + 2 * burst

    run_virtual(scenario())
