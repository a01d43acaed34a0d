"""What these tests have in common: a chat call, its record, a lane at a rate, a lane that is held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import orjson

from llmqd.call import Record
from tests.fake_upstream import Answer, FakeUpstream
from tests.fake_upstream import openai_answers as openai
from tests.under_test import DaemonUnderTest, RawResponse, call, upstream_toml

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
JSON = {"Content-Type": "application/json"}
PLAIN = b'{"model":"gpt-4o","messages":[]}'
STREAM = b'{"model":"gpt-4o","stream":true,"messages":[]}'


async def chat(
    daemon: DaemonUnderTest, headers: Mapping[str, str] | None = None, *, body: bytes = PLAIN, path: str = CHAT
) -> RawResponse:
    """One chat call on a connection of its own."""
    return await call(daemon.port, "POST", path, body, JSON | dict(headers or {}))


async def many(daemon: DaemonUnderTest, number: int, headers: Mapping[str, str] | None = None) -> list[RawResponse]:
    """So many chat calls at once."""
    return await asyncio.gather(*(chat(daemon, headers) for _ in range(number)))


async def record_of(daemon: DaemonUnderTest, response: RawResponse) -> Record:
    """What the ledger has of an answered call."""
    return await daemon.record(response.header("X-LLMQD-Request-Id") or "")


def code_of(response: RawResponse) -> str:
    """The code of an error in OpenAI's shape."""
    return str(orjson.loads(response.body)["error"]["code"])


def at_rate(url: str, per_minute: float, more: str = "") -> str:
    """An upstream named openai with a limit on calls."""
    return upstream_toml("openai", url, more).replace("minute = 0", f"minute = {per_minute:g}")


def limited(wait: str | None = "0.2", code: str = "rate_limit_exceeded") -> Answer:
    """OpenAI's 429, with Retry-After unless that is None."""
    answer = openai.error(429, "slow down", "requests", code)
    return answer if wait is None else answer.with_headers(("retry-after", wait))


def gaps(times: Sequence[float]) -> list[float]:
    """The seconds between one moment and the next."""
    return [later - earlier for earlier, later in pairwise(times)]


def times(upstream: FakeUpstream) -> list[float]:
    """When the upstream was asked."""
    return [request.at for request in upstream.requests]


@asynccontextmanager
async def held(daemon: DaemonUnderTest, lane: str = "openai") -> AsyncIterator[None]:
    """Nobody gets a turn in this lane meanwhile, as an operator would have it."""
    assert (await call(daemon.port, "POST", f"/queue/{lane}/pause", b"{}", JSON)).status == 200
    yield
    assert (await call(daemon.port, "POST", f"/queue/{lane}/resume", b"{}", JSON)).status == 200
