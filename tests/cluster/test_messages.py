"""When daemons say what is to be said: at once, and where that never ends, much of it at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from llmqd.cluster.messages import Held, Messages, Names
from llmqd.cluster.redis_time import RedisTime
from llmqd.cluster.timing import LATEST, PACE, SPELL
from tests.clock import run_virtual

if TYPE_CHECKING:
    from llmqd.cluster.link import Link


class Nobody:
    """Hears nothing."""

    async def say(self, *_: Any) -> list[bool]:
        return []


async def said(every: float, seconds: float, *, soon: bool = True) -> list[float]:
    """When something is said, where there is something to say every so many seconds; nothing else has to go soon."""
    clock = asyncio.get_running_loop().time
    messages = Messages("me", Names("{x}"), RedisTime(clock), Held(), lambda *_: None, lambda: None)
    moments: list[float] = []

    async def say() -> None:
        while True:
            await messages.due()
            await messages.flush(cast("Link", Nobody()))
            moments.append(clock())

    task = asyncio.create_task(say())
    began = clock()
    while clock() - began < seconds:
        messages.up("lane", ["x"], soon=soon)
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


def test_what_need_not_go_soon_waits_for_others_to_go_with_but_not_for_long() -> None:
    async def scenario() -> None:
        moments = await said(LATEST / 10, 1.0, soon=False)
        assert 0.8 / LATEST < len(moments) <= 1.0 / LATEST
        (alone,) = await said(10.0, 1.0, soon=False)
        assert alone == pytest.approx(LATEST)

    run_virtual(scenario())
