from __future__ import annotations

import asyncio
import logging

import pytest

from llmqd.background import CatchingUp, end, obituary

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


def catching_up(reasons: list[str | None], *, patience: float = 5.0) -> CatchingUp:
    """Attempts that end with these reasons, the last of them again and again; "late" for one that takes for ever."""

    async def attempt() -> str | None:
        reason = reasons.pop(0) if len(reasons) > 1 else reasons[0]
        if reason == "late":
            await asyncio.Event().wait()
        return reason

    made = CatchingUp(
        attempt,
        name="test",
        logger=logger,
        lacks="something is missing",
        known="all is there",
        patience=patience,
        every=0.001,
    )
    made.wanted.set()
    return made


async def said(records: list[logging.LogRecord]) -> list[str]:
    await asyncio.sleep(0.02)
    return [each.getMessage() for each in records if each.name == "llmqd.test"]


async def test_what_fails_is_tried_until_it_succeeds_and_said_once_at_each_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        async with catching_up(["locked", "locked", "slow", None]) as it:
            assert await said(caplog.records) == ["something is missing: locked", "all is there"]
            assert it.reason is None
            it.tried.clear()
            it.wanted.set()
            await it.tried.wait()
    assert len(await said(caplog.records)) == 2


async def test_nobody_waits_longer_than_the_patience_for_the_first_attempt(caplog: pytest.LogCaptureFixture) -> None:
    async with catching_up(["late"], patience=0.01) as it:
        assert it.reason == "there was no answer within 0.01 s"
    assert await said(caplog.records) == ["something is missing: there was no answer within 0.01 s"]


async def test_an_attempt_that_dies_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def attempt() -> str | None:
        raise ValueError("broken")

    it = CatchingUp(attempt, name="test", logger=logger, lacks="", known="", patience=0.01, every=1)
    it.wanted.set()
    async with it:
        assert "test: no attempt will be made any more" in await said(caplog.records)
