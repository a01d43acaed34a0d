"""Answers on their way: first byte at once, every byte unchanged, cuts seen as cuts, the record closed once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from llmqd.usage import Usage
from tests.fake_upstream import Answer, FakeUpstream, compressed, rechunked, sse
from tests.fake_upstream import anthropic_answers as anthropic
from tests.fake_upstream import gemini_answers as gemini
from tests.fake_upstream import ollama_answers as ollama
from tests.fake_upstream import openai_answers as openai
from tests.tap.test_frames import converse
from tests.under_test import DaemonUnderTest, RawClient, RawResponse, call, running, upstream_toml

CHAT = "/v1/chat/completions"
STREAM = b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
UNASKED = b'{"model":"gpt-4o","stream":true,"messages":[]}'
PLAIN = b'{"model":"gpt-4o","messages":[]}'
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def daemon(tmp_path: Path, upstream: FakeUpstream) -> AsyncIterator[DaemonUnderTest]:
    toml = "".join(upstream_toml(name, upstream.url) for name in ("openai", "anthropic", "gemini", "ollama"))
    async with running(tmp_path, toml) as running_daemon:
        yield running_daemon


async def ask(daemon: DaemonUnderTest, body: bytes = STREAM, path: str = CHAT) -> RawResponse:
    return await call(daemon.port, "POST", path, body, JSON)


def id_of(response: RawResponse) -> str:
    return response.header("X-LLMQD-Request-Id") or ""


async def test_the_first_byte_goes_out_while_the_rest_is_still_to_come(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    gate = asyncio.Event()
    upstream.play(openai.chat_stream(include_usage=True).paused(gate, after=1))
    async with RawClient.to(daemon.port) as client:
        await client.send("POST", CHAT, STREAM, JSON)
        head = await client.head()
        assert (head.status, head.header("content-type")) == (200, "text/event-stream; charset=utf-8")
        assert (await client._chunk()).startswith(b"data: ")
        assert not gate.is_set()
        gate.set()
        while await client._chunk():
            pass


async def test_headers_go_out_before_the_first_byte_of_the_body(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    gate = asyncio.Event()
    upstream.play(openai.chat_stream(include_usage=True).paused(gate, after=0))
    async with RawClient.to(daemon.port) as client:
        await client.send("POST", CHAT, STREAM, JSON)
        assert (await client.head()).status == 200
        gate.set()


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
async def test_an_upstream_error_on_a_stream_keeps_its_status_and_bytes(
    tmp_path: Path, upstream: FakeUpstream, status: int
) -> None:
    async with running(tmp_path, upstream_toml("openai", upstream.url, "retries = 0")) as daemon:
        upstream.play(openai.error(status, "no", "x").with_headers(("retry-after", "3")))
        response = await call(daemon.port, "POST", CHAT, STREAM, JSON | {"X-LLMQD-No-Queue": "1"})
        assert (response.status, response.header("retry-after")) == (status, "3")
        assert response.body == openai.error(status, "no", "x").data
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("seed", range(10))
async def test_any_chunking_gives_the_same_bytes_and_the_same_usage(
    daemon: DaemonUnderTest, upstream: FakeUpstream, seed: int
) -> None:
    answer = rechunked(openai.chat_stream(include_usage=True), random.Random(seed))
    upstream.play(answer)
    response = await ask(daemon)
    assert response.body == answer.data
    usage = (await daemon.record(id_of(response))).outcome.usage
    assert usage is not None
    assert (usage.source, usage.input, usage.output) == ("exact", 19, 11)


async def test_a_client_that_did_not_ask_for_usage_sees_none_but_the_ledger_has_it(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    response = await ask(daemon, UNASKED)
    assert response.body == openai.chat_stream(include_usage=False).data
    assert upstream.requests[0].json()["stream_options"] == {"include_usage": True}
    assert upstream.requests[0].header("accept-encoding") == "identity"
    usage = (await daemon.record(id_of(response))).outcome.usage
    assert usage is not None
    assert usage.source == "exact"


async def test_a_stream_is_known_by_its_content_type_in_any_spelling(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    upstream.play(openai.chat_stream(include_usage=True).but(headers=[("Content-Type", "Text/Event-Stream")]))
    assert (await ask(daemon, UNASKED)).body == openai.chat_stream(include_usage=False).data


async def test_usage_is_not_asked_for_where_the_setting_forbids_it(tmp_path: Path, upstream: FakeUpstream) -> None:
    async with running(tmp_path, upstream_toml("openai", upstream.url, "include_usage = false")) as daemon:
        response = await ask(daemon, UNASKED)
        assert upstream.requests[0].body == UNASKED
        usage = (await daemon.record(id_of(response))).outcome.usage
        assert usage is not None
        assert usage.source == "estimated"
        assert usage.output > 0


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        (CHAT, PLAIN, openai.chat()),
        ("/v1/completions", PLAIN, openai.completion()),
        (
            "/v1/embeddings",
            b'{"model":"text-embedding-3-small","input":"x"}',
            openai.embeddings("text-embedding-3-small"),
        ),
        ("/v1/responses", b'{"model":"gpt-4o","input":"x"}', openai.response()),
        ("/v1/responses", b'{"model":"gpt-4o","input":"x","stream":true}', openai.response_stream()),
        ("/v1/messages", b'{"model":"claude-sonnet-4-6","messages":[]}', anthropic.message()),
        ("/v1/messages", b'{"model":"claude-sonnet-4-6","messages":[],"stream":true}', anthropic.message_stream()),
        ("/v1beta/models/gemini-2.5-flash:generateContent", b'{"contents":[]}', gemini.content()),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", b'{"contents":[]}', gemini.content_sse()),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", b'{"contents":[]}', gemini.content_array()),
        ("/ollama/api/chat", b'{"model":"llama3.2","messages":[]}', ollama.chat_stream()),
        ("/ollama/api/chat", b'{"model":"llama3.2","messages":[],"stream":false}', ollama.chat()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_every_dialect_passes_byte_for_byte_with_exact_usage(
    daemon: DaemonUnderTest, upstream: FakeUpstream, path: str, body: bytes, answer: Answer
) -> None:
    upstream.play(answer)
    response = await ask(daemon, body, path)
    assert response.body == answer.data
    record = await daemon.record(id_of(response))
    assert record.outcome.usage is not None
    assert record.outcome.usage.source == "exact"
    assert record.outcome.usage.input > 0
    assert record.outcome.status == "done"
    assert record.call.model is not None


async def test_gzip_streams_pass_as_they_are_and_are_still_read(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    answer = compressed(anthropic.message_stream())
    upstream.play(answer)
    response = await ask(daemon, b'{"model":"claude-sonnet-4-6","messages":[],"stream":true}', "/v1/messages")
    assert response.body == answer.data
    assert response.header("content-encoding") == "gzip"
    usage = (await daemon.record(id_of(response))).outcome.usage
    assert usage is not None
    assert usage.source == "exact"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_upstream_that_dies_mid_body_is_seen_as_a_cut(
    daemon: DaemonUnderTest, upstream: FakeUpstream, framing: str
) -> None:
    answer = openai.chat_stream(include_usage=True).but(framing=framing, end="cut")
    upstream.play(answer.but(body=answer.body[:2], length=10_000 if framing == "length" else None))
    response = await ask(daemon)
    assert response.status == 200
    assert not response.complete
    assert response.body == b"".join(answer.body[:2])  # type: ignore[arg-type]
    record = await daemon.record(id_of(response))
    assert (record.outcome.status, record.outcome.error) == ("cut", "upstream_cut")
    assert record.outcome.usage is not None
    assert record.outcome.usage.source == "estimated"


async def test_a_cut_is_no_clean_end_for_an_http_1_0_client_either(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    answer = openai.chat_stream(include_usage=True)
    upstream.play(answer.but(body=[*answer.body[:2], 0.05], end="cut"))
    async with RawClient.to(daemon.port) as client:
        await client.send("POST", CHAT, STREAM, JSON, version="1.0")
        await client.head()
        with pytest.raises(ConnectionResetError):
            await client.reader.read()


async def test_an_answer_that_ends_with_its_connection_is_whole(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    upstream.play(openai.chat_stream(include_usage=True).but(framing="close"))
    response = await ask(daemon)
    assert response.complete
    assert response.body == openai.chat_stream(include_usage=True).data


async def test_an_answer_that_ends_with_a_reset_is_not_whole(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    answer = openai.chat_stream(include_usage=True)
    upstream.play(answer.but(framing="close", body=[*answer.body[:2], 0.05], end="reset"))
    response = await ask(daemon)
    assert not response.complete
    assert (await daemon.record(id_of(response))).outcome.status == "cut"


async def test_an_upstream_may_answer_before_it_has_read_a_large_question(tmp_path: Path) -> None:
    body = PLAIN + b" " * 8_000_000
    received = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n")
        await asyncio.sleep(0.1)
        while received < len(body) and (data := await reader.read(65536)):
            received += len(data)
        writer.write(b"ok")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with running(tmp_path, upstream_toml("openai", url)) as daemon:
            response = await asyncio.wait_for(ask(daemon, body), 5)
            assert (response.body, received) == (b"ok", len(body))


@pytest.mark.parametrize("phase", ["before headers", "after headers", "mid-stream", "plain"])
async def test_a_client_that_leaves_cancels_the_upstream_in_every_phase(
    daemon: DaemonUnderTest, upstream: FakeUpstream, phase: str
) -> None:
    never = asyncio.Event()
    stream = openai.chat_stream(include_usage=True)
    answers = {
        "before headers": Answer(before=[never]),
        "after headers": stream.paused(never, after=0),
        "mid-stream": stream.paused(never, after=2),
        "plain": openai.chat().but(body=[b"{", never, b"}"]),
    }
    upstream.play(answers[phase])
    async with RawClient.to(daemon.port) as client:
        await client.send("POST", CHAT, STREAM if phase != "plain" else PLAIN, JSON)
        await upstream.until(lambda: len(upstream.requests) == 1)
        if phase != "before headers":
            await client.head()
        if phase == "mid-stream":
            await client._chunk()
    await upstream.until(lambda: upstream.cancelled == 1)
    await daemon.until(lambda: daemon.running == 0)
    assert await daemon.ledger.settled(5)
    assert await daemon.ledger.count_by_status() == {"cancelled": 1}


async def test_a_line_of_two_megabytes_passes(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    image = sse([b'data: {"type":"image","b64":"' + b"A" * 2_000_000 + b'"}', *_events(openai.response_stream())])
    upstream.play(image)
    response = await ask(daemon, b'{"model":"gpt-4o","stream":true}', "/v1/responses")
    assert response.body == image.data
    usage = (await daemon.record(id_of(response))).outcome.usage
    assert usage is not None
    assert usage.source == "exact"


async def test_a_slow_client_slows_the_upstream_instead_of_filling_memory(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    piece = b"x" * 65536
    upstream.play(Answer(headers=[("Content-Type", "audio/mpeg")], body=[piece] * 1000, framing="chunked"))
    async with RawClient.to(daemon.port) as client:
        client.reader._limit = 4096  # type: ignore[attr-defined]
        await client.send("POST", "/v1/audio/speech", PLAIN, JSON)
        await client.head()
        await asyncio.sleep(0.3)
        assert upstream.completed == 0
        received = 0
        while chunk := await client.reader.read(1 << 20):
            received += len(chunk)
            if received > 65_536_000:
                break
    await upstream.until(lambda: upstream.completed == 1)


async def test_duplicate_provider_ids_are_two_records(daemon: DaemonUnderTest) -> None:
    first, second = await ask(daemon, PLAIN), await ask(daemon, PLAIN)
    records = [await daemon.record(id_of(response)) for response in (first, second)]
    assert records[0].outcome.provider_id == records[1].outcome.provider_id is not None
    assert records[0].call.id != records[1].call.id


async def test_the_record_says_all_that_is_known(daemon: DaemonUnderTest) -> None:
    headers = JSON | {"X-LLMQD-Agent": "a", "X-LLMQD-User": "u", "X-LLMQD-Tags": "x:1,y", "X-LLMQD-Priority": "high",
                      "x-stainless-retry-count": "1", "session_id": "codex-1"}  # fmt: skip
    response = await call(daemon.port, "POST", CHAT, PLAIN, headers)
    record = await daemon.record(id_of(response))
    assert (record.call.agent, record.call.user, record.call.tags) == ("a", "u", ("x:1", "y"))
    assert (record.call.priority, record.call.client_retry, record.call.session.id) == (1, 1, "codex-1")
    outcome = record.outcome
    assert (outcome.status, outcome.http_status, outcome.attempts, outcome.lane) == ("done", 200, 1, "openai")
    assert outcome.response_bytes == len(response.body)
    assert 0 <= (outcome.queued_ms or 0) <= (outcome.first_byte_ms or 0) <= (outcome.total_ms or 0)
    assert outcome.response_model is not None


async def test_an_error_inside_a_good_answer_is_noted(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    upstream.play(sse([b'data: {"error":{"message":"x","type":"server_error","code":"upstream_error"}}']))
    response = await ask(daemon)
    record = await daemon.record(id_of(response))
    assert record.outcome.status == "done"
    assert record.outcome.error is not None


def _events(answer: Answer) -> list[bytes]:
    return [event for event in answer.data.split(b"\n\n") if event]


async def test_trailing_bytes_behind_the_end_marker_pass_too(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    answer = openai.chat_stream(include_usage=True)
    upstream.play(answer.but(body=[*answer.body, b": bye\n\n"]))
    response = await ask(daemon)
    assert response.complete
    assert response.body.endswith(b"data: [DONE]\n\n: bye\n\n")


async def test_json_is_passed_as_the_upstream_wrote_it(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    odd = b'\n\n {"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}} \n'
    upstream.play(openai.chat().but(body=[odd]))
    response = await ask(daemon, PLAIN)
    assert response.body == odd
    usage = (await daemon.record(id_of(response))).outcome.usage
    assert usage is not None
    assert (usage.input, usage.output) == (10, 20)
    assert orjson.loads(odd)


async def test_a_stream_of_bedrock_passes_unchanged_and_is_recorded_with_its_usage(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    stream = converse()
    head = [("Content-Type", "application/vnd.amazon.eventstream")]
    upstream.play(Answer(headers=head, body=[stream[:50], stream[50:]], framing="chunked"))
    bedrock = upstream_toml("aws-bedrock", upstream.url)
    async with running(tmp_path, bedrock) as daemon:
        path = "/aws-bedrock/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse-stream"
        response = await ask(daemon, b'{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}', path)
        assert response.body == stream
        record = await daemon.record(id_of(response))
        assert record.call.stream
        usage = record.outcome.usage
        assert usage is not None
        assert (usage.input, usage.output, usage.source) == (40, 9, "exact")


async def test_what_the_head_of_a_bedrock_answer_counts_is_recorded_where_its_body_counts_nothing(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    head = [("Content-Type", "application/json"), ("X-Amzn-Bedrock-Input-Token-Count", "12")]
    told = [*head, ("X-Amzn-Bedrock-Output-Token-Count", "7")]
    upstream.play(Answer(headers=told, body=[b'{"outputs":[{"text":"Hi"}]}']))
    upstream.play(Answer(headers=[*head[:1], (head[1][0], "many")], body=[b'{"outputs":[{"text":"Hi"}]}']))
    async with running(tmp_path, upstream_toml("aws-bedrock", upstream.url)) as daemon:
        path = "/aws-bedrock/model/mistral.mistral-7b-instruct-v0%3A2/invoke"
        used = []
        for _ in range(2):
            response = await ask(daemon, b'{"prompt":"Hi"}', path)
            used.append((await daemon.record(id_of(response))).outcome.usage)
    assert used == [Usage(12, 7, source="exact"), None]
