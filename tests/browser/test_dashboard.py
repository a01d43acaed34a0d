"""The dashboard in a real Chromium, before a running daemon with real calls."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from tests.browser.chromium import MISSING, Page, chromium
from tests.process import LlmqdProcess, llmqd

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

SIM = '[[upstream]]\nname = "sim"\nrequests_per_minute = 0\n'
VIEWS = ("now", "usage", "sessions", "sessions/s%2F1", "calls", "keys", "settings", "health")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[LlmqdProcess]:
    async with llmqd(tmp_path, SIM) as process:
        yield process


@pytest.fixture
async def client(daemon: LlmqdProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(daemon.url) as session:
        yield session


@pytest.fixture
async def page(daemon: LlmqdProcess, tmp_path: Path) -> AsyncIterator[Page]:
    lent = chromium(daemon.url, tmp_path)
    opened = await asyncio.to_thread(lent.__enter__)
    try:
        yield opened
    finally:
        await asyncio.to_thread(lent.__exit__, None, None, None)


async def call(client: aiohttp.ClientSession, words: str, model: str = "gpt-4o-mini", session: str = "s/1") -> str:
    """The id of a call, once it has been answered."""
    body = {"model": model, "messages": [{"role": "user", "content": words}]}
    async with client.post("/v1/chat/completions", json=body, headers={"X-LLMQD-Session": session}) as answer:
        await answer.read()
        assert answer.status == 200
        return answer.headers["X-LLMQD-Request-Id"]


async def test_a_lane_is_paused_a_call_moved_up_and_the_lane_resumed(page: Page, client: aiohttp.ClientSession) -> None:
    await asyncio.to_thread(page.open, "now")
    await asyncio.to_thread(page.click, "[aria-label='Pause sim']")
    await asyncio.to_thread(page.shows, "Paused by operator until resumed: dashboard")
    async with asyncio.TaskGroup() as calls:
        calls.create_task(call(client, "first", "model-a"))
        await asyncio.to_thread(page.shows, "model-a")
        calls.create_task(call(client, "second", "model-b"))
        await asyncio.to_thread(page.shows, "model-b")
        assert page.text.index("model-a") < page.text.index("model-b")
        async with client.get("/queue") as answer:
            second = (await answer.json())["waiting"][1]["request_id"]
        raised = "it.value = '0'; it.dispatchEvent(new Event('change'))"
        await asyncio.to_thread(page.do, f"[aria-label='Priority of {second}']", raised)
        await asyncio.to_thread(page.until, lambda: page.text.index("model-b") < page.text.index("model-a"), "the move")
        await asyncio.to_thread(page.click, "[aria-label='Resume sim']")
    await asyncio.to_thread(page.shows, "Nobody waits")
    assert page.complaints() == []


async def test_a_session_is_found_by_text_and_its_transcript_read(page: Page, client: aiohttp.ClientSession) -> None:
    await call(client, "Tell me about <b>kangaroos</b>")
    await call(client, "Something else", session="other")
    await asyncio.to_thread(page.open, "sessions")
    await asyncio.to_thread(page.do, "input[name=text]", "it.value = 'kangaroo'; it.form.requestSubmit()")
    await asyncio.to_thread(page.shows, "1 of 1 sessions")
    await asyncio.to_thread(page.click, "td a")
    await asyncio.to_thread(page.shows, "Turns")
    assert "Tell me about <b>kangaroos</b>" in page.text
    assert "[simulated by llmqd" in page.text
    await asyncio.to_thread(page.click, "td a")
    await asyncio.to_thread(page.shows, "All fields")
    await asyncio.to_thread(page.until, lambda: "usage_source" in page.text, "the fields")
    assert page.complaints() == []


async def test_sums_of_the_csv_are_those_of_the_api(page: Page, client: aiohttp.ClientSession) -> None:
    for number, model in enumerate(("gpt-4o-mini", "gpt-4o", "claude-sonnet-4-5") * 2):
        await call(client, "word " * (number + 1), model)
    await asyncio.to_thread(page.open, "usage?days=7&by=model")
    await asyncio.to_thread(page.click, "[aria-label='By model as CSV']")
    await asyncio.to_thread(page.click, "[aria-label='Cost over time as CSV']")
    await asyncio.to_thread(page.click, "[aria-label='Cost over time as PNG']")
    async with client.get("/api/v1/analytics/overview?days=7") as answer:
        overview = json.loads(await answer.text(), parse_float=Decimal)
    rows = list(csv.DictReader(io.StringIO((await asyncio.to_thread(page.downloaded, "usage-by-model.csv")).decode())))
    assert len(rows) == 3
    assert sum(Decimal(row["cost_usd"]) for row in rows) == overview["total_cost"]
    assert sum(int(row["input_tokens"]) for row in rows) == overview["total_prompt_tokens"]
    drawn = csv.DictReader(io.StringIO((await asyncio.to_thread(page.downloaded, "cost-over-time.csv")).decode()))
    assert sum(Decimal(row["cost_usd"]) for row in drawn) == overview["total_cost"]
    assert (await asyncio.to_thread(page.downloaded, "cost-over-time.png")).startswith(b"\x89PNG")
    assert page.complaints() == []


async def test_every_view_is_accessible_in_both_themes_and_any_width(page: Page, client: aiohttp.ClientSession) -> None:
    made = await call(client, "Hello")
    for theme, width in (("light", 360), ("dark", 3840)):
        page.look(width, theme)
        for view in (*VIEWS, f"calls/{made}"):
            await asyncio.to_thread(page.open, view)
            found = await asyncio.to_thread(page.barriers), page.overflow, page.complaints()
            assert found == ([], 0, []), f"{view}, {theme}, {width} pixels"


async def test_an_empty_ledger_says_what_to_do(page: Page) -> None:
    for view, says in (("usage", "base_url"), ("sessions", "No session fits"), ("calls", "base_url")):
        await asyncio.to_thread(page.open, view)
        await asyncio.to_thread(page.shows, says)


async def test_the_page_outlives_a_restart(page: Page, daemon: LlmqdProcess, client: aiohttp.ClientSession) -> None:
    await asyncio.to_thread(page.open, "now")
    await daemon.stop()
    await asyncio.to_thread(page.until, lambda: "away" in page.find("#state").text, "the loss")
    await daemon.start()
    await asyncio.to_thread(page.until, lambda: page.find("#state").text == "live", "the return")
    await call(client, "Hello", "model-after")
    await asyncio.to_thread(page.shows, "model-after")


async def test_keys_move_between_views(page: Page) -> None:
    await asyncio.to_thread(page.open, "now")
    page.find("main").send_keys("7")
    await asyncio.to_thread(page.shows, "Records on their way")
