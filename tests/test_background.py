from __future__ import annotations

import asyncio
import logging

import pytest

from llmqd.background import end, obituary

logger = logging.getLogger("llmqd.test")


async def test_tasks_have_ended_when_their_end_is_over() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("slow")

    async def broken() -> None:
        raise ValueError("broken")

    tasks = [asyncio.create_task(slow()), asyncio.create_task(broken())]
    await asyncio.sleep(0)
    await end(*tasks)
    assert all(task.done() for task in tasks)
    assert ended == ["slow"]
    await end()


async def test_a_death_is_told_and_an_end_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise ValueError("broken")

    async def waiting() -> None:
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(broken()), asyncio.create_task(waiting()), asyncio.create_task(asyncio.sleep(0))]
    for task in tasks:
        task.add_done_callback(obituary(logger, "it is gone", logging.CRITICAL))
    await asyncio.sleep(0.001)
    await end(*tasks)
    [record] = [each for each in caplog.records if each.name == "llmqd.test"]
    assert (record.levelname, record.getMessage()) == ("CRITICAL", "it is gone")
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "broken"
