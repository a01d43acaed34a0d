"""The doctor asks upstreams: real ones, on this machine."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp.test_utils import unused_port

from llmqd.config.load import load
from llmqd.doctor.finding import Finding
from llmqd.doctor.reach import look_at_upstreams
from tests.certificates import own_certificate
from tests.fake_upstream import FakeUpstream
from tests.fake_upstream.request import Received
from tests.fake_upstream.script import Answer
from tests.under_test import upstream_toml


async def look(tmp_path: Path, toml: str) -> tuple[Finding, dict[str, float]]:
    path = tmp_path / "llmqd.toml"
    path.write_text(toml)
    reached = await look_at_upstreams(load(path, {}), wall=time.time)
    [found] = reached.findings
    return found, reached.ahead


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        (200, "ok", "takes the key"),
        (401, "fault", "refuses the key (401)"),
        (403, "fault", "refuses the key (403)"),
        (404, "ok", "says nothing of the key"),
        (503, "warning", "answers 503"),
    ],
)
async def test_what_an_upstream_says_of_the_key(tmp_path: Path, status: int, level: str, words: str) -> None:
    asked: list[Received] = []

    def answer(request: Received) -> Answer:
        asked.append(request)
        return Answer(status=status, body=[b"{}"])

    async with FakeUpstream(answer) as upstream:
        found, _ = await look(tmp_path, upstream_toml("openai", upstream.url))
    assert (found.level, words in found.text) == (level, True), found
    [request] = asked
    assert (request.method, request.path) == ("GET", "/v1/models")
    assert request.header("Authorization") == "Bearer sk-upstream"
    assert "sk-upstream" not in repr(found)


async def test_the_key_is_shown_as_the_dialect_wants_it(tmp_path: Path) -> None:
    asked: list[Received] = []

    def answer(request: Received) -> Answer:
        asked.append(request)
        return Answer(status=200, body=[b"{}"])

    async with FakeUpstream(answer) as upstream:
        await look(tmp_path, upstream_toml("gemini", upstream.url))
        await look(tmp_path, upstream_toml("anthropic", upstream.url))
    assert [(each.path, each.header("x-goog-api-key"), each.header("x-api-key")) for each in asked] == [
        ("/v1beta/models", "sk-upstream", None),
        ("/v1/models", None, "sk-upstream"),
    ]


async def test_an_upstream_whose_clock_differs(tmp_path: Path) -> None:
    def answer(_: Received) -> Answer:
        return Answer(status=200, headers=[("Date", "Wed, 21 Oct 2015 07:28:00 GMT")], body=[b"{}"])

    async with FakeUpstream(answer) as upstream:
        _, ahead = await look(tmp_path, upstream_toml("openai", upstream.url))
    assert ahead["openai"] == pytest.approx(1445412480 - time.time(), abs=60)


async def test_nothing_listens(tmp_path: Path) -> None:
    found, ahead = await look(tmp_path, upstream_toml("openai", f"http://127.0.0.1:{unused_port()}"))
    assert (found.level, "nothing listens at" in found.text, ahead) == ("fault", True, {})


async def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    found, _ = await look(tmp_path, upstream_toml("openai", "http://no-such-host.invalid"))
    assert (found.level, "cannot be resolved" in found.text) == ("fault", True), found


async def test_no_tls_where_tls_is_expected(tmp_path: Path) -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found, _ = await look(tmp_path, upstream_toml("openai", f"https://127.0.0.1:{port}"))
    assert (found.level, "no TLS with" in found.text) == ("fault", True), found


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    context = await asyncio.to_thread(own_certificate, tmp_path)
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        found, _ = await look(tmp_path, upstream_toml("openai", f"https://127.0.0.1:{port}"))
    assert (found.level, "is not trusted: self" in found.text) == ("fault", True), found
    assert "ca_file" in found.advice


async def test_the_simulator_needs_no_way(tmp_path: Path) -> None:
    found, _ = await look(tmp_path, '[[upstream]]\nname = "sim"\n')
    assert (found.level, found.text) == ("ok", "is built in")
