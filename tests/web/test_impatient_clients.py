"""Clients with timers of their own are told in time that they wait in vain, and come back to the place they had."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.fake_upstream import FakeUpstream
from tests.under_test import DaemonUnderTest, RawClient, RawResponse, call, running, upstream_toml

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


def body(name: str, stream: bool = False) -> bytes:
    return b'{"model":"gpt-4o","stream":%b,"messages":[{"role":"user","content":"%b"}]}' % (
        b"true" if stream else b"false",
        name.encode(),
    )


def order(upstream: FakeUpstream) -> list[Any]:
    return [request.json()["messages"][0]["content"] for request in upstream.requests]


async def ask(daemon: DaemonUnderTest, name: str, **headers: str) -> RawResponse:
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    return await call(daemon.port, "POST", CHAT, body(name), JSON | named)


async def waits(daemon: DaemonUnderTest, name: str, waiting: int) -> asyncio.Task[RawResponse]:
    """A call that has begun to wait as the last of so many."""
    task = asyncio.create_task(ask(daemon, name))
    await daemon.until(lambda: daemon.waiting == waiting)
    return task


def pause(daemon: DaemonUnderTest, seconds: float | None = None) -> None:
    for lane in daemon.lanes:
        lane.pause(seconds, "test")


def resume(daemon: DaemonUnderTest) -> None:
    for lane in daemon.lanes:
        lane.resume()


async def test_an_sdk_gets_a_refusal_just_before_its_own_timer_ends(tmp_path: Path, upstream: FakeUpstream) -> None:
    toml = upstream_toml("openai", upstream.url) + upstream_toml("anthropic", upstream.url)
    async with running(tmp_path, toml) as daemon:
        pause(daemon)
        async with (
            openai.AsyncOpenAI(base_url=f"{daemon.url}/v1", api_key="k", timeout=2.0, max_retries=0) as ours,
            anthropic.AsyncAnthropic(base_url=daemon.url, api_key="k", timeout=2.0, max_retries=0) as theirs,
        ):
            errors = await asyncio.gather(
                ours.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}]),
                theirs.messages.create(model="claude-x", max_tokens=5, messages=[{"role": "user", "content": "hi"}]),
                return_exceptions=True,
            )
        assert [type(error) for error in errors] == [openai.RateLimitError, anthropic.RateLimitError]
        assert all("no turn came within 1.8 s" in str(error) for error in errors)
        assert (upstream.requests, daemon.waiting) == ([], 0)


@pytest.mark.parametrize("header", ["x-stainless-read-timeout", "X-Stainless-Timeout", "X-Server-Timeout"])
async def test_a_client_that_would_be_gone_is_told_at_once_when_to_come_back(
    tmp_path: Path, upstream: FakeUpstream, header: str
) -> None:
    async with running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        pause(daemon, 100.0)
        response = await asyncio.wait_for(ask(daemon, "hi", **{header: "40"}), 5)
        assert (response.status, b"would_exceed_deadline" in response.body) == (429, True)
        assert 60 <= int(response.header("retry-after") or 0) <= 62
        record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
        assert record.call.max_wait == 38


async def test_the_shortest_bound_holds_and_the_header_goes_on_to_the_upstream(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    async with running(tmp_path, '[queue]\nmax_wait = "30s"\n' + upstream_toml("openai", upstream.url)) as daemon:
        for timer, deadline, bound in (("600", "5", 5), ("10", "20", 9), ("600", "100", 30), ("NOT_GIVEN", "7", 7)):
            response = await ask(daemon, "hi", x_stainless_timeout=timer, X_LLMQD_Deadline=deadline)
            record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
            assert (response.status, record.call.max_wait) == (200, bound)
            assert upstream.requests[-1].header("x-stainless-timeout") == timer


async def test_a_stream_whose_heartbeat_comes_in_time_is_not_bound_by_it(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    async with running(tmp_path, '[queue]\nheartbeat = "20s"\n' + upstream_toml("openai", upstream.url)) as daemon:
        for stream, timer, bound in ((True, "60", 600), (True, "10", 9), (False, "60", 58)):
            headers = JSON | {"x-stainless-read-timeout": timer}
            response = await call(daemon.port, "POST", CHAT, body("hi", stream), headers)
            record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
            assert (response.status, record.call.max_wait) == (200, bound)


async def test_a_client_that_hung_up_while_it_waited_comes_back_to_its_place(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    async with running(tmp_path, upstream_toml("openai", upstream.url, "max_concurrent = 1")) as daemon:
        pause(daemon)
        first = await waits(daemon, "first", 1)
        async with RawClient.to(daemon.port) as client:
            await client.send("POST", CHAT, body("impatient"), JSON)
            await daemon.until(lambda: daemon.waiting == 2)
        await daemon.until(lambda: daemon.waiting == 1)
        calls = [first, await waits(daemon, "late", 2), await waits(daemon, "impatient", 3)]
        resume(daemon)
        assert [answer.status for answer in await asyncio.gather(*calls)] == [200] * 3
        assert order(upstream) == ["first", "impatient", "late"]


async def test_a_claim_to_be_a_retry_gives_no_place_by_itself(tmp_path: Path, upstream: FakeUpstream) -> None:
    async with running(tmp_path, upstream_toml("openai", upstream.url, "max_concurrent = 1")) as daemon:
        pause(daemon)
        calls = [await waits(daemon, "first", 1), await waits(daemon, "second", 2)]
        calls.append(asyncio.create_task(ask(daemon, "liar", x_stainless_retry_count="3")))
        await daemon.until(lambda: daemon.waiting == 3)
        resume(daemon)
        await asyncio.gather(*calls)
        assert order(upstream) == ["first", "second", "liar"]


async def test_who_will_not_wait_keeps_no_place(tmp_path: Path, upstream: FakeUpstream) -> None:
    async with running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        pause(daemon)
        assert (await ask(daemon, "hi", X_LLMQD_No_Queue="1")).status == 429
        assert len(daemon.places) == 0
        assert (await ask(daemon, "hi", X_LLMQD_Deadline="0")).status == 429
        assert len(daemon.places) == 1


async def test_those_whom_a_shutdown_sends_away_have_their_places_to_hand_over(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    async with running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        pause(daemon)
        calls = [await waits(daemon, name, number) for number, name in enumerate("abc", 1)]
        daemon.stop()
        assert {answer.status for answer in await asyncio.gather(*calls)} == {503}
        assert len(daemon.places) == 3
