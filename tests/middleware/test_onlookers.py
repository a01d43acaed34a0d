"""Middlewares look on at real calls: what they see, what they do not see, and that none holds or breaks a call."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmqd.middleware.sighting import Answered, Asked, Sighting, is_credential, shown_url
from llmqd.middleware.trace import Trace
from llmqd.middleware.watching import Watcher
from tests.fake_upstream import FakeUpstream, json_answer, sse
from tests.fake_upstream import openai_answers as openai
from tests.under_test import RawClient, call, running, upstream_toml

CHAT = "/v1/chat/completions"
PLAIN = b'{"model":"gpt-4o","messages":[{"role":"user","content":"my key is sk-proj-abcdefghij0123456789abcd"}]}'
STREAM = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hello"}]}'
SENT = {"Content-Type": "application/json", "Authorization": "Bearer client-key-123456"}
TRACE = '[[middleware]]\ntype = "trace"\n'


async def traced(directory: Path, count: int = 1) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while len(files := sorted(directory.glob("trace-*.json"))) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return [orjson.loads(file.read_bytes()) for file in files]


async def test_a_trace_has_one_file_a_call_in_the_known_form_without_secrets(tmp_path: Path) -> None:
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url) + TRACE) as daemon,
    ):
        upstream.play(openai.chat())
        answer = await call(daemon.port, "POST", f"{CHAT}?key=secret-in-query&a=1", PLAIN, SENT)
        [found] = await traced(tmp_path / "state" / "traces")
        assert list(found)[:5] == ["timestamp", "request", "response", "duration_ms", "trace_id"]
        request, response = found["request"], found["response"]
        assert set(request) == {"method", "url", "headers", "body", "query_params"}
        assert set(response) == {"status_code", "headers", "body", "chunks", "is_streaming"}
        assert (request["method"], request["query_params"]) == ("POST", {"key": "[redacted]", "a": "1"})
        assert request["body"]["messages"][0]["content"] == "my key is [redacted:provider-key]"
        assert request["headers"]["Authorization"] == "[redacted]"
        assert (response["status_code"], response["body"]) == (200, answer.json())
        assert (response["is_streaming"], response["chunks"]) == (False, [])
        assert found["trace_id"] == answer.header("X-LLMQD-Request-Id")
        text = orjson.dumps(found)
        assert not [one for one in (b"client-key", b"sk-", b"secret-in-query", b"sk-upstream") if one in text]
        [file] = (tmp_path / "state" / "traces").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600


async def test_a_streams_pieces_are_kept_and_its_end_waits_for_nothing(tmp_path: Path) -> None:
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, "include_usage = false") + TRACE) as daemon,
    ):
        upstream.play(openai.chat_stream())
        answer = await call(daemon.port, "POST", CHAT, STREAM, SENT)
        [found] = await traced(tmp_path / "state" / "traces")
        assert found["response"]["is_streaming"] is True
        assert "".join(found["response"]["chunks"]).encode() == answer.body


async def test_a_secret_that_lies_across_events_of_a_stream_is_not_shown(tmp_path: Path) -> None:
    pieces = ("sk-proj-abcde", "fghij0123456789abcd")
    events = [b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": one}}]}) for one in pieces]
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url) + TRACE) as daemon,
    ):
        upstream.play(sse([*events, b"data: [DONE]"]))
        await call(daemon.port, "POST", CHAT, STREAM, SENT)
        [found] = await traced(tmp_path / "state" / "traces")
        assert "fghij0123456789" not in str(found)
        assert "[redacted]" in str(found["response"]["chunks"])


async def test_what_the_settings_leave_out_is_left_out(tmp_path: Path) -> None:
    more = "include_headers = false\nmax_body_size = 50\n"
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url) + TRACE + more) as daemon,
    ):
        upstream.play(openai.chat())
        await call(daemon.port, "POST", CHAT, PLAIN, SENT)
        [found] = await traced(tmp_path / "state" / "traces")
        assert (found["request"]["headers"], found["request"]["body"], found["response"]["body"]) == ({}, None, None)


async def test_a_client_that_left_and_a_refusal_are_traced_too(tmp_path: Path) -> None:
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url) + TRACE) as daemon,
    ):
        upstream.play(openai.chat_stream().paused(asyncio.Event()))
        async with RawClient.to(daemon.port) as client:
            await client.send("POST", CHAT, STREAM, SENT)
            await client.head()
            await client._chunk()
        [left] = await traced(tmp_path / "state" / "traces")
        assert left["client_left"] is True
        daemon.lanes.close()
        refused = await call(daemon.port, "POST", CHAT, PLAIN, SENT)
        _, second = await traced(tmp_path / "state" / "traces", 2)
        assert (second["response"]["status_code"], second["response"]["body"]) == (refused.status, refused.json())


async def test_the_printer_logs_requests_and_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "llmqd.printer")
    toml = '[[middleware]]\ntype = "printer"\nlog_body = true\n'
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url) + toml) as daemon,
    ):
        upstream.play(json_answer({"id": "x", "choices": []}))
        await call(daemon.port, "POST", CHAT, PLAIN, SENT)
        await daemon.until(lambda: sum(one.name == "llmqd.printer" for one in caplog.records) == 2)
    lines = [record.getMessage() for record in caplog.records if record.name == "llmqd.printer"]
    assert [line.split(" {")[0].split(" (")[0] for line in lines] == [f"→ Request: POST {CHAT}", "← Response: 200"]
    assert "[redacted:provider-key]" in lines[0]


async def test_a_middleware_that_fails_breaks_no_call_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the directory should be")
    async with (
        FakeUpstream() as upstream,
        running(
            tmp_path, upstream_toml("openai", upstream.url) + TRACE + f'directory = "{tmp_path}/taken"\n'
        ) as daemon,
    ):
        upstream.play(openai.chat())
        assert (await call(daemon.port, "POST", CHAT, PLAIN, SENT)).status == 200
        await daemon.until(lambda: bool(daemon.onlookers.faults()))
        health = await call(daemon.port, "GET", "/health")
        assert "middleware trace fails" in health.body.decode()


def test_one_that_hangs_holds_nobody_and_is_bounded() -> None:
    hanging = threading.Event()
    started = threading.Event()
    done: list[str] = []

    class Hanging:
        def request(self, asked: Asked) -> None:
            started.set()
            assert hanging.wait(30)
            done.append(asked.id)

        def response(self, sighting: Sighting) -> None: ...

        def close(self) -> None:
            done.append("closed")

    watcher = Watcher("hanging", Hanging(), 300)
    asked = [Asked(id=str(number), at=0.0, method="POST", path="/", url="/") for number in range(10)]
    for one in asked:
        watcher.offer(100, lambda middleware, one=one: middleware.request(one))  # type: ignore[misc]
    assert started.wait(30)
    assert watcher.dropped == 7
    hanging.set()
    watcher.end()
    watcher.join(30)
    assert done == ["0", "1", "2", "closed"]


def sighting(number: int, at: float = 1_700_000_000.123) -> Sighting:
    asked = Asked(id=f"id{number:03}", at=at, method="POST", path="/v1/x", url="/v1/x", body=b"x" * 1000)
    return Sighting(asked, Answered(status=200, chunks=(b"y",), size=1, duration_ms=1.5))


def test_calls_of_one_millisecond_have_files_of_their_own_and_the_oldest_go(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "t", max_size=6000)
    for number in range(10):
        trace.response(sighting(number))
    names = sorted(path.name for path in (tmp_path / "t").iterdir())
    assert names[-1] == "trace-2023-11-14T22-13-20-123Z-id009.json"
    assert 2 <= len(names) < 10
    assert trace.size == sum(path.stat().st_size for path in (tmp_path / "t").iterdir()) <= 6000
    again = Trace(tmp_path / "t", max_size=6000)
    again.response(sighting(10))
    assert again.size == sum(path.stat().st_size for path in (tmp_path / "t").iterdir()) <= 6000


def test_files_that_are_too_old_go(tmp_path: Path) -> None:
    now = [1000.0]
    trace = Trace(tmp_path / "t", max_age=60, wall=lambda: now[0])
    trace.response(sighting(1))
    now[0] += 61
    trace.response(sighting(2))
    assert [path.name[-10:] for path in (tmp_path / "t").iterdir()] == ["id002.json"]


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "Cookie", "X-Some-Token", "cf-access-client-secret"])
def test_headers_that_carry_keys_are_known(name: str) -> None:
    assert is_credential(name)


@pytest.mark.parametrize("name", ["Content-Type", "x-ratelimit-remaining-tokens", "X-LLMQD-Request-Id"])
def test_other_headers_are_shown(name: str) -> None:
    assert not is_credential(name)


def test_a_url_without_a_key_is_left_as_it_is() -> None:
    assert shown_url("/v1/x?a=%2F&b") == "/v1/x?a=%2F&b"
    assert "s3cret" not in shown_url("/v1/x?a=1&key=s3cret")


@pytest.mark.parametrize("depth", [200, 300, 600, 1000])
async def test_what_is_nested_deeply_is_traced_without_secrets_too(tmp_path: Path, depth: int) -> None:
    secret = b'"sk-proj-abcdefghij0123456789abcd"'
    body = b'{"model":"gpt-4o","messages":[],"a":' + b"[" * depth + secret + b"]" * depth + b"}"
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url) + TRACE) as daemon,
    ):
        upstream.play(json_answer({}).but(body=[body]))
        await call(daemon.port, "POST", CHAT, body, SENT)
        [found] = await traced(tmp_path / "state" / "traces")
        assert found["request"]["method"] == "POST"
        assert b"sk-proj" not in orjson.dumps(found)


async def test_headers_that_are_not_utf_8_are_traced(tmp_path: Path) -> None:
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url) + TRACE) as daemon,
    ):
        upstream.play(json_answer({}, 200, ("X-Answer", "caf\udce9")))
        await call(daemon.port, "POST", CHAT, PLAIN, SENT | {"X-Question": "caf\udce9"})
        [found] = await traced(tmp_path / "state" / "traces")
        assert found["request"]["headers"]["X-Question"] in ("caf?", "caf\u00e9")
