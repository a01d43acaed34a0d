"""A call is answered alike on its short way and through the application's router."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmqd.web.attempts import Attempts
from tests.fake_upstream import FakeUpstream
from tests.under_test import DaemonUnderTest, RawResponse, call, running, upstream_toml

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
JSON = {"Content-Type": "application/json"}
VARYING = {"x-llmqd-request-id", "x-llmqd-queued-ms", "x-llmqd-session-id", "date"}


async def both_ways(daemon: DaemonUnderTest, path: str) -> tuple[RawResponse, RawResponse]:
    """The same call straight, and as a page of this machine would send it."""
    return (
        await call(daemon.port, "POST", path, BODY, JSON),
        await call(daemon.port, "POST", path, BODY, JSON | {"Origin": "http://localhost:3000"}),
    )


def said(response: RawResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    kept = [(name.lower(), value) for name, value in response.raw_headers if name.lower() not in VARYING]
    return response.status, response.body, sorted(kept)


@pytest.mark.parametrize("path", [CHAT, "/openai" + CHAT, "/nobody" + CHAT, "/v1/session/x"])
async def test_both_ways_say_the_same(tmp_path: Path, path: str) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        short, routed = await both_ways(daemon, path)
        assert said(short) == said(routed)


async def test_a_fault_of_llmqd_itself_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Attempts, "in_turn", fault)
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        short, routed = await both_ways(daemon, CHAT)
        assert short.status == 500
        assert b"internal_error" in short.body
        assert said(short) == said(routed)
        assert (short.header("server") or "").startswith("llmqd/")
