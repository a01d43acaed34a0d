"""Budgets of a real daemon under load: 500 calls at once do not overspend, and neither does any death of it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import orjson

from llmqd.auth.key import ClientKey, KeyBudget, new_token
from llmqd.auth.key_file import KeyFile
from tests.fake_upstream import FakeUpstream
from tests.fake_upstream.openai_answers import CHAT_USAGE, chat
from tests.fake_upstream.request import Received
from tests.fake_upstream.script import Answer
from tests.process import llmqd
from tests.under_test import RawClient, call, upstream_toml

CHAT = "/v1/chat/completions"
AT_ONCE = 500
KILLS = 6
PICO_OF_A_CALL = 9_150_000
"""Picodollars of one answer of the fake upstream to gpt-4o-mini."""


def a_key(directory: Path, name: str, *limits: str) -> dict[str, str]:
    """A client key with these budgets, and the headers of calls with it."""
    token = new_token()
    budgets = tuple(KeyBudget(limit=limit) for limit in limits)
    with KeyFile(directory / "state").changing() as keys:
        keys[name] = ClientKey(id=token.id, name=name, digest=token.digest, created=0.0, budgets=budgets)
    return {"Content-Type": "application/json", "Authorization": f"Bearer {token.text}"}


def a_body(noise: random.Random) -> bytes:
    """A question whose answer may be anything up to what it allows."""
    allowed = noise.choice((None, 200, 2000))
    question = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * noise.randrange(10, 400)}]}
    return orjson.dumps(question if allowed is None else question | {"max_tokens": allowed})


async def test_500_calls_at_once_overspend_by_no_more_than_the_error_of_one(tmp_path: Path) -> None:
    noise = random.Random(1)
    given: list[int] = []

    def answer(received: Received) -> Answer:
        allowed = orjson.loads(received.body).get("max_tokens", 1500)
        made, put = noise.randrange(1, allowed), noise.randrange(10, 120)
        given.append(put + made)
        usage = CHAT_USAGE | {"prompt_tokens": put, "completion_tokens": made, "total_tokens": put + made}
        body = orjson.loads(chat("gpt-4o-mini").data) | {"usage": usage}
        return chat("gpt-4o-mini").but(body=[orjson.dumps(body)], before=[noise.uniform(0, 0.02)])

    limit = 60_000
    async with FakeUpstream(answer) as upstream:
        toml = upstream_toml("openai", upstream.url, "learn = false") + '[auth]\nmode = "keys"\n'
        headers = a_key(tmp_path, "app", f"{limit} tokens/month")
        async with llmqd(tmp_path, toml) as process:
            asked = [call(process.port, "POST", CHAT, a_body(noise), headers) for _ in range(AT_ONCE)]
            statuses = [answer.status for answer in await asyncio.gather(*asked)]
            await process.stop()
            [(calls, tokens)] = process.rows("SELECT calls, tokens FROM spending WHERE by = 'key' AND slot = 0")
    assert {*statuses} == {200, 429}
    assert calls == statuses.count(200) == len(given)
    assert tokens == sum(given)
    # One call may take 2000 tokens more than was thought likely, and so may what is left stay unused.
    assert limit - 4200 < sum(given) <= limit + 2000


async def keep_calling(port: int, headers: dict[str, str], delivered: list[str], refused: list[str]) -> None:
    body = b'{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"hi"}]}'
    try:
        async with RawClient.to(port) as client:
            while True:
                await client.send("POST", CHAT, body, headers)
                answer = await client.response()
                if not answer.complete:
                    return
                (delivered if answer.status == 200 else refused).append(answer.header("X-LLMQD-Request-Id") or "")
                if answer.status != 200:
                    await asyncio.sleep(0.01)
    except (OSError, EOFError):
        return


async def test_kill_9_neither_forgets_nor_doubles_what_was_spent(tmp_path: Path) -> None:
    noise = random.Random(7)
    delivered: list[str] = []
    refused: list[str] = []
    async with FakeUpstream(lambda _: chat("gpt-4o-mini").but(before=[0.002])) as upstream:
        toml = upstream_toml("openai", upstream.url, "learn = false") + '[auth]\nmode = "keys"\n'
        headers = a_key(tmp_path, "app", "0.02/day", "1200 calls/life")
        async with llmqd(tmp_path, toml) as process:
            for _ in range(KILLS):
                clients = [
                    asyncio.create_task(keep_calling(process.port, headers, delivered, refused)) for _ in range(20)
                ]
                enough = len(delivered) + len(refused) + noise.randint(30, 120)
                async with asyncio.timeout(60):
                    while len(delivered) + len(refused) < enough:  # noqa: ASYNC110 - the lists are the clients'
                        await asyncio.sleep(0.001)
                await asyncio.sleep(noise.uniform(0, 0.01))
                await process.kill()
                await asyncio.gather(*clients)
                await process.start()
            async with asyncio.timeout(60):
                while not refused:
                    await keep_one(process.port, headers, delivered, refused)
            await process.stop()
            rows = process.rows(
                "SELECT status, cost_pico, reserved_pico FROM calls WHERE attempts > 0 OR lane IS NOT NULL"
            )
            [(calls, pico)] = process.rows("SELECT calls, cost_pico FROM spending WHERE by = 'key' AND slot = 0")
    done = sum(1 for status, _, _ in rows if status == "done")
    dead = [int(str(reserved)) for status, _, reserved in rows if status == "interrupted"]
    assert dead, "no kill hit a call in the middle"
    assert done >= len(delivered)
    assert calls == done + len(dead) <= 1200
    assert pico == done * PICO_OF_A_CALL + sum(dead)
    assert int(str(pico)) <= 0.02e12 + max(dead)
    assert len(upstream.requests) <= 1200


async def keep_one(port: int, headers: dict[str, str], delivered: list[str], refused: list[str]) -> None:
    """Calls until it is refused or the connection ends."""
    body = b'{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"hi"}]}'
    answer = await call(port, "POST", CHAT, body, headers)
    (delivered if answer.status == 200 else refused).append(answer.header("X-LLMQD-Request-Id") or "")
