"""The rates and the weight of client keys, over the wire."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson

from tests.fake_upstream import FakeUpstream
from tests.fake_upstream import openai_answers as openai
from tests.under_test import RawResponse, call, running, upstream_toml
from tests.web.test_door import KEYS, bearer, create, guarded

CHAT = "/v1/chat/completions"


def asked(words: str) -> bytes:
    question = {"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": words}]}
    return orjson.dumps(question)


async def test_tokens_beyond_the_tpm_of_a_key_wait_and_those_of_another_do_not(tmp_path: Path) -> None:
    """Each call takes 30 tokens."""
    slow, other = create(tmp_path, "slow", tpm=100), create(tmp_path, "other")
    async with guarded(tmp_path) as (daemon, _):

        async def ask(token: str) -> RawResponse:
            headers = bearer(token) | {"X-LLMQD-Deadline": "1"}
            return await call(daemon.port, "POST", CHAT, asked("hi"), headers)

        answers = [await ask(slow) for _ in range(6)]
        refused = [answer for answer in answers if answer.status != 200]
        assert 2 <= 6 - len(refused) <= 3
        assert {orjson.loads(answer.body)["error"]["code"] for answer in refused} == {"would_exceed_deadline"}
        assert int(refused[0].header("Retry-After") or 0) > 1
        assert [(await ask(other)).status for _ in range(4)] == [200] * 4


async def test_a_call_that_is_larger_than_the_tpm_of_its_key_is_refused_at_once(tmp_path: Path) -> None:
    token = create(tmp_path, "app", tpm=100)
    async with guarded(tmp_path) as (daemon, _):
        answer = await call(daemon.port, "POST", CHAT, asked("word " * 2000), bearer(token))
    assert answer.status == 413
    assert orjson.loads(answer.body)["error"]["code"] == "request_too_large_for_limit"


async def test_keys_share_by_their_weights(tmp_path: Path) -> None:
    heavy, light = create(tmp_path, "heavy", weight=3.0), create(tmp_path, "light")
    go = asyncio.Event()
    async with FakeUpstream(lambda _: openai.chat("gpt-4o-mini").but(before=[go])) as upstream:
        toml = upstream_toml("openai", upstream.url, "max_concurrent = 1\nlearn = false") + KEYS
        async with running(tmp_path, toml) as daemon:
            first = asyncio.create_task(call(daemon.port, "POST", CHAT, asked("first"), bearer(light)))
            await daemon.until(lambda: len(upstream.requests) == 1)
            waiting = [
                asyncio.create_task(call(daemon.port, "POST", CHAT, asked(name), bearer(token)))
                for _ in range(9)
                for name, token in (("light", light), ("heavy", heavy))
            ]
            await daemon.until(lambda: daemon.waiting == 18)
            go.set()
            await asyncio.gather(first, *waiting)
        order = [orjson.loads(one.body)["messages"][0]["content"] for one in upstream.requests[1:]]
    assert 8 <= order[:12].count("heavy") <= 9
