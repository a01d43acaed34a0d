"""The official SDKs on streams that wait: they outlive their own timers, and see a late failure as an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types

from tests.fake_upstream import FakeUpstream, anthropic_answers, gemini_answers, openai_answers
from tests.process import llmqd
from tests.under_test import DaemonUnderTest, call, running, upstream_toml

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")

HELLO: Any = [{"role": "user", "content": "Hello"}]
CLAUDE = "claude-sonnet-4-6"
GEMINI = "gemini-2.5-flash"
WAIT = 1.5
"""Seconds that every call waits for its turn."""
PATIENCE = 0.6
"""Seconds without a byte after which the SDKs give up."""
QUEUE = '[queue]\nheartbeat = "200ms"\nheartbeat_every = "200ms"\n'


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@asynccontextmanager
async def waiting(tmp_path: Path, upstream: FakeUpstream, queue: str = QUEUE) -> AsyncIterator[DaemonUnderTest]:
    """A daemon that lets nobody through for a while."""
    toml = queue + "".join(upstream_toml(name, upstream.url) for name in ("openai", "anthropic", "gemini"))
    async with running(tmp_path, toml) as daemon:
        for lane in daemon.lanes:
            lane.pause(WAIT, "test")
        yield daemon


@pytest.fixture
async def daemon(tmp_path: Path, upstream: FakeUpstream) -> AsyncIterator[DaemonUnderTest]:
    async with waiting(tmp_path, upstream) as daemon:
        yield daemon


def openai_client(daemon: DaemonUnderTest) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{daemon.url}/v1", api_key="sk-client", max_retries=0, timeout=PATIENCE)


def anthropic_client(daemon: DaemonUnderTest) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=daemon.url, api_key="sk-client", max_retries=0, timeout=PATIENCE)


@asynccontextmanager
async def google_client(daemon: DaemonUnderTest) -> AsyncIterator[genai.Client]:
    client = genai.Client(api_key="AIza-client", http_options=types.HttpOptions(base_url=daemon.url))
    try:
        yield client
    finally:
        await client.aio.aclose()
        client.close()


def cancel(daemon: DaemonUnderTest) -> None:
    for lane in daemon.lanes:
        for ticket in list(lane.tickets()):
            lane.cancel(ticket)


async def test_without_a_heartbeat_the_sdk_s_timer_bounds_the_wait(tmp_path: Path, upstream: FakeUpstream) -> None:
    async with waiting(tmp_path, upstream, "") as daemon, openai_client(daemon) as client:
        with pytest.raises((openai.APITimeoutError, openai.RateLimitError)):
            await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)


async def test_openai_chat_waits_and_streams(daemon: DaemonUnderTest) -> None:
    async with openai_client(daemon) as client:
        stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == openai_answers.TEXT


async def test_openai_responses_waits_and_streams(daemon: DaemonUnderTest) -> None:
    async with (
        openai_client(daemon) as client,
        client.responses.stream(model="gpt-4o", input="Hello") as stream,
    ):
        assert (await stream.get_final_response()).output_text == openai_answers.TEXT


async def test_anthropic_waits_and_streams(daemon: DaemonUnderTest) -> None:
    async with (
        anthropic_client(daemon) as client,
        client.messages.stream(model=CLAUDE, max_tokens=100, messages=HELLO) as stream,
    ):
        assert await stream.get_final_text() == openai_answers.TEXT


async def test_google_waits_and_streams(daemon: DaemonUnderTest) -> None:
    async with google_client(daemon) as client:
        stream = await client.aio.models.generate_content_stream(model=GEMINI, contents="Hello")
        assert "".join([chunk.text or "" async for chunk in stream]) == openai_answers.TEXT


async def test_the_daemon_as_it_runs_beats_while_a_call_waits_for_its_rate(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    toml = QUEUE + upstream_toml("openai", upstream.url).replace("minute = 0", "minute = 60")
    body = b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
    async with llmqd(tmp_path, toml) as process:
        target = ("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        first, second = await asyncio.gather(call(process.port, *target), call(process.port, *target))
    stream = openai_answers.chat_stream(include_usage=True).data
    beats = [len(answer.body) - len(stream) for answer in (first, second)]
    assert [answer.body.lstrip(b"\n") for answer in (first, second)] == [stream, stream]
    assert min(beats) == 0
    assert 3 <= max(beats) <= 6, "one at 0.2 s, then one every 0.2 s until the turn at 1 s"


async def test_openai_chat_raises_a_late_refusal_of_the_upstream(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    upstream.play(openai_answers.error(429, "quota is spent", "insufficient_quota", "insufficient_quota"))
    async with openai_client(daemon) as client:
        stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="quota is spent") as raised:
            [chunk async for chunk in stream]
    assert raised.value.code == "insufficient_quota"
    assert not isinstance(raised.value, openai.APIStatusError)


async def test_openai_chat_raises_a_late_refusal_of_llmqd(daemon: DaemonUnderTest) -> None:
    async with openai_client(daemon) as client:
        stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        cancel(daemon)
        with pytest.raises(openai.APIError, match="cancelled by an operator") as raised:
            [chunk async for chunk in stream]
    assert raised.value.code == "cancelled"


async def test_openai_responses_yields_a_late_refusal_as_its_error_event(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    upstream.play(openai_answers.error(400, "no such tool", "invalid_request_error", "bad_tool", "tools"))
    async with openai_client(daemon) as client:
        stream = await client.responses.create(model="gpt-4o", input="Hello", stream=True)
        events = [event async for event in stream]
    assert [event.type for event in events] == ["error"]
    assert events[0].model_dump() == {
        "type": "error",
        "code": "bad_tool",
        "message": "no such tool",
        "param": "tools",
        "sequence_number": 0,
    }


async def test_anthropic_raises_a_late_refusal(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    upstream.play(anthropic_answers.error(401, "authentication_error", "bad key"))
    async with anthropic_client(daemon) as client:
        stream = await client.messages.create(model=CLAUDE, max_tokens=9, messages=HELLO, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="bad key") as raised:
            [event async for event in stream]
    assert raised.value.status_code == 200
    assert raised.value.type == "authentication_error"


async def test_anthropic_raises_a_late_refusal_of_llmqd(daemon: DaemonUnderTest) -> None:
    async with anthropic_client(daemon) as client:
        stream = await client.messages.create(model=CLAUDE, max_tokens=9, messages=HELLO, stream=True)
        daemon.stop()
        with pytest.raises(anthropic.APIStatusError, match="shutting_down"):
            [event async for event in stream]


async def test_google_raises_a_late_refusal(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    upstream.play(gemini_answers.error(400, "INVALID_ARGUMENT", "no such tool"))
    async with google_client(daemon) as client:
        stream = await client.aio.models.generate_content_stream(model=GEMINI, contents="Hello")
        with pytest.raises(google_errors.ClientError, match="no such tool") as raised:
            [chunk async for chunk in stream]
    assert (raised.value.code, raised.value.status) == (400, "INVALID_ARGUMENT")


async def test_google_raises_a_late_refusal_of_llmqd(daemon: DaemonUnderTest) -> None:
    async with google_client(daemon) as client:
        asyncio.get_running_loop().call_later(0.5, cancel, daemon)
        stream = await client.aio.models.generate_content_stream(model=GEMINI, contents="Hello")
        with pytest.raises(google_errors.ClientError, match="cancelled by an operator"):
            [chunk async for chunk in stream]


async def test_google_takes_an_answer_in_one_piece_for_a_stream(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    upstream.play(gemini_answers.content(GEMINI))
    async with google_client(daemon) as client:
        stream = await client.aio.models.generate_content_stream(model=GEMINI, contents="Hello")
        assert [chunk.text async for chunk in stream] == [openai_answers.TEXT]
