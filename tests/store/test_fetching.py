"""A question that takes too long, or whose asker has left, ends and leaves its connection free for others."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from llmqd.store.backend import Unavailable
from llmqd.store.sqlite import SQLite

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"


@pytest.mark.parametrize("on_disk", [True, False], ids=["disk", "memory"])
async def test_a_question_has_a_time_limit(tmp_path: Path, on_disk: bool) -> None:
    backend = SQLite(tmp_path / "llmqd.db" if on_disk else None, query_timeout=0.1)
    await backend.open("journal")
    try:
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(Unavailable, match=r"within 0.1 s .\[store\] query_timeout"):
                await backend.ask(ENDLESS)
            assert time.monotonic() - began < 2
        assert await backend.ask("SELECT 1 AS one") == [{"one": 1}]
    finally:
        await backend.close()


async def test_waiting_for_a_free_connection_counts_too(tmp_path: Path) -> None:
    backend = SQLite(tmp_path / "llmqd.db", query_timeout=0.2)
    await backend.open("journal")
    try:
        began = time.monotonic()
        answers = await asyncio.gather(*[backend.ask(ENDLESS) for _ in range(6)], return_exceptions=True)
        assert all(isinstance(answer, Unavailable) for answer in answers)
        assert time.monotonic() - began < 2
    finally:
        await backend.close()


@pytest.mark.parametrize("on_disk", [True, False], ids=["disk", "memory"])
async def test_a_question_whose_asker_leaves_is_interrupted(tmp_path: Path, on_disk: bool) -> None:
    backend = SQLite(tmp_path / "llmqd.db" if on_disk else None)
    await backend.open("journal")
    try:
        for pause in (0.0, 0.001, 0.05):
            asking = asyncio.create_task(backend.ask(ENDLESS))
            await asyncio.sleep(pause)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(asking, 5)
            async with asyncio.timeout(5):
                assert await backend.ask("SELECT 1 AS one") == [{"one": 1}]
    finally:
        await backend.close()
