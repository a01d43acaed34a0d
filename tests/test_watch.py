"""The watchdog is fed only when lanes and store really answer."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from llmqd.auth.key import ClientKey
from tests.fake_upstream import FakeUpstream
from tests.under_test import call, running, upstream_toml


async def test_all_well(tmp_path: Path) -> None:
    async with running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9")) as daemon:
        assert await daemon.watch.check(1.0)
        await daemon.watch.count_spending()
        assert daemon.watch.status() == "0 waiting, 0 running, 0 let through; no rate limits; $0.00 spent today"


async def test_a_stuck_lane_is_not_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9")) as daemon:
        worker = next(task for task in asyncio.all_tasks() if task.get_name() == "lane openai")
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        with caplog.at_level(logging.ERROR):
            assert not await daemon.watch.check(0.01)
        assert "the worker loop of lane openai has ended" in caplog.text


async def test_a_stuck_lane_of_a_client_key_is_not_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = ClientKey(id="k1", name="app", digest="", created=0.0, rpm=60)
    async with running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9")) as daemon:
        assert daemon.key_lanes.lane(key) is not None
        assert await daemon.watch.check(1.0)
        worker = next(task for task in asyncio.all_tasks() if task.get_name() == "lane key app")
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        with caplog.at_level(logging.ERROR):
            assert not await daemon.watch.check(0.01)
        assert "the worker loop of lane key app has ended" in caplog.text


async def test_a_lane_that_is_given_up_while_it_is_asked_is_no_stuck_one(tmp_path: Path) -> None:
    key = ClientKey(id="k1", name="app", digest="", created=0.0, rpm=60)
    async with running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9")) as daemon:
        lane = daemon.key_lanes.lane(key)
        assert lane is not None
        asked = asyncio.create_task(lane.answer())
        await asyncio.sleep(0)
        daemon.key_lanes.forget("app")
        await asyncio.wait_for(asked, 5)
        assert await daemon.watch.check(1.0)


async def test_the_status_line_shows_rates_and_trouble(tmp_path: Path) -> None:
    toml = upstream_toml("openai", "http://127.0.0.1:9").replace("requests_per_minute = 0", "requests_per_minute = 90")
    async with running(tmp_path, toml) as daemon:
        await daemon.watch.count_spending()
        assert daemon.watch.status().endswith("; openai 90/min; $0.00 spent today")


async def test_the_status_line_shows_what_the_day_has_cost(tmp_path: Path) -> None:
    body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
    toml = upstream_toml("openai", "{url}", '[[price]]\nmodel = "gpt-4o-mini"\ninput = 200000\noutput = 100000\n')
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, toml.replace("{url}", upstream.url), store="sqlite") as daemon,
    ):
        await call(daemon.port, "POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        assert await daemon.ledger.settled(5)
        await daemon.watch.count_spending()
        assert daemon.watch.status().endswith("; $4.90 spent today")
