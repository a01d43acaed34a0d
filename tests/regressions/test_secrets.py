"""Complaints about secrets: keys and texts in logs, in answers, in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_upstream import FakeUpstream
from tests.fake_upstream import openai_answers as openai
from tests.process import LlmqdProcess, llmqd
from tests.regressions.chat import CHAT, JSON
from tests.under_test import call, upstream_toml

UPSTREAM_KEY = "plantedupstreamkeywithoutaknownshape"
CLIENT_KEY = "plantedclientkeywithoutaknownshape"
TEXT = "planted words of a user"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"%b"}]}' % TEXT.encode()
CARRIERS = (
    {"Authorization": f"Bearer {CLIENT_KEY}"},
    {"x-api-key": CLIENT_KEY},
    {"api-key": CLIENT_KEY},
    {"x-goog-api-key": CLIENT_KEY},
    {"Cookie": f"session={CLIENT_KEY}"},
)


def toml_of(url: str) -> str:
    named = upstream_toml("openai", url, "retries = 1").replace("sk-upstream", UPSTREAM_KEY)
    dead = upstream_toml("groq", "http://127.0.0.1:9", "retries = 0").replace("sk-upstream", UPSTREAM_KEY)
    return f'{named}{dead}[log]\nlevel = "debug"\n'


async def exercise(process: LlmqdProcess, upstream: FakeUpstream) -> list[bytes]:
    """Calls that go well, fail, are refused and meet dead ends, with keys wherever clients put them; the answers."""
    answers = []
    upstream.play(openai.error(503, "no", "server_error"))
    for carrier in CARRIERS:
        for path in (CHAT, "/groq/openai/v1/chat/completions", "/nowhere/v1/x", "/v1/session/s", "/v1/files"):
            response = await call(process.port, "POST", f"{path}?key={CLIENT_KEY}", BODY, JSON | carrier)
            if response.status != 200:
                answers.append(response.body)
    bad = {"X-LLMQD-Priority": "soon", "Authorization": f"Bearer {CLIENT_KEY}"}
    answers.append((await call(process.port, "POST", CHAT, BODY, JSON | bad)).body)
    for path in ("/config", "/health", "/queue", "/metrics", "/providers", "/"):
        answers.append((await call(process.port, "GET", path)).body)
    return answers


async def test_neither_keys_nor_texts_stand_in_the_log(tmp_path: Path) -> None:
    """marketconnect/llm-queue-proxy: the Authorization header and the bodies of all calls were written to the log."""
    async with FakeUpstream() as upstream, llmqd(tmp_path, toml_of(upstream.url)) as process:
        await exercise(process, upstream)
        await process.stop()
        log = process.log.read_text()
        assert "OpenAI API Usage - Request: " in log
        assert "upstream_unreachable" in log
        for secret in (UPSTREAM_KEY, CLIENT_KEY, TEXT, "Bearer"):
            assert secret not in log


async def test_no_key_stands_in_an_answer_of_llmqd_s_own(tmp_path: Path) -> None:
    """llm-proxy-server, GET /config: the configuration in force is shown, and the key is a part of it."""
    async with FakeUpstream() as upstream, llmqd(tmp_path, toml_of(upstream.url)) as process:
        for body in await exercise(process, upstream):
            assert UPSTREAM_KEY[:12].encode() not in body
            assert CLIENT_KEY[:12].encode() not in body


@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_no_key_stands_in_a_file_of_the_daemon(tmp_path: Path, ending: str) -> None:
    """llm-proxy-server, trace middleware: the files for each call held its headers, and the keys with them."""
    async with FakeUpstream() as upstream, llmqd(tmp_path, toml_of(upstream.url)) as process:
        await exercise(process, upstream)
        await (process.stop() if ending == "stop" else process.kill())
        files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
        assert len(files) >= 2
        for path in files:
            assert UPSTREAM_KEY.encode() not in path.read_bytes(), path.name
            assert CLIENT_KEY.encode() not in path.read_bytes(), path.name


async def test_a_clients_key_never_reaches_the_upstream(tmp_path: Path) -> None:
    """llm-queue-proxy: many programs share the key of the proxy; what each sends as its own stays here."""
    async with FakeUpstream() as upstream, llmqd(tmp_path, toml_of(upstream.url)) as process:
        for carrier in CARRIERS:
            assert (await call(process.port, "POST", CHAT, BODY, JSON | carrier)).status == 200
        assert all(CLIENT_KEY.encode() not in request.raw_head for request in upstream.requests)
        assert {request.header("authorization") for request in upstream.requests} == {f"Bearer {UPSTREAM_KEY}"}
