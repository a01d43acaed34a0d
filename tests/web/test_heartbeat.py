"""A waiting stream is kept alive: nothing too early, nothing that is not the stream's own, every end told in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from llmqd.web.heartbeat import Heartbeat, StreamForm
from tests.fake_upstream import Answer, FakeUpstream, compressed
from tests.fake_upstream import anthropic_answers as anthropic
from tests.fake_upstream import gemini_answers as gemini
from tests.fake_upstream import ollama_answers as ollama
from tests.fake_upstream import openai_answers as openai
from tests.under_test import DaemonUnderTest, RawClient, RawResponse, call, running, upstream_toml

JSON = {"Content-Type": "application/json"}
CHAT = "/v1/chat/completions"
STREAM = b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
MESSAGES = b'{"model":"claude-sonnet-4-6","stream":true,"max_tokens":9,"messages":[]}'
GEMINI = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
OLLAMA = "/ollama/api/chat"
LINES = b'{"model":"llama3.2","messages":[]}'
EARLY = '[queue]\nheartbeat = "50ms"\nheartbeat_every = "20ms"\n'

STREAMS = {
    "openai": (CHAT, STREAM, openai.chat_stream(include_usage=True)),
    "responses": ("/v1/responses", b'{"model":"gpt-4o","stream":true,"input":"H"}', openai.response_stream()),
    "anthropic": ("/v1/messages", MESSAGES, anthropic.message_stream()),
    "gemini": (GEMINI, b'{"contents":[]}', gemini.content_sse()),
    "ollama": (OLLAMA, LINES, ollama.chat_stream()),
}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@asynccontextmanager
async def paused(
    tmp_path: Path, upstream: FakeUpstream, queue: str = EARLY, more: str = ""
) -> AsyncIterator[DaemonUnderTest]:
    """A daemon whose lanes let nobody through yet."""
    toml = queue + "".join(
        upstream_toml(name, upstream.url, more) for name in ("openai", "anthropic", "gemini", "ollama")
    )
    async with running(tmp_path, toml) as daemon:
        for lane in daemon.lanes:
            lane.pause(None, "test")
        yield daemon


def resume(daemon: DaemonUnderTest) -> None:
    for lane in daemon.lanes:
        lane.resume()


async def beaten(
    daemon: DaemonUnderTest, path: str, body: bytes, then: Callable[[DaemonUnderTest], object]
) -> tuple[RawResponse, bytes]:
    """The answer to a call whose heartbeat has begun before `then` was done, and its body without the beats."""
    async with RawClient.to(daemon.port) as client:
        await client.send("POST", path, body, JSON)
        head = await client.head()
        beats = await client._chunk() + await client._chunk()
        assert beats in (b"\n\n", b"  "), "only beats may come before the turn"
        then(daemon)
        head.complete = False
        try:
            while chunk := await client._chunk():
                head.chunks.append(chunk)
            head.complete = True
        except asyncio.IncompleteReadError:
            pass
        head.body = b"".join(head.chunks)
        return head, head.body.lstrip(beats[:1])


async def outcome(daemon: DaemonUnderTest, response: RawResponse) -> tuple[str, int | None, str | None]:
    found = (await daemon.record(response.header("X-LLMQD-Request-Id") or "")).outcome
    return found.status, found.http_status, found.error


@pytest.mark.parametrize("kind", STREAMS)
async def test_the_stream_stands_unchanged_behind_the_beats(tmp_path: Path, upstream: FakeUpstream, kind: str) -> None:
    path, body, answer = STREAMS[kind]
    upstream.play(answer)
    async with paused(tmp_path, upstream) as daemon:
        response, stream = await beaten(daemon, path, body, resume)
        assert stream == answer.data
        assert response.complete
        assert await outcome(daemon, response) == ("done", 200, None)
        assert upstream.requests[0].header("accept-encoding") == "identity"


async def test_the_early_head_says_what_is_known_then(tmp_path: Path, upstream: FakeUpstream) -> None:
    async with paused(tmp_path, upstream) as daemon:
        response, _ = await beaten(daemon, "/v1/session/s1/chat/completions", STREAM, resume)
        assert response.status == 200
        said = {name: response.header(name) for name in ("Content-Type", "Cache-Control", "Transfer-Encoding")}
        assert said == {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache",
            "Transfer-Encoding": "chunked",
        }
        assert response.header("X-LLMQD-Session-Id") == "s1"
        assert response.header("X-LLMQD-Upstream") == "openai"
        assert response.header("X-LLMQD-Attempts") == "0"
        assert int(response.header("X-LLMQD-Queued-Ms") or "") >= 50


async def test_nothing_is_sent_before_the_set_time(tmp_path: Path, upstream: FakeUpstream) -> None:
    queue = '[queue]\nheartbeat = "300ms"\nheartbeat_every = "10ms"\n'
    async with paused(tmp_path, upstream, queue) as daemon, RawClient.to(daemon.port) as client:
        began = time.monotonic()
        await client.send("POST", CHAT, STREAM, JSON)
        await client.reader.readexactly(1)
        assert 0.3 <= time.monotonic() - began < 2


async def test_a_call_that_has_its_turn_before_that_is_answered_as_without(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    upstream.play(openai.error(401, "no", "x"), openai.chat_stream(include_usage=True))
    async with running(tmp_path, '[queue]\nheartbeat = "10s"\n' + upstream_toml("openai", upstream.url)) as daemon:
        assert (await call(daemon.port, "POST", CHAT, STREAM, JSON)).status == 401
        response = await call(daemon.port, "POST", CHAT, STREAM, JSON)
        assert response.body == openai.chat_stream(include_usage=True).data
        assert response.header("Cache-Control") == openai_header("Cache-Control")
        assert upstream.requests[1].header("accept-encoding") is None


def openai_header(name: str) -> str | None:
    headers = openai.chat_stream(include_usage=True).headers
    return next((value for key, value in headers if key.lower() == name.lower()), None)


async def test_by_default_a_waiting_stream_gets_nothing_and_keeps_its_status(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    upstream.play(openai.error(401, "no", "x"))
    async with paused(tmp_path, upstream, "") as daemon, RawClient.to(daemon.port) as client:
        await client.send("POST", CHAT, STREAM, JSON)
        await daemon.until(lambda: daemon.waiting == 1)
        await asyncio.sleep(0.2)
        resume(daemon)
        response = await client.response()
        assert (response.status, response.body) == (401, openai.error(401, "no", "x").data)


@pytest.mark.parametrize(
    ("path", "body", "headers", "version"),
    [
        (CHAT, b'{"model":"gpt-4o","messages":[]}', {}, "1.1"),
        (CHAT, b'{"model":"gpt-4o","stream":false,"messages":[]}', {}, "1.1"),
        (CHAT, STREAM, {}, "1.0"),
        ("/v1/embeddings", b'{"model":"m","input":"x","stream":true}', {}, "1.1"),
        ("/v1/audio/speech", b'{"model":"m","input":"x","voice":"v","stream":true}', {}, "1.1"),
        ("/openai/v1/unknown", STREAM, {}, "1.1"),
        (GEMINI.replace("?alt=sse", ""), b'{"contents":[]}', {}, "1.1"),
        (OLLAMA, b'{"model":"llama3.2","stream":false,"messages":[]}', {}, "1.1"),
    ],
)
async def test_what_is_no_such_stream_has_no_heartbeat(
    tmp_path: Path, upstream: FakeUpstream, path: str, body: bytes, headers: dict[str, str], version: str
) -> None:
    upstream.play(openai.error(404, "no such model", "x"))
    async with paused(tmp_path, upstream) as daemon, RawClient.to(daemon.port) as client:
        await client.send("POST", path, body, JSON | headers, version)
        await daemon.until(lambda: daemon.waiting == 1)
        await asyncio.sleep(0.12)
        resume(daemon)
        assert (await client.head()).status == 404


async def test_who_will_not_queue_has_no_heartbeat_while_the_upstream_thinks(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    upstream.play(openai.error(429, "no", "x").but(before=[0.15]))
    async with running(tmp_path, EARLY + upstream_toml("openai", upstream.url)) as daemon:
        response = await call(daemon.port, "POST", CHAT, STREAM, JSON | {"X-LLMQD-No-Queue": "1"})
        assert response.status == 429


async def test_a_call_that_runs_keeps_its_status_however_long_the_upstream_thinks(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    upstream.play(openai.error(401, "no", "x").but(before=[0.2]))
    async with running(tmp_path, EARLY + upstream_toml("openai", upstream.url)) as daemon:
        assert (await call(daemon.port, "POST", CHAT, STREAM, JSON)).status == 401


async def test_a_heartbeat_that_has_begun_goes_on_until_the_upstream_answers(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    gate = asyncio.Event()
    upstream.play(openai.chat_stream(include_usage=True).but(before=[gate]))
    async with paused(tmp_path, upstream) as daemon, RawClient.to(daemon.port) as client:
        await client.send("POST", CHAT, STREAM, JSON)
        await client.head()
        resume(daemon)
        await upstream.until(lambda: len(upstream.requests) == 1)
        assert [await client._chunk() for _ in range(5)] == [b"\n"] * 5
        gate.set()
        rest = b"".join([chunk async for chunk in chunks(client)])
        assert rest.lstrip(b"\n") == openai.chat_stream(include_usage=True).data


async def chunks(client: RawClient) -> AsyncIterator[bytes]:
    while chunk := await client._chunk():
        yield chunk


async def test_nothing_stands_between_the_events_of_the_upstream(tmp_path: Path, upstream: FakeUpstream) -> None:
    answer = openai.chat_stream(include_usage=True)
    upstream.play(answer.paused(0.15, after=1).paused(0.15, after=3))
    async with paused(tmp_path, upstream) as daemon:
        _, stream = await beaten(daemon, CHAT, STREAM, resume)
        assert stream == answer.data


async def test_the_connection_can_carry_the_next_call(tmp_path: Path, upstream: FakeUpstream) -> None:
    async with paused(tmp_path, upstream) as daemon, RawClient.to(daemon.port) as client:
        await client.send("POST", CHAT, STREAM, JSON)
        await client.head()
        resume(daemon)
        assert [chunk async for chunk in chunks(client)]
        assert (await client.call("POST", CHAT, STREAM, JSON)).status == 200


async def test_a_heartbeat_begins_between_attempts_too(tmp_path: Path, upstream: FakeUpstream) -> None:
    answer = openai.chat_stream(include_usage=True)
    upstream.play(openai.error(503, "no", "x").with_headers(("retry-after", "1")), answer)
    async with running(tmp_path, EARLY + upstream_toml("openai", upstream.url)) as daemon:
        response, stream = await beaten(daemon, CHAT, STREAM, lambda _: None)
        assert (response.status, response.header("X-LLMQD-Attempts")) == (200, "1")
        assert stream == answer.data
        record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
        assert record.outcome.attempts == 2


async def test_a_beating_call_is_repeated_and_goes_on_to_the_next_upstream(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    route = '[[route]]\nmodel = "gpt-*"\nupstreams = ["openai", "groq"]\n'
    answer = openai.chat_stream(include_usage=True)
    async with FakeUpstream(answer) as second:
        toml = EARLY + upstream_toml("openai", upstream.url, "retries = 1") + upstream_toml("groq", second.url) + route
        async with running(tmp_path, toml) as daemon:
            for lane in daemon.lanes:
                lane.pause(None, "test")
            upstream.play(openai.error(500, "no", "x"), openai.error(500, "no", "x"))
            response, stream = await beaten(daemon, CHAT, STREAM, resume)
            assert (stream, len(upstream.requests), len(second.requests)) == (answer.data, 2, 1)
            record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
            assert (record.call.upstream, record.outcome.attempts) == ("groq", 3)


async def test_usage_that_was_asked_for_on_the_client_s_behalf_is_taken_out_here_too(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    async with paused(tmp_path, upstream) as daemon:
        body = b'{"model":"gpt-4o","stream":true,"messages":[]}'
        response, stream = await beaten(daemon, CHAT, body, resume)
        assert stream == openai.chat_stream(include_usage=False).data
        usage = (await daemon.record(response.header("X-LLMQD-Request-Id") or "")).outcome.usage
        assert usage is not None
        assert usage.source == "exact"


async def test_an_answer_that_comes_encoded_all_the_same_is_decoded(tmp_path: Path, upstream: FakeUpstream) -> None:
    answer = anthropic.message_stream()
    upstream.play(compressed(answer))
    async with paused(tmp_path, upstream) as daemon:
        response, stream = await beaten(daemon, "/v1/messages", MESSAGES, resume)
        assert stream == answer.data
        usage = (await daemon.record(response.header("X-LLMQD-Request-Id") or "")).outcome.usage
        assert usage is not None
        assert usage.source == "exact"


def compact(prefix: bytes, refusal: Answer) -> bytes:
    return prefix + orjson.dumps(orjson.loads(refusal.data)) + b"\n\n"


@pytest.mark.parametrize("kind", STREAMS)
async def test_an_upstream_s_refusal_is_told_in_the_stream_and_its_status_recorded(
    tmp_path: Path, upstream: FakeUpstream, kind: str
) -> None:
    path, body, _ = STREAMS[kind]
    refusals = {
        "openai": openai.error(401, "bad key", "authentication_error", "invalid_api_key"),
        "responses": openai.error(401, "bad key", "authentication_error", "invalid_api_key"),
        "anthropic": anthropic.error(401, "authentication_error", "bad key"),
        "gemini": gemini.error(401, "UNAUTHENTICATED", "bad key"),
        "ollama": ollama.error(401, "bad key"),
    }
    told = {
        "openai": compact(b"data: ", refusals["openai"]),
        "responses": b'event: error\ndata: {"type":"error","code":"invalid_api_key","message":"bad key",'
        b'"param":null,"sequence_number":0}\n\n',
        "anthropic": compact(b"event: error\ndata: ", refusals["anthropic"]),
        "gemini": b'data: {"error":{"code":401,"message":"bad key","status":"UNAUTHENTICATED"}}\n\n',
        "ollama": b'{"error":"bad key"}\n',
    }
    upstream.play(refusals[kind])
    async with paused(tmp_path, upstream) as daemon:
        response, stream = await beaten(daemon, path, body, resume)
        assert (response.status, response.complete, stream) == (200, True, told[kind])
        assert (await outcome(daemon, response))[:2] == ("done", 401)


async def test_a_refusal_after_all_attempts_is_told_in_the_stream(tmp_path: Path, upstream: FakeUpstream) -> None:
    refusal = openai.error(429, "slow down", "requests", "rate_limit_exceeded").with_headers(("retry-after", "0.01"))
    upstream.script = refusal
    async with paused(tmp_path, upstream) as daemon:
        response, stream = await beaten(daemon, CHAT, STREAM, resume)
        assert stream == compact(b"data: ", refusal)
        assert (await outcome(daemon, response))[:2] == ("done", 429)
        assert len(upstream.requests) == 8


async def test_a_refusal_in_foreign_words_is_put_into_the_caller_s(tmp_path: Path, upstream: FakeUpstream) -> None:
    upstream.play(Answer(status=403, headers=[("Content-Type", "text/html")], body=[b"<h1>Forbidden</h1>"]))
    async with paused(tmp_path, upstream) as daemon:
        _, stream = await beaten(daemon, "/v1/messages", MESSAGES, resume)
        error = orjson.loads(stream.removeprefix(b"event: error\ndata: "))["error"]
        assert (error["type"], error["code"]) == ("permission_error", "upstream_error")
        assert error["message"] == "anthropic answered with HTTP 403: <h1>Forbidden</h1>"


def stop(daemon: DaemonUnderTest) -> None:
    daemon.stop()


def cancel(daemon: DaemonUnderTest) -> None:
    for lane in daemon.lanes:
        for ticket in list(lane.tickets()):
            lane.cancel(ticket)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize(
    ("then", "status", "code"), [(stop, 503, "shutting_down"), (cancel, 499, "cancelled")], ids=["stop", "cancel"]
)
async def test_an_end_of_llmqd_s_own_is_told_in_the_stream(
    tmp_path: Path, upstream: FakeUpstream, kind: str, then: Callable[[DaemonUnderTest], object], status: int, code: str
) -> None:
    path, body, _ = STREAMS[kind]
    async with paused(tmp_path, upstream) as daemon:
        response, stream = await beaten(daemon, path, body, then)
        assert (response.status, response.complete) == (200, True)
        assert b'"%b"' % code.encode() in stream
        assert b"error" in stream
        assert stream.startswith({"anthropic": b"event: ", "responses": b"event: ", "ollama": b"{"}.get(kind, b"data:"))
        assert await outcome(daemon, response) == ("refused", status, code)
        assert not upstream.requests


async def test_a_deadline_ends_the_stream_with_its_error(tmp_path: Path, upstream: FakeUpstream) -> None:
    async with paused(tmp_path, upstream, EARLY + 'max_wait = "300ms"\n') as daemon:
        response, stream = await beaten(daemon, CHAT, STREAM, lambda _: None)
        error = orjson.loads(stream.removeprefix(b"data: "))["error"]
        assert (error["code"], error["type"]) == ("deadline_exceeded", "rate_limit_error")
        assert await outcome(daemon, response) == ("refused", 429, "deadline_exceeded")


async def test_an_upstream_that_cannot_be_reached_is_told_in_the_stream(tmp_path: Path) -> None:
    toml = EARLY + upstream_toml("openai", "http://127.0.0.1:9", "retries = 0")
    async with running(tmp_path, toml) as daemon:
        for lane in daemon.lanes:
            lane.pause(None, "test")
        response, stream = await beaten(daemon, CHAT, STREAM, resume)
        assert orjson.loads(stream.removeprefix(b"data: "))["error"]["code"] == "upstream_unreachable"
        assert await outcome(daemon, response) == ("failed", 502, "upstream_unreachable")


async def test_a_stream_that_the_upstream_breaks_off_is_seen_as_broken(tmp_path: Path, upstream: FakeUpstream) -> None:
    whole = openai.chat_stream(include_usage=True)
    upstream.play(whole.but(body=whole.body[:3], end="cut"))
    async with paused(tmp_path, upstream) as daemon:
        response, _ = await beaten(daemon, CHAT, STREAM, resume)
        assert not response.complete
        assert await outcome(daemon, response) == ("cut", 200, "upstream_cut")


async def test_a_whole_answer_to_a_stream_s_call_is_an_error_where_events_differ(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    upstream.play(openai.chat())
    async with paused(tmp_path, upstream) as daemon:
        response, stream = await beaten(daemon, CHAT, STREAM, resume)
        assert orjson.loads(stream.removeprefix(b"data: "))["error"]["code"] == "upstream_not_streaming"
        assert await outcome(daemon, response) == ("done", 200, "upstream_not_streaming")
        usage = (await daemon.record(response.header("X-LLMQD-Request-Id") or "")).outcome.usage
        assert usage is not None
        assert usage.source == "exact"


@pytest.mark.parametrize("answer", [gemini.content(), gemini.content_array()], ids=["object", "array"])
async def test_a_whole_answer_of_gemini_becomes_its_events(
    tmp_path: Path, upstream: FakeUpstream, answer: Answer
) -> None:
    upstream.play(answer)
    async with paused(tmp_path, upstream) as daemon:
        response, stream = await beaten(daemon, GEMINI, b'{"contents":[]}', resume)
        whole = orjson.loads(answer.data)
        events = [orjson.loads(event.removeprefix(b"data: ")) for event in stream.split(b"\n\n")[:-1]]
        assert events == (whole if isinstance(whole, list) else [whole])
        assert await outcome(daemon, response) == ("done", 200, None)


async def test_ollama_streams_unless_told_otherwise_and_the_ledger_knows(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    async with running(tmp_path, upstream_toml("ollama", upstream.url)) as daemon:
        for body, streams in ((LINES, True), (b'{"model":"llama3.2","stream":false,"messages":[]}', False)):
            response = await call(daemon.port, "POST", OLLAMA, body, JSON)
            record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
            assert record.call.stream is streams


async def test_a_whole_answer_of_ollama_passes_as_the_line_that_it_is(tmp_path: Path, upstream: FakeUpstream) -> None:
    upstream.play(ollama.chat())
    async with paused(tmp_path, upstream) as daemon:
        _, stream = await beaten(daemon, OLLAMA, LINES, resume)
        assert stream == ollama.chat().data


async def test_a_client_that_leaves_while_its_heart_beats_is_gone_at_once(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    async with paused(tmp_path, upstream) as daemon:
        async with RawClient.to(daemon.port) as client:
            await client.send("POST", CHAT, STREAM, JSON)
            head = await client.head()
        await daemon.until(lambda: daemon.waiting == 0)
        assert await outcome(daemon, head) == ("abandoned", None, None)
        resume(daemon)
        await asyncio.sleep(0.1)
        assert not upstream.requests


async def test_a_client_that_reads_nothing_does_not_hold_up_the_turn(tmp_path: Path, upstream: FakeUpstream) -> None:
    async with paused(tmp_path, upstream) as daemon, RawClient.to(daemon.port) as client:
        await client.send("POST", CHAT, STREAM, JSON)
        await daemon.until(lambda: daemon.waiting == 1)
        await asyncio.sleep(0.3)
        resume(daemon)
        await upstream.until(lambda: upstream.completed == 1)
        await daemon.until(lambda: daemon.running == 0)


Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def test_a_client_that_takes_nothing_is_cut_and_nothing_piles_up_for_it() -> None:
    form = StreamForm("text/event-stream", b"\n", frozenset())
    buffered: list[int] = []
    cut = asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        heartbeat = Heartbeat(form, after=0.0, every=0.01, stalled=0.2)
        assert request.transport is not None
        request.transport.write(bytes(16 * 1024 * 1024))  # more than any socket buffer takes
        heartbeat.start(request, dict, waited=0.0)
        try:
            while True:
                await asyncio.sleep(0.02)
                buffered.append(request.transport.get_write_buffer_size() if request.transport else 0)
        finally:
            heartbeat.stop()
            cut.set()

    async with stopping(serve) as port, RawClient.to(port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send("GET", "/")
        await asyncio.wait_for(cut.wait(), 5)
    sizes = [size for size in buffered if size][-4:]
    assert len(sizes) >= 2
    assert len(set(sizes)) == 1, "bytes were added for a client that takes none"


@asynccontextmanager
async def stopping(serve: Serve) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/", serve)
    async with TestServer(app) as server:
        assert server.port is not None
        yield server.port


async def test_a_hundred_beating_calls_leave_nothing_behind(tmp_path: Path, upstream: FakeUpstream) -> None:
    async with paused(tmp_path, upstream) as daemon:
        before = len(asyncio.all_tasks())
        clients = [RawClient.to(daemon.port) for _ in range(100)]
        for client in clients:
            await (await client.__aenter__()).send("POST", CHAT, STREAM, JSON)
        await daemon.until(lambda: daemon.waiting == 100)
        await asyncio.sleep(0.2)
        for client in clients:
            await client.__aexit__(None, None, None)
        await daemon.until(lambda: daemon.waiting == 0)
        await daemon.until(lambda: len(asyncio.all_tasks()) <= before + 1)


async def test_a_reload_turns_it_on_for_the_calls_that_come(tmp_path: Path, upstream: FakeUpstream) -> None:
    async with paused(tmp_path, upstream, "") as daemon:
        config = daemon.in_force.config
        daemon.in_force.replace(replace(config, queue=replace(config.queue, heartbeat=0.05, heartbeat_every=0.02)))
        response, _ = await beaten(daemon, CHAT, STREAM, resume)
        assert response.status == 200
