"""Clients that leave: with on_disconnect = "finish" the bill is exact, with "cancel" the upstream is let go."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fake_upstream import Answer, FakeUpstream, json_answer
from tests.fake_upstream import openai_answers as openai
from tests.under_test import DaemonUnderTest, RawClient, call, running, upstream_toml

CHAT = "/v1/chat/completions"
STREAM = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hello"}]}'
PLAIN = b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hello"}]}'
JSON = {"Content-Type": "application/json"}
FINISH = 'on_disconnect = "finish"\nlearn = false\n'


async def left_in_the_stream(daemon: DaemonUnderTest) -> str:
    """Leaves when the first piece is there; the call's id."""
    async with RawClient.to(daemon.port) as client:
        await client.send("POST", CHAT, STREAM, JSON)
        head = await client.head()
        await client._chunk()
    return head.header("X-LLMQD-Request-Id") or ""


async def left_before_the_answer(daemon: DaemonUnderTest, upstream: FakeUpstream, body: bytes = PLAIN) -> None:
    async with RawClient.to(daemon.port) as client:
        await client.send("POST", CHAT, body, JSON)
        await upstream.until(lambda: upstream.active == 1)


async def test_a_stream_is_read_to_its_end_for_the_bill(tmp_path: Path) -> None:
    gate = asyncio.Event()
    answer = openai.chat_stream(include_usage=True).paused(gate)
    async with (
        FakeUpstream(answer) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, FINISH)) as daemon,
    ):
        call_id = await left_in_the_stream(daemon)
        await daemon.until(lambda: len(daemon.disconnects) == 1)
        gate.set()
        await daemon.until(lambda: daemon.running == 0)
        outcome = (await daemon.record(call_id)).outcome
        assert (outcome.status, outcome.on_disconnect, upstream.cancelled) == ("cancelled", "finish", 0)
        assert outcome.usage is not None
        assert (outcome.usage.source, outcome.cost is not None) == ("exact", True)
        shown = await call(daemon.port, "GET", f"/api/v1/requests/{call_id}")
        assert {"on_disconnect": "finish", "usage_source": "exact"}.items() <= dict(shown.json()).items()  # type: ignore[call-overload]
        assert len(daemon.disconnects) == 0


async def test_an_answer_that_had_not_begun_is_waited_for(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with (
        FakeUpstream(openai.chat().but(before=[gate])) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, FINISH)) as daemon,
    ):
        await left_before_the_answer(daemon, upstream)
        await daemon.until(lambda: len(daemon.disconnects) == 1)
        gate.set()
        await daemon.until(lambda: daemon.running == 0)
        assert await daemon.ledger.settled(5)
        assert await daemon.ledger.count_by_status() == {"cancelled": 1}
        assert upstream.cancelled == 0


async def test_what_failed_is_not_tried_again_for_nobody(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with (
        FakeUpstream(json_answer({"error": {}}, 500).but(before=[gate])) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, FINISH)) as daemon,
    ):
        await left_before_the_answer(daemon, upstream)
        await daemon.until(lambda: len(daemon.disconnects) == 1)
        gate.set()
        await daemon.until(lambda: daemon.running == 0)
        assert await daemon.ledger.settled(5)
        assert (await daemon.ledger.count_by_status(), len(upstream.requests)) == ({"cancelled": 1}, 1)


async def test_the_default_lets_the_upstream_go_and_says_so(tmp_path: Path) -> None:
    answer = openai.chat_stream(include_usage=True).paused(asyncio.Event(), after=3)
    async with FakeUpstream(answer) as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        call_id = await left_in_the_stream(daemon)
        await upstream.until(lambda: upstream.cancelled == 1)
        await daemon.until(lambda: daemon.running == 0)
        outcome = (await daemon.record(call_id)).outcome
        assert (outcome.status, outcome.on_disconnect) == ("cancelled", "cancel")
        assert outcome.usage is not None
        assert outcome.usage.source == "estimated"


async def test_an_answer_without_end_is_not_read_for_ever(tmp_path: Path) -> None:
    endless = openai.chat_stream().paused(asyncio.Event(), after=3)
    more = FINISH + 'finish_within = "100ms"\n'
    async with (
        FakeUpstream(endless) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, more)) as daemon,
    ):
        call_id = await left_in_the_stream(daemon)
        await upstream.until(lambda: upstream.cancelled == 1)
        await daemon.until(lambda: daemon.running == 0)
        outcome = (await daemon.record(call_id)).outcome
        assert (outcome.status, outcome.on_disconnect) == ("cancelled", "finish")
        assert outcome.usage is not None
        assert outcome.usage.source == "estimated"


async def test_an_answer_that_is_silent_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    more = FINISH + 'finish_within = "100ms"\n'
    async with (
        FakeUpstream(Answer(end="hang", headers_sent=False)) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, more)) as daemon,
    ):
        await left_before_the_answer(daemon, upstream)
        await upstream.until(lambda: upstream.active == 0)
        await daemon.until(lambda: daemon.running == 0)
        assert await daemon.ledger.settled(5)
        assert await daemon.ledger.count_by_status() == {"cancelled": 1}


async def test_more_than_finish_max_is_not_read(tmp_path: Path) -> None:
    gate = asyncio.Event()
    long = openai.chat_stream().paused(gate).but(end="hang")
    long = long.but(body=[*long.body[:3], *[b": " + b"x" * 1000 + b"\n\n"] * 1000])
    async with (
        FakeUpstream(long) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, FINISH + 'finish_max = "100KiB"')) as daemon,
    ):
        call_id = await left_in_the_stream(daemon)
        await daemon.until(lambda: len(daemon.disconnects) == 1)
        gate.set()
        await daemon.until(lambda: daemon.running == 0)
        outcome = (await daemon.record(call_id)).outcome
        assert (outcome.status, outcome.on_disconnect) == ("cancelled", "finish")
        assert outcome.response_bytes < 500_000


async def test_a_shutdown_does_not_wait_for_what_nobody_reads(tmp_path: Path) -> None:
    endless = openai.chat_stream().paused(asyncio.Event(), after=3)
    async with FakeUpstream(endless) as upstream:
        async with asyncio.timeout(20), running(tmp_path, upstream_toml("openai", upstream.url, FINISH)) as daemon:
            await left_in_the_stream(daemon)
            await daemon.until(lambda: len(daemon.disconnects) == 1)
            daemon.stop()
        assert len(daemon.disconnects) == 0
        assert daemon.running == 0


async def test_the_place_of_a_call_that_is_finished_stays_taken(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with (
        FakeUpstream(openai.chat()) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, FINISH + "max_concurrent = 1")) as daemon,
    ):
        upstream.play(openai.chat_stream().paused(gate))
        await left_in_the_stream(daemon)
        await daemon.until(lambda: len(daemon.disconnects) == 1)
        following = asyncio.create_task(call(daemon.port, "POST", CHAT, PLAIN, JSON))
        await daemon.until(lambda: daemon.waiting == 1)
        assert len(upstream.requests) == 1
        gate.set()
        assert (await following).status == 200
