"""The watchdog is fed only when lanes and store really answer."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from tests.under_test import running, upstream_toml


async def test_all_well(tmp_path: Path) -> None:
    async with running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9")) as daemon:
        assert await daemon.watch.check(1.0)
        assert daemon.watch.status() == "0 waiting, 0 running, 0 let through; no rate limits"


async def test_a_stuck_lane_is_not_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9")) as daemon:
        worker = next(task for task in asyncio.all_tasks() if task.get_name() == "lane openai")
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        with caplog.at_level(logging.ERROR):
            assert not await daemon.watch.check(0.01)
        assert "the worker loop of lane openai has ended" in caplog.text


async def test_the_status_line_shows_rates_and_trouble(tmp_path: Path) -> None:
    toml = upstream_toml("openai", "http://127.0.0.1:9").replace("requests_per_minute = 0", "requests_per_minute = 90")
    async with running(tmp_path, toml) as daemon:
        assert daemon.watch.status().endswith("openai 90/min")
