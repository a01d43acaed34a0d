"""A strict upstream behind a lane with the right limit refuses nobody, and the whole quota is used."""

from __future__ import annotations

import asyncio
from pathlib import Path

import openai

from tests.fake_upstream import FakeUpstream, TokenBucket
from tests.process import llmqd
from tests.under_test import upstream_toml


async def test_a_hundred_clients_share_600_a_minute_without_one_refusal(tmp_path: Path) -> None:
    async with FakeUpstream(limiter=TokenBucket(600, burst=10), keys={"sk-upstream"}) as upstream:
        toml = upstream_toml("openai", upstream.url).replace("requests_per_minute = 0", "requests_per_minute = 600")
        async with llmqd(tmp_path, toml) as process:
            waiting = iter(range(300))
            loop = asyncio.get_running_loop()

            async def client(sdk: openai.AsyncOpenAI) -> int:
                answered = 0
                for _ in waiting:
                    await sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
                    answered += 1
                return answered

            url = f"{process.url}/v1"
            clients = [openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) for _ in range(100)]
            began = loop.time()  # making an SDK client takes long: each loads the certificates anew
            answered = await asyncio.gather(*map(client, clients))
            took = loop.time() - began
            await asyncio.gather(*(sdk.close() for sdk in clients))
            assert sum(answered) == 300
            assert upstream.refused == 0
            # The rate itself, not a speed of this machine: 299 intervals of 0.1 s, and a little for a busy one.
            assert 29.9 <= took <= 34
