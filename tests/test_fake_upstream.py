"""The fake upstream does on the wire what its script says, and the official SDKs take it for the provider."""

from __future__ import annotations

import asyncio
import random
import time
import zlib

import aiohttp
import anthropic
import openai
import pytest
from google import genai

from tests.fake_upstream import (
    Answer,
    FakeUpstream,
    Received,
    TokenBucket,
    compressed,
    crlf,
    json_answer,
    rechunked,
    sse,
    trickle,
)
from tests.fake_upstream.openai_answers import CHAT_USAGE, TEXT, chat_stream


async def exchange(upstream: FakeUpstream, request: bytes) -> bytes:
    """Sends raw bytes, returns all that comes until the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def raw(upstream: FakeUpstream, line: str = "GET / HTTP/1.1", *headers: str, body: bytes = b"") -> bytes:
    """A request as bytes; it asks for the connection to be closed."""
    head = [line, f"Host: 127.0.0.1:{upstream.port}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


async def test_request_is_kept_as_it_stood_on_the_wire() -> None:
    async with FakeUpstream(Answer()) as upstream:
        line = "POST /v1//a%2Fb/?q=%20x&q=2 HTTP/1.1"
        await exchange(upstream, raw(upstream, line, "X-Two: a", "x-two: B", "content-length: 3", body=b"abc"))
        (request,) = upstream.requests
        assert (request.method, request.target, request.body) == ("POST", "/v1//a%2Fb/?q=%20x&q=2", b"abc")
        assert ("X-Two", "a") in request.raw_headers
        assert request.header_list("x-TWO") == ["a", "B"]
        assert (request.path, request.query) == ("/v1//a%2Fb/", "q=%20x&q=2")


async def test_chunked_request_body_with_trailers_split_anywhere() -> None:
    async with FakeUpstream(Answer()) as upstream:
        body = b"3;ext=1\r\nabc\r\n2\r\n\r\n\r\n0\r\nX-Sum: 1\r\n\r\n"
        data = raw(upstream, "POST /x HTTP/1.1", "Transfer-Encoding: chunked", body=body)
        for cut in range(1, len(data)):
            reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
            writer.write(data[:cut])
            await asyncio.sleep(0)
            writer.write(data[cut:])
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
            await writer.wait_closed()
        assert {request.body for request in upstream.requests} == {b"abc\r\n"}
        assert upstream.requests[0].trailers == [("X-Sum", "1")]


async def test_answer_framings_on_the_wire() -> None:
    answer = Answer(status=418, reason="Tea", headers=[("X-A", "1"), ("X-A", "2")], body=[b"ab", b"c"])
    async with FakeUpstream() as upstream:
        upstream.play(
            answer,
            answer.but(framing="chunked", trailers=[("X-T", "1")]),
            answer.but(framing="close"),
            answer.but(raw=True, body=[b"any bytes at all"]),
        )
        head = b"HTTP/1.1 418 Tea\r\nX-A: 1\r\nX-A: 2\r\n"
        got = [await exchange(upstream, raw(upstream)) for _ in range(4)]
    assert got[0] == head + b"Content-Length: 3\r\n\r\nabc"
    assert got[1] == head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-T: 1\r\n\r\n"
    assert got[2] == head + b"Connection: close\r\n\r\nabc"
    assert got[3] == b"any bytes at all"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_answers_without_a_body(method: str, status: int) -> None:
    async with FakeUpstream(Answer(status=status, body=[b"never sent"])) as upstream:
        got = await exchange(upstream, raw(upstream, f"{method} / HTTP/1.1"))
        assert got.endswith(b"\r\n\r\n")
        assert (b"Content-Length: 10" in got) == (method == "HEAD")


async def test_interim_bytes_and_redirects_are_sent_as_scripted() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    redirect = Answer(status=307, headers=[("Location", "http://127.0.0.1:9/")], before=[early])
    async with FakeUpstream(redirect) as upstream:
        assert (await exchange(upstream, raw(upstream))).startswith(early + b"HTTP/1.1 307 Temporary Redirect\r\n")


async def test_expect_continue_is_answered_before_the_body_comes() -> None:
    async with FakeUpstream(Answer(body=[b"ok"])) as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(raw(upstream, "POST / HTTP/1.1", "Content-Length: 2", "Expect: 100-continue"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (upstream.heads, upstream.requests) == (1, [])
        writer.write(b"hi")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


async def test_early_answer_needs_no_body_and_closes_the_connection() -> None:
    async with FakeUpstream(early=lambda _: Answer(status=413)) as upstream:
        data = raw(upstream, "POST / HTTP/1.1", "Content-Length: 9999999", "Expect: 100-continue")
        assert (await exchange(upstream, data)).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_cut_body_is_an_error_for_the_client(framing: str) -> None:
    answer = Answer(body=[b"half"], length=10, end="cut").but(framing=framing)
    async with FakeUpstream(answer) as upstream, aiohttp.ClientSession() as session:
        async with session.get(upstream.url) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert (upstream.cancelled, upstream.completed) == (0, 1)


@pytest.mark.parametrize("headers_sent", [False, True])
async def test_reset_breaks_the_connection(headers_sent: bool) -> None:
    answer = Answer(
        framing="chunked", body=[b"x", 0.02] if headers_sent else [], end="reset", headers_sent=headers_sent
    )
    async with FakeUpstream(answer) as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(raw(upstream))
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


@pytest.mark.parametrize("answer", [Answer(headers_sent=False, end="hang"), Answer(body=[b"x"], length=9, end="hang")])
async def test_client_that_leaves_a_hanging_answer_is_counted_as_cancelled(answer: Answer) -> None:
    async with FakeUpstream(answer) as upstream, aiohttp.ClientSession() as session:
        task = asyncio.create_task(_read(session, upstream.url))
        await upstream.until(lambda: upstream.active == 1)
        task.cancel()
        await upstream.until(lambda: upstream.cancelled == 1)
        assert (upstream.active, upstream.completed) == (0, 0)
        with pytest.raises(asyncio.CancelledError):
            await task


async def _read(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as response:
        return await response.read()


async def test_client_that_leaves_while_sending_is_counted_as_aborted() -> None:
    async with FakeUpstream(Answer()) as upstream:
        _, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(raw(upstream, "POST / HTTP/1.1", "Content-Length: 10", body=b"half"))
        await upstream.until(lambda: upstream.heads == 1)
        writer.close()
        await upstream.until(lambda: upstream.aborted == 1)
        assert upstream.requests == []


async def test_gate_holds_the_answer_until_the_test_opens_it() -> None:
    gate = asyncio.Event()
    answer = Answer(framing="chunked", body=[b"one", b"two"]).paused(gate)
    async with FakeUpstream(answer) as upstream, aiohttp.ClientSession() as session:
        response = await session.get(upstream.url)
        assert await response.content.readany() == b"one"
        gate.set()
        assert await response.read() == b"two"


async def test_keep_alive_connections_are_reused_and_pipelined_requests_answered_in_order() -> None:
    async with FakeUpstream() as upstream:
        upstream.play(Answer(body=[0.01, b"first"]), Answer(body=[b"second"]))
        first = b"GET /1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % upstream.port
        got = await exchange(upstream, first + raw(upstream, "GET /2 HTTP/1.1"))
        assert got.index(b"first") < got.index(b"second")
        assert [(r.target, r.connection) for r in upstream.requests] == [("/1", 1), ("/2", 1)]


def test_rechunked_keeps_every_byte() -> None:
    answer = chat_stream()
    rng = random.Random(1)
    for _ in range(50):
        assert rechunked(answer, rng, largest=rng.randint(1, 300)).data == answer.data
    assert rechunked(answer, [5, 1, 5, 10**9]).body[:2] == [answer.data[:1], answer.data[1:5]]


def test_trickle_sends_piece_by_piece() -> None:
    assert trickle(b"abc", 1.0) == [b"a", 1.0, b"b", 1.0, b"c"]
    assert trickle(b"abc", 1.0, size=2) == [b"ab", 1.0, b"c"]


def test_compressed_stream_can_be_decoded_chunk_by_chunk() -> None:
    answer = sse([b"data: 1", b"data: 2"])
    unpacker = zlib.decompressobj(wbits=31)
    steps = [unpacker.decompress(step) for step in compressed(answer).body if isinstance(step, bytes)]
    assert steps == [b"data: 1\n\n", b"data: 2\n\n", b""]
    whole = compressed(answer, flush=False)
    assert zlib.decompress(whole.data, wbits=31) == answer.data


def test_crlf_changes_line_ends_only() -> None:
    assert crlf(sse([b"event: a\ndata: 1"])).data == b"event: a\r\ndata: 1\r\n\r\n"


async def test_limiter_refuses_with_the_providers_own_429() -> None:
    bodies = {
        "/v1/chat/completions": "rate_limit_exceeded",
        "/v1/messages": "rate_limit_error",
        "/v1beta/models/gemini-2.5-flash:generateContent": "RESOURCE_EXHAUSTED",
    }
    async with FakeUpstream(limiter=TokenBucket(1, burst=1)) as upstream, aiohttp.ClientSession() as session:
        upstream.play(Answer())
        await session.post(upstream.url + "/v1/chat/completions")
        for path, word in bodies.items():
            async with session.post(upstream.url + path, json={}) as response:
                assert response.status == 429
                assert word in await response.text()
                assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert upstream.refused == 3


async def test_wrong_key_and_bad_bodies_are_refused_as_the_provider_does() -> None:
    async with FakeUpstream(keys={"good"}) as upstream, aiohttp.ClientSession() as session:
        url = upstream.url + "/v1/chat/completions"
        async with session.post(url, headers={"Authorization": "Bearer bad"}) as response:
            assert response.status == 401
        async with session.post(url, data=b"{", headers={"Authorization": "Bearer good"}) as response:
            assert response.status == 400


async def test_leaked_control_headers_fail_the_test() -> None:
    with pytest.raises(AssertionError, match="x-llmqd-priority"):
        async with FakeUpstream(Answer()) as upstream, aiohttp.ClientSession() as session:
            await session.get(upstream.url, headers={"X-LLMQD-Priority": "high"})


async def test_a_script_that_raises_fails_the_test() -> None:
    def script(_: Received) -> Answer:
        raise KeyError("in the script")

    upstream = await FakeUpstream(script).__aenter__()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post(upstream.url)
    with pytest.raises(KeyError, match="in the script"):
        await upstream.__aexit__(None, None, None)


async def test_bytes_that_are_no_request_are_refused() -> None:
    async with FakeUpstream(Answer(), tolerant=True) as upstream:
        assert (await exchange(upstream, b"hello\r\n\r\n")).startswith(b"HTTP/1.1 400")
        assert "not a request line" in upstream.violations[0]


async def test_websocket_echoes_text_and_binary_and_selects_the_subprotocol() -> None:
    async with FakeUpstream() as upstream, aiohttp.ClientSession() as session:
        url = upstream.url + "/v1/realtime?model=gpt-realtime"
        async with session.ws_connect(url, protocols=["other", "realtime"]) as socket:
            assert socket.protocol == "realtime"
            await socket.send_str("grüße")
            assert (await socket.receive()).data == "grüße"
            await socket.send_bytes(b"\x00" * 100_000)
            assert (await socket.receive()).data == b"\x00" * 100_000
            await socket.send_str('{"type":"response.create"}')
            events = [(await socket.receive()).json()["type"] for _ in range(3)]
            assert events[-1] == "response.done"
            await socket.close(code=4002)
        await upstream.until(lambda: upstream.websocket_closes == [4002])
        assert [kind for kind, _ in upstream.frames[:2]] == ["text", "binary"]


async def test_websocket_closes_with_the_code_asked_for() -> None:
    async with FakeUpstream() as upstream, aiohttp.ClientSession() as session:
        socket = await session.ws_connect(upstream.url + "/v1/realtime")
        await socket.send_str("close:4001:try later")
        message = await socket.receive()
        assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, 4001, "try later")


async def test_websocket_handshake_is_refused_without_a_good_key() -> None:
    async with FakeUpstream(keys={"good"}) as upstream, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(upstream.url + "/v1/realtime", headers={"Authorization": "Bearer bad"})
        assert caught.value.status == 401


async def test_openai_sdk_takes_it_for_openai() -> None:
    async with (
        FakeUpstream(keys={"k"}) as upstream,
        openai.AsyncOpenAI(base_url=upstream.url + "/v1", api_key="k", max_retries=0) as client,
    ):
        plain = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
        assert plain.choices[0].message.content == TEXT
        stream = await client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.prompt_tokens == CHAT_USAGE["prompt_tokens"]
        answer = await client.responses.create(model="gpt-4o", input="hi")
        assert answer.output_text == TEXT
        events = [event async for event in await client.responses.create(model="gpt-4o", input="hi", stream=True)]
        assert events[-1].type == "response.completed"
        vectors = await client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
        assert [row.embedding for row in vectors.data] == [[0.25, -0.5, 0.125]] * 2
        legacy = await client.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi")
        assert legacy.choices[0].text == TEXT
        assert [model.id async for model in client.models.list()] == ["gpt-4o", "gpt-4o-mini"]


async def test_anthropic_sdk_takes_it_for_anthropic() -> None:
    async with (
        FakeUpstream(keys={"k"}) as upstream,
        anthropic.AsyncAnthropic(base_url=upstream.url, api_key="k", max_retries=0) as client,
    ):
        question: anthropic.types.MessageParam = {"role": "user", "content": "hi"}
        plain = await client.messages.create(model="claude-sonnet-4-6", max_tokens=99, messages=[question])
        assert isinstance(plain.content[0], anthropic.types.TextBlock)
        assert plain.content[0].text == TEXT
        async with client.messages.stream(model="claude-sonnet-4-6", max_tokens=99, messages=[question]) as stream:
            final = await stream.get_final_message()
        assert final.usage.output_tokens == 87


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
async def test_google_sdk_takes_it_for_gemini() -> None:
    async with FakeUpstream(keys={"k"}) as upstream:
        options = genai.types.HttpOptions(base_url=upstream.url)
        async with genai.Client(api_key="k", http_options=options).aio as client:
            plain = await client.models.generate_content(model="gemini-2.5-flash", contents="hi")
            assert plain.text == TEXT
            stream = await client.models.generate_content_stream(model="gemini-2.5-flash", contents="hi")
            pieces = [piece async for piece in stream]
            assert "".join(piece.text or "" for piece in pieces) == TEXT


async def test_two_thousand_calls_a_second() -> None:
    async with FakeUpstream(json_answer({"ok": True})) as upstream:
        request = b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 2\r\n\r\n{}" % upstream.port
        began = time.monotonic()
        await asyncio.gather(*(_hammer(upstream, request, 250) for _ in range(8)))
        assert len(upstream.requests) == 2000
        assert time.monotonic() - began < 3, "slower than 700 a second on a busy machine"


async def _hammer(upstream: FakeUpstream, request: bytes, times: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    for _ in range(times):
        writer.write(request)
        await reader.readuntil(b'{"ok":true}')
    writer.close()
    await writer.wait_closed()
