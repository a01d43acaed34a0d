"""Complaints about callers that leave: work that goes on and is paid for, and work that was paid and is not booked."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from llmqd.call import Record
from llmqd.events.kinds import Wanted
from tests.fake_upstream import Answer, FakeUpstream
from tests.fake_upstream import anthropic_answers as anthropic
from tests.fake_upstream import openai_answers as openai
from tests.regressions.chat import CHAT, JSON, MESSAGES, PLAIN, STREAM, chat, held
from tests.under_test import DaemonUnderTest, RawClient, running, upstream_toml

CLAUDE = b'{"model":"claude-sonnet-4-6","max_tokens":9,"stream":true,"messages":[]}'


async def left_after_a_piece(daemon: DaemonUnderTest, path: str = CHAT, body: bytes = STREAM) -> str:
    """A client that leaves when the first piece of its stream is there; gives the call's id."""
    async with RawClient.to(daemon.port) as client:
        await client.send("POST", path, body, JSON | {"anthropic-version": "2023-06-01"})
        head = await client.head()
        await client._chunk()
    return head.header("X-LLMQD-Request-Id") or ""


async def test_who_leaves_while_waiting_costs_nothing(tmp_path: Path) -> None:
    """marketconnect/llm-queue-proxy: queued calls ran with a context of their own and were sent for nobody."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        async with held(daemon):
            async with RawClient.to(daemon.port) as leaving:
                await leaving.send("POST", CHAT, PLAIN, JSON)
                await daemon.until(lambda: daemon.waiting == 1)
                staying = asyncio.create_task(chat(daemon, {"X-Mark": "stays"}))
                await daemon.until(lambda: daemon.waiting == 2)
            await daemon.until(lambda: daemon.waiting == 1)
        assert (await staying).status == 200
        assert [request.header("x-mark") for request in upstream.requests] == ["stays"]
        assert await daemon.ledger.settled(5)
        assert await daemon.ledger.count_by_status() == {"abandoned": 1, "done": 1}


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/responses"])
async def test_who_leaves_a_stream_ends_it_upstream(tmp_path: Path, path: str) -> None:
    """vLLM production-stack #634, litellm #36123, new-api #4184: the upstream went on and was paid to its end."""
    bodies = {CHAT: STREAM, MESSAGES: CLAUDE, "/v1/responses": b'{"model":"gpt-4o","input":"x","stream":true}'}
    answers = {
        CHAT: openai.chat_stream(),
        MESSAGES: anthropic.message_stream(),
        "/v1/responses": openai.response_stream(),
    }
    async with FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url) + upstream_toml("anthropic", upstream.url)
        async with running(tmp_path, toml) as daemon:
            upstream.play(answers[path].paused(asyncio.Event()))
            await left_after_a_piece(daemon, path, bodies[path])
            await upstream.until(lambda: upstream.cancelled == 1)
            await daemon.until(lambda: daemon.running == 0)


async def test_who_leaves_before_a_plain_answer_ends_it_upstream_too(tmp_path: Path) -> None:
    """litellm #37140: without streaming, nothing upstream was ever cancelled when the client had gone."""
    async with (
        FakeUpstream(Answer(end="hang", headers_sent=False)) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url)) as daemon,
    ):
        async with RawClient.to(daemon.port) as client:
            await client.send("POST", CHAT, PLAIN, JSON)
            await upstream.until(lambda: upstream.active == 1)
        await upstream.until(lambda: upstream.active == 0)
        assert (upstream.cancelled, len(upstream.requests)) == (1, 1)


async def test_a_stream_that_was_left_is_booked(tmp_path: Path) -> None:
    """litellm #14457: the usage comes in the last chunk, so who left early stood in the books with nothing."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        answer = openai.chat_stream(include_usage=True)
        upstream.play(answer.paused(asyncio.Event(), after=8))
        async with RawClient.to(daemon.port) as client:
            await client.send("POST", CHAT, STREAM, JSON)
            head = await client.head()
            async with asyncio.timeout(5):
                await client.reader.readuntil(b'" fake"')
        record = await _closed(daemon, head.header("X-LLMQD-Request-Id") or "")
        assert record.outcome.status == "cancelled"
        usage, cost = record.outcome.usage, record.outcome.cost
        assert usage is not None
        assert cost is not None
        assert (usage.source, usage.input > 0, usage.output > 0, cost.total > 0) == ("estimated", True, True, True)


async def test_what_anthropic_said_at_the_start_is_booked_though_the_client_left(tmp_path: Path) -> None:
    """litellm PR #36008: interrupted Messages streams were billed at a fraction of what the provider charged."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("anthropic", upstream.url)) as daemon:
        upstream.play(anthropic.message_stream().paused(asyncio.Event(), after=3))
        record = await _closed(daemon, await left_after_a_piece(daemon, MESSAGES, CLAUDE))
        usage = record.outcome.usage
        assert usage is not None
        assert (usage.input, usage.cached) == (41, 20)


async def test_streams_that_were_left_leave_no_connections_behind(tmp_path: Path) -> None:
    """bifrost PR #6802: abandoned streams kept their upstream connections until there were none left."""
    async with (
        FakeUpstream(openai.chat_stream().paused(asyncio.Event())) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, "learn = false")) as daemon,
    ):
        await asyncio.gather(*(left_after_a_piece(daemon) for _ in range(50)))
        await upstream.until(lambda: (upstream.cancelled, upstream.open_connections) == (50, 0))
        assert daemon.running == 0


async def test_the_place_of_a_stream_that_was_left_goes_to_the_next(tmp_path: Path) -> None:
    """litellm PR #30020: streams that were left held their max_parallel_requests slot until the key was stuck."""
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, "max_concurrent = 1\nlearn = false")) as daemon,
    ):
        upstream.play(*[openai.chat_stream().paused(asyncio.Event())] * 5)
        async with asyncio.timeout(5):
            for _ in range(5):
                await left_after_a_piece(daemon)
            assert (await chat(daemon)).status == 200


async def _closed(daemon: DaemonUnderTest, call_id: str) -> Record:
    await daemon.until(lambda: daemon.running == 0)
    return await daemon.record(call_id)


@pytest.mark.parametrize("how", ["closed", "broken off"])
async def test_who_leaves_in_the_moment_of_the_turn_costs_nothing_either(tmp_path: Path, how: str) -> None:
    """Where a thousand leave at once, the event loop reads of some only after their turns have come."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        leaving = socket.create_connection(("127.0.0.1", daemon.port))
        if how == "broken off":
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        async with held(daemon):
            head = [f"POST {CHAT} HTTP/1.1", "Host: x", "Content-Type: application/json"]
            head += [f"Content-Length: {len(PLAIN)}", "", ""]
            leaving.sendall("\r\n".join(head).encode() + PLAIN)
            await daemon.until(lambda: daemon.waiting == 1)
            daemon.events.subscribe(leaving.close, Wanted(types=frozenset({"started"})))
        await daemon.until(lambda: daemon.waiting == 0 and daemon.running == 0)
        assert leaving.fileno() == -1
        assert upstream.requests == []
        assert await daemon.ledger.settled(5)
        assert await daemon.ledger.count_by_status() == {"abandoned": 1}
