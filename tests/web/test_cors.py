"""Browsers of other origins: closed by default, open for those that are named."""

from __future__ import annotations

from pathlib import Path

from tests.fake_upstream import FakeUpstream
from tests.under_test import call, running, upstream_toml

CHAT = "/v1/chat/completions"
PREFLIGHT = {
    "Origin": "https://app.test",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


async def test_closed_by_default(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        health = await call(daemon.port, "GET", "/health", headers={"Origin": "https://app.test"})
        assert health.header("access-control-allow-origin") is None
        preflight = await call(daemon.port, "OPTIONS", CHAT, headers=PREFLIGHT)
        assert preflight.header("access-control-allow-origin") is None


async def test_an_allowed_origin_may_call_and_read(tmp_path: Path) -> None:
    async with (
        FakeUpstream() as upstream,
        running(
            tmp_path, upstream_toml("openai", upstream.url), server='allowed_origins = ["https://app.test"]'
        ) as daemon,
    ):
        preflight = await call(daemon.port, "OPTIONS", CHAT, headers=PREFLIGHT)
        assert preflight.status == 204
        assert preflight.header("access-control-allow-origin") == "https://app.test"
        assert preflight.header("access-control-allow-headers") == "authorization,content-type"
        body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
        headers = {"Origin": "https://app.test", "Content-Type": "application/json"}
        answer = await call(daemon.port, "POST", CHAT, body, headers)
        assert answer.header("access-control-allow-origin") == "https://app.test"
        other = await call(daemon.port, "POST", CHAT, body, headers | {"Origin": "https://evil.test"})
        assert other.header("access-control-allow-origin") is None
