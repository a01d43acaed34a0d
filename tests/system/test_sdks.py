"""The official SDKs, unchanged but for their base URL: what they receive is what the upstream sent."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from tests.fake_upstream import FakeUpstream, anthropic_answers, gemini_answers, openai_answers, rechunked
from tests.process import LlmqdProcess, llmqd
from tests.under_test import upstream_toml

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")

HELLO: Any = [{"role": "user", "content": "Hello"}]
CLAUDE = "claude-sonnet-4-6"
GEMINI = "gemini-2.5-flash"
CHUNKINGS = 200


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(keys={"sk-upstream"}) as fake:
        yield fake


@pytest.fixture
async def process(tmp_path: Path, upstream: FakeUpstream) -> AsyncIterator[LlmqdProcess]:
    toml = "".join(upstream_toml(name, upstream.url) for name in ("openai", "anthropic", "gemini"))
    async with llmqd(tmp_path, toml) as running:
        yield running


@pytest.fixture
async def openai_client(process: LlmqdProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{process.url}/v1", api_key="sk-client", max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic_client(process: LlmqdProcess) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=process.url, api_key="sk-client", max_retries=0) as client:
        yield client


@pytest.fixture
async def google_client(process: LlmqdProcess) -> AsyncIterator[genai.Client]:
    client = genai.Client(api_key="AIza-client", http_options=types.HttpOptions(base_url=process.url))
    yield client
    await client.aio.aclose()
    client.close()


async def test_openai_plain_and_streamed(openai_client: openai.AsyncOpenAI) -> None:
    plain = await openai_client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert plain.choices[0].message.content == openai_answers.TEXT
    assert plain.usage is not None
    stream = await openai_client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == openai_answers.TEXT
    assert all(chunk.usage is None for chunk in chunks)
    asked = await openai_client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    assert [chunk.usage async for chunk in asked if not chunk.choices][0] is not None  # noqa: RUF015


async def test_openai_responses_embeddings_models(openai_client: openai.AsyncOpenAI) -> None:
    assert (await openai_client.responses.create(model="gpt-4o", input="Hello")).output_text == openai_answers.TEXT
    events = [event async for event in await openai_client.responses.create(model="gpt-4o", input="H", stream=True)]
    assert events[-1].type == "response.completed"
    embedded = await openai_client.embeddings.create(model="text-embedding-3-small", input="Hello")
    assert embedded.data[0].embedding
    assert [model.id async for model in openai_client.models.list()]


async def test_openai_s_errors_are_raised_as_its_own(openai_client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    upstream.play(openai_answers.error(429, "quota is spent", "insufficient_quota", "insufficient_quota"))
    with pytest.raises(openai.RateLimitError, match="quota is spent"):
        await openai_client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    with pytest.raises(openai.BadRequestError, match="X-LLMQD-Priority"):
        await openai_client.chat.completions.create(
            model="gpt-4o", messages=HELLO, extra_headers={"X-LLMQD-Priority": "?"}
        )


async def test_anthropic_plain_and_streamed(anthropic_client: anthropic.AsyncAnthropic) -> None:
    plain = await anthropic_client.messages.create(model=CLAUDE, max_tokens=100, messages=HELLO)
    assert plain.content[0].type == "text"
    async with anthropic_client.messages.stream(model=CLAUDE, max_tokens=100, messages=HELLO) as stream:
        assert await stream.get_final_text() == plain.content[0].text
    counted = await anthropic_client.messages.count_tokens(model=CLAUDE, messages=HELLO)
    assert counted.input_tokens > 0


async def test_anthropic_s_errors_are_raised_as_its_own(anthropic_client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="X-LLMQD-Priority"):
        await anthropic_client.messages.create(
            model=CLAUDE, max_tokens=100, messages=HELLO, extra_headers={"X-LLMQD-Priority": "?"}
        )


async def test_google_plain_and_streamed(google_client: genai.Client) -> None:
    plain = await google_client.aio.models.generate_content(model=GEMINI, contents="Hello")
    assert plain.text
    stream = await google_client.aio.models.generate_content_stream(model=GEMINI, contents="Hello")
    assert "".join([chunk.text or "" async for chunk in stream]) == plain.text


async def test_sessions_by_base_url(process: LlmqdProcess) -> None:
    url = f"{process.url}/v1/session/team-a"
    async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
        raw = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
        assert raw.headers["X-LLMQD-Session-Id"] == "team-a"
    async with anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as claude:
        answer = await claude.messages.with_raw_response.create(model=CLAUDE, max_tokens=9, messages=HELLO)
        assert answer.headers["X-LLMQD-Session-Id"] == "team-a"


async def test_openai_receives_the_upstream_s_bytes_in_any_chunking(
    openai_client: openai.AsyncOpenAI, upstream: FakeUpstream
) -> None:
    recorded = openai_answers.chat_stream(include_usage=True)
    for seed in range(CHUNKINGS):
        upstream.play(rechunked(recorded, random.Random(seed), largest=1 + seed))
        async with openai_client.chat.completions.with_streaming_response.create(
            model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
        ) as response:
            assert b"".join([part async for part in response.iter_bytes()]) == recorded.data


async def test_openai_sees_nothing_of_the_usage_that_was_asked_for_on_its_behalf(
    openai_client: openai.AsyncOpenAI, upstream: FakeUpstream
) -> None:
    expected = openai_answers.chat_stream(include_usage=False).data
    for seed in range(CHUNKINGS):
        upstream.play(rechunked(openai_answers.chat_stream(include_usage=True), random.Random(seed), largest=1 + seed))
        async with openai_client.chat.completions.with_streaming_response.create(
            model="gpt-4o", messages=HELLO, stream=True
        ) as response:
            assert b"".join([part async for part in response.iter_bytes()]) == expected


async def test_anthropic_receives_the_upstream_s_bytes_in_any_chunking(
    anthropic_client: anthropic.AsyncAnthropic, upstream: FakeUpstream
) -> None:
    recorded = anthropic_answers.message_stream(CLAUDE)
    for seed in range(CHUNKINGS):
        upstream.play(rechunked(recorded, random.Random(seed), largest=1 + seed))
        async with anthropic_client.messages.with_streaming_response.create(
            model=CLAUDE, max_tokens=9, messages=HELLO, stream=True
        ) as response:
            assert b"".join([part async for part in response.iter_bytes()]) == recorded.data


async def test_google_receives_every_event_in_any_chunking(google_client: genai.Client, upstream: FakeUpstream) -> None:
    recorded = gemini_answers.content_sse(GEMINI)
    seen = None
    for seed in range(CHUNKINGS):
        upstream.play(rechunked(recorded, random.Random(seed), largest=1 + seed))
        stream = await google_client.aio.models.generate_content_stream(model=GEMINI, contents="Hello")
        events = [chunk.model_dump(exclude={"sdk_http_response"}) async for chunk in stream]
        seen = seen or events
        assert events == seen
    assert seen
    assert len(seen) == recorded.data.count(b"data: ")


async def test_every_call_of_the_sdks_stands_in_the_ledger_with_exact_usage(
    process: LlmqdProcess,
    openai_client: openai.AsyncOpenAI,
    anthropic_client: anthropic.AsyncAnthropic,
    google_client: genai.Client,
) -> None:
    await openai_client.chat.completions.create(model="gpt-4o", messages=HELLO)
    await anthropic_client.messages.create(model=CLAUDE, max_tokens=9, messages=HELLO)
    await google_client.aio.models.generate_content(model=GEMINI, contents="Hello")
    await process.stop()
    rows = process.rows("SELECT upstream, dialect, status, usage_source, cost_pico > 0 FROM calls ORDER BY id")
    assert rows == [
        ("openai", "openai", "done", "exact", 1),
        ("anthropic", "anthropic", "done", "exact", 1),
        ("gemini", "gemini", "done", "exact", 1),
    ]
