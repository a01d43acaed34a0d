"""Requests reach the upstream untouched, wait their turn, and are refused in words that help."""

from __future__ import annotations

import asyncio
import gzip
import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from tests.fake_upstream import Answer, FakeUpstream, json_answer
from tests.fake_upstream.openai_answers import chat
from tests.under_test import DaemonUnderTest, RawClient, call, running, upstream_toml

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(json_answer({"ok": True})) as fake:
        yield fake


@pytest.fixture
async def daemon(tmp_path: Path, upstream: FakeUpstream) -> AsyncIterator[DaemonUnderTest]:
    toml = upstream_toml("openai", upstream.url) + upstream_toml("anthropic", upstream.url)
    async with running(tmp_path, toml) as running_daemon:
        yield running_daemon


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND"])
async def test_every_method_passes(daemon: DaemonUnderTest, upstream: FakeUpstream, method: str) -> None:
    response = await call(daemon.port, method, "/openai/v1/thing")
    assert response.status == 200
    assert (upstream.requests[0].method, upstream.requests[0].target) == (method, "/v1/thing")


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("/openai/v1/a%2Fb%20c/%C3%A9", "/v1/a%2Fb%20c/%C3%A9"),
        ("/openai//v1//x//", "//v1//x//"),
        ("/openai/v1/x/", "/v1/x/"),
        ("/openai/v1/../x/./y", "/v1/../x/./y"),
        ("/openai/v1/x?a=1&&b=%20+&c=%C3%A9&a=2", "/v1/x?a=1&&b=%20+&c=%C3%A9&a=2"),
        ("/openai/v1/x?", "/v1/x"),
        ("/openai/v1/m:predict;v=1,2", "/v1/m:predict;v=1,2"),
        ("/openai/v1/%7Euser/~user/[x]", "/v1/%7Euser/~user/[x]"),
        ("/v1/session/s/files/a%2fb?x=%2F", "/v1/files/a%2fb?x=%2F"),
        ("/v1/v1/embeddings", "/v1/embeddings"),
        ("//v1/embeddings", "/v1/embeddings"),
        ("//openai/v1//x", "/v1//x"),
    ],
)
async def test_paths_and_queries_stay_as_they_are(
    daemon: DaemonUnderTest, upstream: FakeUpstream, sent: str, seen: str
) -> None:
    await call(daemon.port, "GET", sent)
    assert upstream.requests[0].target == seen


