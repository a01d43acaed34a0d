"""The dashboard in a real Chromium, before a running daemon with real calls."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from llmqd.auth.key import ClientKey, new_token
from llmqd.auth.key_file import KeyFile
from tests.browser.chromium import MISSING, Page, chromium
from tests.browser.screenshots import png
from tests.fake_upstream import FakeUpstream
from tests.fake_upstream import openai_answers as openai
from tests.process import LlmqdProcess, llmqd
from tests.under_test import upstream_toml

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

SIM = '[[upstream]]\nname = "sim"\nrequests_per_minute = 0\n'
VIEWS = ("now", "usage", "sessions", "sessions/s%2F1", "calls", "keys", "settings", "health")
ADMIN = "an-admin-token-of-some-length"
T = TypeVar("T")


class Visitor:
    """A person before the page: what they do happens in a thread, while the daemon and its clients go on."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def __call__(self, act: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.to_thread(act, *arguments)

    async def text(self) -> str:
        return await asyncio.to_thread(lambda: self.page.text)

    async def calm(self) -> bool:
        """Whether the console has nothing to say."""
        return await asyncio.to_thread(self.page.complaints) == []


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[LlmqdProcess]:
    async with llmqd(tmp_path, SIM) as process:
        yield process


@pytest.fixture
async def client(daemon: LlmqdProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(daemon.url) as session:
        yield session


@pytest.fixture
async def visitor(daemon: LlmqdProcess, tmp_path: Path) -> AsyncIterator[Visitor]:
    lent = chromium(daemon.url, tmp_path)
    opened = await asyncio.to_thread(lent.__enter__)
    try:
        yield Visitor(opened)
    finally:
        await asyncio.to_thread(lent.__exit__, None, None, None)


async def call(
    client: aiohttp.ClientSession, words: object, model: str = "gpt-4o-mini", session: str = "s/1", **controls: str
) -> str:
    """The id of a call, once it has been answered; `controls` as in `X-LLMQD-User`."""
    talk = words if isinstance(words, list) else [{"role": "user", "content": words}]
    body = {"model": model, "messages": talk}
    headers = {"X-LLMQD-Session": session} | {f"X-LLMQD-{name.title()}": value for name, value in controls.items()}
    async with client.post("/v1/chat/completions", json=body, headers=headers) as answer:
        await answer.read()
        assert answer.status == 200
        return answer.headers["X-LLMQD-Request-Id"]


async def test_a_lane_is_paused_a_call_moved_up_and_the_lane_resumed(
    visitor: Visitor, client: aiohttp.ClientSession
) -> None:
    page = visitor.page
    await visitor(page.open, "now")
    await visitor(page.click, "[aria-label='Pause sim']")
    await visitor(page.shows, "Paused by operator until resumed: from the dashboard")
    async with asyncio.TaskGroup() as calls:
        calls.create_task(call(client, "first", "model-a"))
        await visitor(page.shows, "model-a")
        calls.create_task(call(client, "second", "model-b"))
        await visitor(page.shows, "model-b")
        shown = await visitor.text()
        assert shown.index("model-a") < shown.index("model-b")
        async with client.get("/queue") as answer:
            second = (await answer.json())["waiting"][1]["request_id"]
        await visitor(page.choose, f"[aria-label='Priority of {second}']", "0")
        await visitor(page.until, lambda: page.text.index("model-b") < page.text.index("model-a"), "the move")
        async with client.get("/queue") as answer:
            assert (await answer.json())["waiting"][0]["request_id"] == second
        await visitor(page.click, "[aria-label='Resume sim']")
    await visitor(page.shows, "Nobody waits")
    assert await visitor.calm()


async def test_a_waiting_call_is_cancelled(visitor: Visitor, client: aiohttp.ClientSession) -> None:
    page = visitor.page
    async with client.post("/queue/sim/pause"):
        pass
    await visitor(page.open, "now")
    waiting = asyncio.create_task(client.post("/v1/chat/completions", json={"model": "m", "messages": []}))
    await visitor(page.click, "[aria-label^='Cancel ']")
    await visitor(page.accept)
    assert (await waiting).status == 499
    await visitor(page.shows, "Nobody waits")


async def test_a_session_is_found_by_text_and_its_transcript_read(
    visitor: Visitor, client: aiohttp.ClientSession
) -> None:
    page = visitor.page
    await call(client, "Tell me about <b>kangaroos</b>")
    await call(client, "Something else", session="other")
    await visitor(page.open, "sessions")
    await visitor(page.type, "input[name=text]", "kangaro\n")
    await visitor(page.shows, "Words are found whole")
    await visitor(page.type, "input[name=text]", "*\n")
    await visitor(page.shows, "1 of 1 sessions")
    await visitor(page.click, "td a")
    await visitor(page.shows, "Transcript")
    shown = await visitor.text()
    assert "Tell me about <b>kangaroos</b>" in shown
    assert "[simulated by llmqd" in shown
    await visitor(page.click, "td a")
    await visitor(page.shows, "All fields")
    assert "usage_source" in await visitor.text()
    assert await visitor.calm()


async def test_beyond_the_dearest_all_others_are_one_line_and_together_they_are_the_whole(
    visitor: Visitor, client: aiohttp.ClientSession
) -> None:
    page = visitor.page
    for number in range(11):
        await call(client, "word " * (number + 1), ("gpt-4o-mini", "gpt-4o")[number % 2], user=f"user-{number}")
    await visitor(page.open, "usage?days=7&by=user")
    await visitor(page.click, "[aria-label='Cost by user as CSV']")
    async with client.get("/api/v1/analytics/overview?days=7") as answer:
        overview = json.loads(await answer.text(), parse_float=Decimal)
    rows = list(csv.DictReader(io.StringIO((await visitor(page.downloaded, "cost-by-user.csv")).decode())))
    users = [name for name in rows[0] if name not in ("time", "all others")]
    assert len(users) == 8
    drawn = sum(Decimal(row[name]) for row in rows for name in (*users, "all others"))
    assert abs(drawn - overview["total_cost"]) < Decimal("1e-12")
    await visitor(page.open, "usage?days=30&granularity=hour&by=user")
    await visitor(page.shows, "all others")
    assert await visitor.calm()


async def test_a_search_that_would_look_at_every_call_begins_with_the_last_days(
    visitor: Visitor, client: aiohttp.ClientSession
) -> None:
    page = visitor.page
    made = await call(client, "Hello", tags="blue")
    await visitor(page.open, "calls?tag=blue")
    await visitor(page.shows, "Only the last 7 days were looked through")
    await visitor(page.shows, made)
    await visitor(page.click, ".note a")
    await visitor(page.until, lambda: "looked through" not in page.text and made in page.text, "all of them")
    assert await visitor.calm()


async def test_a_call_shows_each_of_its_attempts(tmp_path: Path) -> None:
    slow = openai.error(429, "slow <b>down</b>", "requests", "rate_limit_exceeded").with_headers(("retry-after", "0.1"))
    async with FakeUpstream() as upstream, llmqd(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(slow, openai.error(503, "out of order", "server_error"))
        async with aiohttp.ClientSession(daemon.url) as client:
            call_id = await call(client, "Hello")
        lent = chromium(daemon.url, tmp_path)
        page = await asyncio.to_thread(lent.__enter__)
        try:
            await asyncio.to_thread(page.open, f"calls/{call_id}")
            await asyncio.to_thread(page.shows, "Attempts, times since the call came")
            shown = await asyncio.to_thread(lambda: page.text)
            assert "waited for another turn" in shown
            assert "HTTP 429: slow <b>down</b>" in shown
            assert "HTTP 503: out of order" in shown
            assert "[object" not in shown
            assert await asyncio.to_thread(page.complaints) == []
        finally:
            await asyncio.to_thread(lent.__exit__, None, None, None)


async def test_tools_are_folded_branches_marked_and_pictures_shown(
    visitor: Visitor, client: aiohttp.ClientSession
) -> None:
    page = visitor.page
    url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    tool = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ghent"}'}}
    talk: list[dict[str, Any]] = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": url}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [tool]},
        {"role": "tool", "tool_call_id": "c1", "content": "Rain"},
    ]
    await call(client, talk)
    await call(client, [*talk, {"role": "assistant", "content": "Wet."}, {"role": "user", "content": "And later?"}])
    await visitor(page.open, "sessions/s%2F1")
    shown = await visitor.text()
    assert "Branch: goes on from message 3" in shown
    assert "Ghent" not in shown
    await visitor(page.click, "summary")
    await visitor(page.shows, '"city": "Ghent"')
    drawn = "return [...document.querySelectorAll('.message img')].some((one) => one.naturalWidth === 48)"
    await visitor(page.until, lambda: bool(page.driver.execute_script(drawn)), "the picture")
    assert await visitor.calm()


async def test_sums_of_the_csv_are_those_of_the_api(visitor: Visitor, client: aiohttp.ClientSession) -> None:
    page = visitor.page
    for number, model in enumerate(("gpt-4o-mini", "gpt-4o", "claude-sonnet-4-5") * 2):
        await call(client, "word " * (number + 1), model)
    await visitor(page.open, "usage?days=7&by=model")
    for file in ("By model as CSV", "Cost over time as CSV", "Cost over time as PNG"):
        await visitor(page.click, f"[aria-label='{file}']")
    async with client.get("/api/v1/analytics/overview?days=7") as answer:
        overview = json.loads(await answer.text(), parse_float=Decimal)
    rows = list(csv.DictReader(io.StringIO((await visitor(page.downloaded, "usage-by-model.csv")).decode())))
    assert len(rows) == 3
    assert sum(Decimal(row["cost_usd"]) for row in rows) == overview["total_cost"]
    assert sum(int(row["input_tokens"]) for row in rows) == overview["total_prompt_tokens"]
    drawn = csv.DictReader(io.StringIO((await visitor(page.downloaded, "cost-over-time.csv")).decode()))
    assert sum(Decimal(row["cost_usd"]) for row in drawn) == overview["total_cost"]
    assert (await visitor(page.downloaded, "cost-over-time.png")).startswith(b"\x89PNG")
    assert await visitor.calm()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "it's $HOME"}]}),
        (
            "/v1/messages",
            {"model": "m", "max_tokens": 9, "system": "x", "messages": [{"role": "user", "content": "a"}]},
        ),
        ("/v1/responses", {"model": "m", "input": "Hello"}),
        ("/v1beta/models/m:generateContent", {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}),
    ],
)
async def test_a_call_copied_as_curl_is_answered_again(
    visitor: Visitor, client: aiohttp.ClientSession, path: str, body: dict[str, Any]
) -> None:
    page = visitor.page
    async with client.post(f"/sim{path}", json=body) as answer:
        assert answer.status == 200
        made = answer.headers["X-LLMQD-Request-Id"]
    await visitor(page.open, f"calls/{made}")
    copied = "let text; navigator.clipboard.writeText = async (one) => { text = one; window.copied = text; }"
    await visitor(page.driver.execute_script, copied)
    await visitor(page.click, "main p button")
    await visitor(page.until, lambda: bool(page.driver.execute_script("return window.copied")), "the command")
    command = str(await visitor(page.driver.execute_script, "return window.copied"))
    shell = await asyncio.create_subprocess_exec(
        "sh", "-c", command.replace("curl ", "curl -sf ", 1), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await shell.communicate()
    assert shell.returncode == 0
    assert b"[simulated by llmqd" in said
    if path.endswith("completions"):
        assert b"it's $HOME" in said


async def test_every_view_is_accessible_in_both_themes_and_any_width(
    visitor: Visitor, client: aiohttp.ClientSession
) -> None:
    page = visitor.page
    made = await call(client, "Hello")
    async with client.post("/queue/sim/pause", json={"seconds": 300}):
        pass
    waiting = asyncio.create_task(call(client, "Waits"))
    for theme, width in (("light", 360), ("dark", 1280), ("light", 3840)):
        await visitor(page.look, width, theme)
        for view in (*VIEWS, f"calls/{made}"):
            await visitor(page.open, view)
            found = await visitor(page.barriers), await visitor(lambda: page.overflow), await visitor(page.complaints)
            assert found == ([], 0, []), f"{view}, {theme}, {width} pixels"
    waiting.cancel()


async def test_budgets_show_what_is_left(visitor: Visitor, daemon: LlmqdProcess) -> None:
    page = visitor.page
    await daemon.stop()
    daemon.write(
        SIM + '[[budget]]\nname = "team"\nlimit = "4 calls/day"\n[[budget]]\nby = "user"\nlimit = "2 calls/life"\n'
    )
    await daemon.start()
    async with aiohttp.ClientSession(daemon.url, headers={"X-LLMQD-User": "ada"}) as client:
        for _ in range(2):
            await call(client, "Hello")
    await visitor(page.open, "keys")
    rows = (await visitor(lambda: page.find("[aria-label=Budgets] tbody").text)).splitlines()
    shown = " ".join(rows)
    assert "all calls 50.0 % 2 4 2 day ok" in shown
    assert "user ada 100.0 % 2 2 0 its life exceeded never" in shown
    assert await visitor(page.barriers) == []
    assert await visitor.calm()


async def test_an_empty_ledger_says_what_to_do(visitor: Visitor) -> None:
    page = visitor.page
    for view, says in (
        ("usage", "base_url"),
        ("sessions", "No session fits"),
        ("calls", "base_url"),
        ("keys", "llmqd keys create"),
        ("sessions/none", "no session is named"),
        ("calls/none", "has no call"),
    ):
        await visitor(page.open, view)
        await visitor(page.shows, says)


async def test_the_page_outlives_a_restart(
    visitor: Visitor, daemon: LlmqdProcess, client: aiohttp.ClientSession
) -> None:
    page = visitor.page
    await visitor(page.open, "now")
    await daemon.stop()
    await visitor(page.until, lambda: "away" in page.find("#state").text, "the loss")
    await daemon.start()
    await visitor(page.until, lambda: page.find("#state").text == "live", "the return")
    await call(client, "Hello", "model-after")
    await visitor(page.shows, "model-after")


async def test_the_keyboard_leads_everywhere(visitor: Visitor, client: aiohttp.ClientSession) -> None:
    page = visitor.page
    await call(client, "Hello")
    await visitor(page.open, "now")
    await visitor(page.type, "main", "7")
    await visitor(page.shows, "Records on their way")
    await visitor(page.type, "main", "3")
    await visitor(page.shows, "1 of 1 sessions")
    await visitor(page.type, "main", "j")
    assert await visitor(lambda: page.driver.switch_to.active_element.text) == "s/1"
    await visitor(lambda: page.driver.switch_to.active_element.send_keys("/"))
    await visitor(lambda: page.driver.switch_to.active_element.send_keys("nowhere\n"))
    await visitor(page.shows, "No session fits")
    await visitor(page.type, "main", "?")
    await visitor(page.until, lambda: page.find("dialog").is_displayed(), "the list of keys")


async def test_where_keys_are_asked_for_one_logs_in(visitor: Visitor, daemon: LlmqdProcess) -> None:
    page = visitor.page
    await daemon.stop()
    daemon.write(SIM + f'[auth]\nmode = "keys"\nadmin_token = "{ADMIN}"\n')
    token, now = new_token(), time.time()
    with KeyFile(daemon.directory / "state").changing() as keys:
        keys["app"] = ClientKey(id=token.id, name="app", digest=token.digest, created=now)
    await daemon.start()
    async with aiohttp.ClientSession(daemon.url, headers={"Authorization": f"Bearer {token.text}"}) as app:
        await call(app, "Mine", session="mine")

    await visitor(page.open, "now")
    assert await visitor.calm()
    await visitor(page.type, "#token", "not-right\n")
    await visitor(page.shows, "this token is not right")
    assert len(await visitor(page.complaints)) == 1, "the refusal"
    assert await visitor(page.barriers) == []
    await visitor(page.type, "#token", f"{ADMIN}\n")
    await visitor(page.shows, "Lanes")
    await visitor(page.click, "[aria-label='Pause sim']")
    await visitor(page.shows, "Paused by operator")
    await visitor(page.open, "keys")
    await visitor(page.shows, "active")
    for view in VIEWS[1:3]:
        await visitor(page.open, view)
    assert ADMIN not in str(
        await visitor(page.driver.execute_script, "return [document.cookie, JSON.stringify(localStorage)]")
    )

    await visitor(page.click, "#logout")
    await visitor(page.type, "#token", f"{token.text}\n")
    await visitor(page.shows, "mine")
    assert "Settings" not in await visitor(lambda: page.find("nav").text)
    await visitor(page.click, "td a")
    await visitor(page.shows, "Mine")
    await visitor(page.open, "keys")
    await visitor(page.shows, "No budget is in use")
    assert await visitor.calm()


async def test_a_login_that_ends_with_the_daemon_is_asked_for_again(visitor: Visitor, daemon: LlmqdProcess) -> None:
    page = visitor.page
    await daemon.stop()
    daemon.write(SIM + f'[auth]\nadmin_token = "{ADMIN}"\n')
    await daemon.start()
    await visitor(page.open, "now")
    await visitor(page.type, "#token", f"{ADMIN}\n")
    await visitor(page.shows, "Lanes")
    await daemon.stop()
    await daemon.start()
    await visitor(page.shows, "Admin token")
    await visitor(page.type, "#token", f"{ADMIN}\n")
    await visitor(page.shows, "Lanes")
    await visitor(page.until, lambda: page.find("#state").text == "live", "the events")
