"""Odd HTTP at the border passes or is refused in llmqd's own words; nothing hangs, no traceback is logged."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from tests.fake_upstream import Answer, FakeUpstream, json_answer
from tests.under_test import DaemonUnderTest, RawClient, RawResponse, call, running, upstream_toml

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[]}'
LATIN = "caf\udce9"  # the byte E9, which is not UTF-8


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(json_answer({"ok": True})) as fake:
        yield fake


@pytest.fixture
async def daemon(tmp_path: Path, upstream: FakeUpstream) -> AsyncIterator[DaemonUnderTest]:
    async with running(tmp_path, upstream_toml("openai", upstream.url)) as running_daemon:
        yield running_daemon


async def exchange(daemon: DaemonUnderTest, request: str, *, to_head: bool = False) -> RawResponse:
    """One request exactly as it is written here, and its answer."""
    async with RawClient.to(daemon.port) as client:
        client.writer.write(request.encode("utf-8", "surrogateescape"))
        return await client.response(to_head=to_head)


def code_of(response: RawResponse) -> object:
    return orjson.loads(response.body)["error"]["code"]


@pytest.mark.parametrize("name", ["Session", "Agent", "User", "Conversation", "Tags", "Priority", "Store"])
async def test_a_control_header_that_is_not_utf_8_is_refused_before_anything_is_sent(
    daemon: DaemonUnderTest, upstream: FakeUpstream, name: str
) -> None:
    response = await call(daemon.port, "POST", CHAT, BODY, {f"X-LLMQD-{name}": LATIN})
    assert (response.status, code_of(response)) == (400, "bad_header")
    assert f"X-LLMQD-{name}" in response.body.decode()
    assert not upstream.requests


async def test_a_session_header_of_another_tool_that_is_not_utf_8_is_passed_over(daemon: DaemonUnderTest) -> None:
    response = await call(daemon.port, "POST", CHAT, BODY, {"session_id": LATIN})
    assert (response.status, response.header("X-LLMQD-Session-Source")) == (200, "none")
    assert (await daemon.record(response.header("X-LLMQD-Request-Id") or "")).outcome.status == "done"


async def test_header_text_that_is_not_utf_8_is_read_as_latin_1_and_loses_nothing(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    upstream.play(json_answer({}, 200, ("X-Answer", LATIN)))
    response = await call(daemon.port, "POST", CHAT, BODY, {"X-Question": LATIN, "X-Utf": "caf\u00e9"})
    assert upstream.requests[0].header("X-Question") == "caf\u00e9"
    assert upstream.requests[0].header("X-Utf") == "caf\u00e9"
    assert response.header("X-Answer") == "caf\u00e9"


async def test_a_target_in_absolute_form_is_served_and_its_host_ignored(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    response = await call(daemon.port, "GET", "http://elsewhere.test/openai/v1/x%2Fy?a=1")
    assert response.status == 200
    assert upstream.requests[0].target == "/v1/x%2Fy?a=1"


async def test_options_of_the_server_itself_are_answered(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    assert (await call(daemon.port, "OPTIONS", "*")).status == 204
    assert not upstream.requests


async def test_llmqd_is_no_tunnel_to_anywhere(daemon: DaemonUnderTest) -> None:
    response = await call(daemon.port, "CONNECT", "api.openai.com:443")
    assert (response.status, code_of(response)) == (405, "method_not_allowed")
    assert response.header("connection") == "close"


async def test_trace_would_show_the_key_of_the_upstream_and_is_refused(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    response = await call(daemon.port, "TRACE", "/openai/v1/x")
    assert (response.status, code_of(response)) == (405, "method_not_allowed")
    assert not upstream.requests


@pytest.mark.parametrize(
    "request_text",
    [
        "GET /v1/mod els HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        "GET /v1/" + "x" * 70_000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["space", "nul", "two hosts", "two framings", "two lengths", "too long"],
)
async def test_what_is_no_http_is_400_and_one_line_in_the_log(
    daemon: DaemonUnderTest, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture, request_text: str
) -> None:
    with caplog.at_level(logging.INFO):
        response = await exchange(daemon, request_text)
    assert (response.status, code_of(response)) == (400, "bad_request")
    assert response.header("content-type") == "application/json"
    assert response.header("x-content-type-options") == "nosniff"
    assert not upstream.heads
    noted = [record for record in caplog.records if "not valid HTTP" in record.getMessage()]
    assert len(noted) == 1
    said = noted[0].getMessage()
    assert "\n" not in said
    assert not re.search(r"x{5}|a.b|abcde|b'", said.partition(": ")[2])
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/sessions/search"),
        ("PATCH", "/queue/x"),
        ("POST", "/dashboard/login"),
        ("POST", CHAT),
        ("POST", "/v1/files"),
    ],
)
async def test_a_client_that_falls_silent_in_its_body_is_408_wherever_it_goes(
    tmp_path: Path, upstream: FakeUpstream, method: str, path: str
) -> None:
    toml = upstream_toml("openai", upstream.url)
    async with running(tmp_path, toml, server='client_timeout = "50ms"') as daemon:
        request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-LLMQD-Dashboard: 1\r\nContent-Length: 9\r\n\r\n{{"
        response = await exchange(daemon, request)
        assert (response.status, code_of(response)) == (408, "request_timeout")


async def test_a_transfer_coding_that_nobody_undoes_is_refused(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    response = await exchange(
        daemon,
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    )
    assert (response.status, code_of(response)) == (400, "bad_header")
    assert not upstream.heads


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/nowhere/x", "", 404),
        ("/v1/session/s/", "", 400),
        (CHAT, "X-LLMQD-Priority: urgent\r\n", 400),
    ],
)
async def test_a_body_is_not_asked_for_when_the_call_is_refused_anyway(
    daemon: DaemonUnderTest, path: str, more: str, status: int
) -> None:
    response = await exchange(
        daemon, f"POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{more}Content-Length: 5\r\n\r\n"
    )
    assert response.status == status


async def test_what_else_is_expected_is_refused_in_the_dialect_of_the_route(daemon: DaemonUnderTest) -> None:
    head = "POST /v1/messages HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 5\r\n\r\n"
    response = await exchange(daemon, head)
    assert response.status == 400
    assert orjson.loads(response.body)["type"] == "error"
    assert b"only 100-continue" in response.body


async def test_an_empty_session_in_the_url_is_refused_and_not_forwarded(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    for path in ("/v1/session//chat/completions", "/openai/session//v1/chat/completions", "/v1/session/%ff/models"):
        response = await call(daemon.port, "POST", path, BODY)
        assert (response.status, code_of(response)) == (400, "bad_header")
    assert not upstream.heads


async def test_a_client_of_http_1_0_is_sent_no_interim_answer(daemon: DaemonUnderTest) -> None:
    response = await exchange(
        daemon, "POST /v1/files HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nabcde"
    )
    assert response.status == 200


async def test_only_a_get_is_a_websocket_handshake(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert (await call(daemon.port, "POST", CHAT, BODY, headers)).status == 200
    assert upstream.requests[0].header("upgrade") is None
    assert upstream.requests[0].body == BODY


async def test_a_switch_of_protocols_that_nobody_asked_for_is_502(tmp_path: Path, upstream: FakeUpstream) -> None:
    async with running(tmp_path, upstream_toml("openai", upstream.url, "retries = 0")) as daemon:
        upstream.play(Answer(raw=True, body=[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"]))
        response = await call(daemon.port, "POST", CHAT, BODY)
        assert (response.status, code_of(response)) == (502, "upstream_unreachable")
        assert (await daemon.record(response.header("X-LLMQD-Request-Id") or "")).outcome.status == "failed"


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nX-A: a\x01b", b"HTTP/1.1 200 O\x1bK\r\nX-A: a", b"HTTP/1.1 200 OK\r\nX-A: a\x7f"],
    ids=["value", "reason", "delete"],
)
@pytest.mark.parametrize("framing", [b"Content-Length: 2\r\n\r\n{}", b"\r\n{}"], ids=["length", "close"])
async def test_an_answer_with_control_characters_in_its_head_is_502_and_no_fault_of_llmqd(
    tmp_path: Path, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture, head: bytes, framing: bytes
) -> None:
    async with running(tmp_path, upstream_toml("openai", upstream.url, "retries = 0")) as daemon:
        upstream.play(Answer(raw=True, body=[head + b"\r\n" + framing]))
        response = await call(daemon.port, "POST", CHAT, BODY)
        assert (response.status, code_of(response)) == (502, "upstream_unreachable")
        assert b"control character" in response.body or b"not valid HTTP" in response.body
        assert (await daemon.record(response.header("X-LLMQD-Request-Id") or "")).outcome.status == "failed"
        assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


async def test_interim_answers_and_trailers_of_the_upstream_do_not_disturb(
    daemon: DaemonUnderTest, upstream: FakeUpstream
) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    upstream.play(Answer(before=[hints, hints], body=[b"abc"], framing="chunked", trailers=[("X-T", "1")]))
    response = await call(daemon.port, "POST", CHAT, BODY)
    assert (response.status, response.body, response.complete) == (200, b"abc", True)


async def test_a_fault_of_llmqd_s_own_is_500_in_the_route_s_dialect_and_closes_the_record(
    daemon: DaemonUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    await daemon.client.__aexit__(None, None, None)
    response = await call(daemon.port, "POST", CHAT, BODY)
    assert (response.status, code_of(response)) == (500, "internal_error")
    assert "internal error" in caplog.text
    assert await daemon.ledger.settled(5)
    assert await daemon.ledger.count_by_status() == {"failed": 1}


async def test_pipelined_requests_are_answered_in_their_order(daemon: DaemonUnderTest, upstream: FakeUpstream) -> None:
    gate = asyncio.Event()
    upstream.play(Answer(body=[gate, b"first"], length=5), Answer(body=[b"second"]))
    async with RawClient.to(daemon.port) as client:
        await client.send("GET", "/v1/models")
        await client.send("GET", "/v1/models")
        gate.set()
        assert [(await client.response()).body for _ in range(2)] == [b"first", b"second"]