async def test_body_and_headers_pass_untouched(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    body = b'{ "model" : "gpt-4o",  "x": 1e400, "big": 123456789012345678901234567890, "model": "twice" }\n'
    headers = {"x-CuStOm": "a  b", "Anthropic-Beta": "x", "Content-Type": "application/json; charset=utf-8"}
    await call(daemon.port, "POST", CHAT, body, headers)
    seen = upstream.requests[0]
    assert seen.body == body
    names = [name for name, _ in seen.raw_headers]
    assert "x-CuStOm" in names
    assert "Anthropic-Beta" in names
    assert seen.header("content-type") == "application/json; charset=utf-8"
    assert seen.header("authorization") == "Bearer sk-upstream"
    for added in ("user-agent", "accept", "accept-encoding", "via", "x-forwarded-for", "connection"):
        assert seen.header(added) is None


async def test_no_control_header_and_no_key_of_the_client_reaches_the_upstream(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    headers = JSON | {
        "Authorization": "Bearer client",
        "x-api-key": "client",
        "api-key": "client",
        "x-goog-api-key": "client",
        "X-LLMQD-Priority": "0",
        "X-LLMQD-Session": "s",
        "Cookie": "a=b",
    }
    await call(daemon.port, "POST", CHAT, BODY, headers)
    assert b"client" not in upstream.requests[0].raw_head
    assert "x-llmqd" not in str(upstream.requests[0].header_names)
    assert upstream.requests[0].header("cookie") is None


async def test_the_answer_passes_with_status_reason_and_headers(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    upstream.play(
        Answer(
            status=418,
            reason="Short And Stout",
            headers=[("X-RateLimit-Remaining", "5"), ("Set-Cookie", "a"), ("Set-Cookie", "b"), ("retry-after", "7")],
            body=[b"\x00\xff tea"],
        )
    )
    response = await call(daemon.port, "POST", CHAT, BODY, JSON)
    assert (response.status, response.reason, response.body) == (418, "Short And Stout", b"\x00\xff tea")
    pairs = [pair for pair in response.raw_headers if not pair[0].startswith(("X-LLMQD", "Date"))]
    assert sorted(pairs) == [
        ("Content-Length", "6"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("X-RateLimit-Remaining", "5"),
        ("retry-after", "7"),
    ]


async def test_llmqd_s_own_headers_stand_on_every_answer(daemon: DaemonUnderTest) -> None:
    response = await call(daemon.port, "POST", "/v1/session/my%20s/chat/completions", BODY, JSON)
    assert len(response.header("X-LLMQD-Request-Id") or "") == 26
    assert response.header("X-LLMQD-Session-Id") == "my%20s"
    assert response.header("X-LLMQD-Session-Source") == "path"
    assert response.header("X-LLMQD-Upstream") == "openai"
    assert int(response.header("X-LLMQD-Queued-Ms") or "") < 1000
    assert response.header("X-LLMQD-Attempts") == "1"
    none = await call(daemon.port, "POST", CHAT, b'{"model":"gpt-4o"}', JSON)  # nothing is said in it
    assert none.header("X-LLMQD-Session-Source") == "none"
    assert none.header("X-LLMQD-Session-Id") is None


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(daemon: DaemonUnderTest, upstream: FakeUpstream, status: int) -> None:
    upstream.play(Answer(status=status, headers=[("ETag", '"x"')]))
    async with RawClient.to(daemon.port) as client:
        response = await client.call("GET", "/openai/v1/x")
        assert (response.status, response.header("etag")) == (status, '"x"')
        assert (await client.call("GET", "/openai/v1/y")).status == 200


async def test_head_keeps_the_length_and_the_connection(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    upstream.play(Answer(headers=[("Content-Type", "text/plain")], body=[b"12345"]))
    async with RawClient.to(daemon.port) as client:
        response = await client.call("HEAD", "/openai/v1/x")
        assert response.header("content-length") == "5"
        assert (await client.call("GET", "/openai/v1/y")).status == 200


async def test_redirects_are_not_followed(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    upstream.play(Answer(status=307, headers=[("Location", "http://127.0.0.1:1/elsewhere")]))
    response = await call(daemon.port, "POST", CHAT, BODY, JSON)
    assert (response.status, response.header("location")) == (307, "http://127.0.0.1:1/elsewhere")
    assert len(upstream.requests) == 1


async def test_compressed_bodies_pass_as_they_are_both_ways(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    packed = gzip.compress(BODY)
    upstream.play(chat().but(headers=[("Content-Encoding", "gzip")], body=[gzip.compress(chat().data)]))
    response = await call(daemon.port, "POST", CHAT, packed, JSON | {"Content-Encoding": "gzip"})
    assert upstream.requests[0].body == packed
    assert upstream.requests[0].header("content-encoding") == "gzip"
    assert response.header("content-encoding") == "gzip"
    assert gzip.decompress(response.body) == chat().data
    record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
    assert record.call.model == "gpt-4o"


async def test_multipart_is_never_re_encoded_and_its_model_is_read_wherever_it_stands(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    body = (
        b'--B oundary\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n'
        b'\r\nname="model"\r\n\r\nRIFF\r\n'
        b'--B oundary\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--B oundary--\r\n'
    )
    headers = {"Content-Type": 'multipart/form-data; boundary="B oundary"'}
    response = await call(daemon.port, "POST", "/v1/audio/transcriptions", body, headers)
    assert upstream.requests[0].body == body
    assert upstream.requests[0].header("content-type") == headers["Content-Type"]
    record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
    assert (record.call.model, record.call.operation) == ("whisper-1", "transcription")


async def test_a_chunked_request_arrives_whole(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    async with RawClient.to(daemon.port) as client:
        client.writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for part in (BODY[:7], BODY[7:]):
            client.writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        client.writer.write(b"0\r\n\r\n")
        assert (await client.response()).status == 200
    assert upstream.requests[0].body == BODY


async def test_a_file_upload_passes_while_it_arrives(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    async with RawClient.to(daemon.port) as client:
        client.writer.write(b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        await upstream.until(lambda: upstream.heads == 1)
        client.writer.write(b"67890")
        assert (await client.response()).status == 200
    assert upstream.requests[0].body == b"1234567890"
    assert upstream.requests[0].header("content-length") == "10"


async def test_expect_continue_is_answered_before_the_body(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    async with RawClient.to(daemon.port) as client:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(BODY)}\r\n\r\n"
        client.writer.write(head.encode())
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(BODY)
        assert (await client.response()).status == 200
    assert upstream.requests[0].header("expect") is None


async def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(tmp_path: Path, upstream: FakeUpstream) -> None:
    toml = upstream_toml("openai", upstream.url)
    async with running(tmp_path, toml, server='max_body = "1KiB"') as daemon, RawClient.to(daemon.port) as client:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n"
        client.writer.write(head.encode())
        response = await client.response()
        assert response.status == 413
        assert orjson.loads(response.body)["error"]["code"] == "body_too_large"
    assert upstream.heads == 0


@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
async def test_an_unannounced_body_beyond_the_limit_is_refused_too(tmp_path: Path, path: str) -> None:
    async with (
        FakeUpstream(json_answer({}), tolerant=True) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url), server='max_body = "1KiB"') as daemon,
        RawClient.to(daemon.port) as client,
    ):
        client.writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        client.writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n")
        response = await client.response()
        assert (response.status, orjson.loads(response.body)["error"]["code"]) == (413, "body_too_large")
        assert not upstream.requests


async def test_fifty_megabytes_arrive_byte_for_byte(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    image = b"iVBORw0KGgo" * (50 * 1024 * 1024 // 11)
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"' + image + b'"}]}'
    response = await call(daemon.port, "POST", CHAT, body, JSON)
    assert upstream.requests[0].body == body
    record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
    assert (record.call.model, record.call.request_bytes) == ("gpt-4o", len(body))


async def test_a_body_that_waits_lies_in_the_state_directory_and_goes_with_its_client(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    def waiting_bodies() -> list[str]:
        links = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        found = [str(link.readlink()) for link in links if link.is_symlink()]
        return [name for name in found if name.startswith(f"{tmp_path}/state/") and "(deleted)" in name]

    async with running(tmp_path, upstream_toml("openai", upstream.url), store="sqlite") as daemon:
        async with RawClient.to(daemon.port) as client:
            client.writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n".encode())
            client.writer.write(b"x" * 2_000_000)
            await daemon.until(lambda: len(waiting_bodies()) == 1)
        await daemon.until(lambda: not waiting_bodies())


async def test_want_of_room_for_a_waiting_body_is_429(daemon: DaemonUnderTest) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        response = await call(daemon.port, "POST", CHAT, b" " * 3_000_000, JSON)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (response.status, orjson.loads(response.body)["error"]["code"]) == (429, "queue_full")
    assert response.header("Retry-After") == "1"


async def test_the_model_chooses_the_upstream(tmp_path: Path) -> None:
    async with FakeUpstream(json_answer({"at": "a"})) as first, FakeUpstream(json_answer({"at": "b"})) as second:
        toml = (
            upstream_toml("openai", first.url)
            + upstream_toml("groq", second.url)
            + '[[route]]\nmodel = "llama*"\nupstreams = ["groq"]\n'
        )
        async with running(tmp_path, toml) as daemon:
            response = await call(daemon.port, "POST", CHAT, b'{"messages":[],"model":"llama-3"}', JSON)
            assert response.json() == {"at": "b"}
            assert second.requests[0].target == "/openai/v1/chat/completions"
            assert (await call(daemon.port, "POST", CHAT, BODY, JSON)).json() == {"at": "a"}


@pytest.mark.parametrize(
    ("path", "status", "code", "shape"),
    [
        ("/nowhere/v1/chat/completions", 404, "unknown_upstream", "openai"),
        ("/nowhere/v1/messages", 404, "unknown_upstream", "anthropic"),
        ("/v1/session/test123/", 400, "missing_endpoint", "openai"),
        ("/sessions/none", 404, "not_found", "openai"),
        ("/v1/session/" + "x" * 300 + "/chat/completions", 400, "bad_header", "openai"),
    ],
)
async def test_refusals_speak_the_route_s_dialect(
    daemon: DaemonUnderTest, path: str, status: int, code: str, shape: str
) -> None:
    response = await call(daemon.port, "POST", path, BODY, JSON)
    body = orjson.loads(response.body)
    assert response.status == status
    assert body["error"]["code"] == code
    assert (body.get("type") == "error") == (shape == "anthropic")


async def test_a_bad_control_header_is_named(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    response = await call(daemon.port, "POST", CHAT, BODY, JSON | {"X-LLMQD-Priority": "urgent"})
    assert response.status == 400
    assert "X-LLMQD-Priority" in orjson.loads(response.body)["error"]["message"]
    assert not upstream.requests


async def test_model_lists_pass_while_calls_wait(tmp_path: Path, upstream: FakeUpstream) -> None:
    toml = upstream_toml("openai", upstream.url).replace("requests_per_minute = 0", "requests_per_minute = 1")
    async with running(tmp_path, toml) as daemon:
        await call(daemon.port, "POST", CHAT, BODY, JSON)
        waiting = asyncio.create_task(call(daemon.port, "POST", CHAT, BODY, JSON))
        await daemon.until(lambda: daemon.waiting == 1)
        for method, path in (
            ("GET", "/v1/models"),
            ("HEAD", "/v1/models"),
            ("POST", "/v1/files"),
            ("GET", "/v1/batches"),
        ):
            assert (await call(daemon.port, method, path)).status == 200
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_client_that_leaves_while_waiting_costs_no_call_and_stands_in_the_ledger(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    toml = upstream_toml("openai", upstream.url).replace("requests_per_minute = 0", "requests_per_minute = 1")
    async with running(tmp_path, toml) as daemon:
        await call(daemon.port, "POST", CHAT, BODY, JSON)
        async with RawClient.to(daemon.port) as client:
            await client.send("POST", CHAT, BODY, JSON)
            await daemon.until(lambda: daemon.waiting == 1)
        await daemon.until(lambda: daemon.waiting == 0)
        assert await daemon.ledger.settled(5)
        assert await daemon.ledger.count_by_status() == {"done": 1, "abandoned": 1}
    assert len(upstream.requests) == 1


async def test_a_refused_wait_is_429_with_hints_and_stands_in_the_ledger(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    toml = upstream_toml("openai", upstream.url).replace("requests_per_minute = 0", "requests_per_minute = 1")
    async with running(tmp_path, toml) as daemon:
        await call(daemon.port, "POST", CHAT, BODY, JSON)
        refused = await call(daemon.port, "POST", CHAT, BODY, JSON | {"X-LLMQD-No-Queue": "1"})
        late = await call(daemon.port, "POST", CHAT, BODY, JSON | {"X-LLMQD-Deadline": "0.01"})
        assert (refused.status, late.status) == (429, 429)
        assert orjson.loads(refused.body)["error"]["code"] == "queue_full"
        assert orjson.loads(late.body)["error"]["code"] == "would_exceed_deadline"
        assert 50 < int(refused.header("Retry-After") or 0) <= 61
        assert refused.header("X-LLMQD-Position") == "1"
        assert refused.header("X-LLMQD-Attempts") == "0"
        assert await daemon.ledger.settled(5)
        assert await daemon.ledger.count_by_status() == {"done": 1, "refused": 2}
    assert len(upstream.requests) == 1


async def test_an_unreachable_upstream_is_502_and_recorded(tmp_path: Path) -> None:
    async with running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9")) as daemon:
        response = await call(daemon.port, "POST", CHAT, BODY, JSON)
        error = orjson.loads(response.body)["error"]
        assert (response.status, error["code"]) == (502, "upstream_unreachable")
        assert error["message"].startswith("Proxy error: ")
        record = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
        assert (record.outcome.status, record.outcome.error) == ("failed", "upstream_unreachable")


async def test_a_silent_upstream_is_504(tmp_path: Path) -> None:
    async with (
        FakeUpstream(Answer(end="hang", headers_sent=False)) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, 'timeout = "100ms"')) as daemon,
    ):
        response = await call(daemon.port, "POST", CHAT, BODY, JSON)
        assert (response.status, orjson.loads(response.body)["error"]["code"]) == (504, "upstream_timeout")


async def test_an_upstream_that_resets_is_502_for_the_caller_only(tmp_path: Path) -> None:
    async with FakeUpstream(json_answer({})) as upstream:
        upstream.play(Answer(end="reset", headers_sent=False))
        async with running(tmp_path, upstream_toml("openai", upstream.url, "retries = 0")) as daemon:
            assert (await call(daemon.port, "POST", CHAT, BODY, JSON)).status == 502
            assert (await call(daemon.port, "POST", CHAT, BODY, JSON)).status == 200
