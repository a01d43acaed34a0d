"""kill -9 under load, again and again: whatever a client received in full is in the database afterwards, once.

`LLMQD_KILLS=200` makes it 200 times.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.fake_upstream import FakeUpstream
from tests.fake_upstream.openai_answers import chat, chat_stream
from tests.fake_upstream.request import Received
from tests.fake_upstream.script import Answer
from tests.process import LlmqdProcess, llmqd
from tests.under_test import RawClient, upstream_toml

KILLS = int(os.environ.get("LLMQD_KILLS", "12"))
CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
PLAIN = b'{"model":"gpt-4o","messages":[]}'
STREAM = b'{"model":"gpt-4o","stream":true,"messages":[]}'


def slowly(request: Received) -> Answer:
    """Answers that are under way for a few milliseconds, so that every kill hits some in the middle."""
    if b'"stream":true' not in request.body:
        return chat("gpt-4o").but(before=[0.002])
    answer = chat_stream("gpt-4o", include_usage=True)
    return answer.but(body=[step for chunk in answer.body for step in (chunk, 0.001)])


async def keep_calling(port: int, received: set[str], begun: set[str], noise: random.Random) -> None:
    """Calls until the daemon is gone; remembers the ids of the calls that were answered in full."""
    try:
        async with RawClient.to(port) as client:
            while True:
                await client.send("POST", CHAT, noise.choice((PLAIN, STREAM)), JSON)
                head = await client.head()
                call_id = head.header("X-LLMQD-Request-Id") or ""
                begun.add(call_id)
                if head.header("transfer-encoding") == "chunked":
                    while await client._chunk():
                        pass
                else:
                    await client.reader.readexactly(int(head.header("content-length") or 0))
                received.add(call_id)
    except (OSError, EOFError):
        return


async def one_kill(process: LlmqdProcess, number: int, received: set[str], begun: set[str]) -> None:
    noise = random.Random(number)
    clients = [
        asyncio.create_task(keep_calling(process.port, received, begun, random.Random(number * 100 + n)))
        for n in range(20)
    ]
    # The moment of the kill is what varies; counted in answers, so that a slow machine is hit as often as a quick one.
    enough = len(received) + noise.randint(20, 80)
    async with asyncio.timeout(60):
        while len(received) < enough:  # noqa: ASYNC110 - the set is the clients'
            await asyncio.sleep(0.001)
    await asyncio.sleep(noise.uniform(0, 0.01))
    await process.kill()
    await asyncio.gather(*clients)
    await process.start()


@pytest.mark.timeout(60 + 10 * KILLS)
@pytest.mark.parametrize("durability", ["process"])
async def test_nothing_that_was_delivered_is_lost_by_kill_9(tmp_path: Path, durability: str) -> None:
    received: set[str] = set()
    begun: set[str] = set()
    async with FakeUpstream(slowly) as upstream:
        toml = upstream_toml("openai", upstream.url, "learn = false") + f'[store]\ndurability = "{durability}"\n'
        async with llmqd(tmp_path, toml) as process:
            for number in range(KILLS):
                await one_kill(process, number, received, begun)
            await process.stop()
            rows = {
                str(row[0]): row[1:] for row in process.rows("SELECT id, status, usage_source, input_tokens FROM calls")
            }
    assert len(received) >= KILLS * 20
    lost = {call_id for call_id in received if rows.get(call_id) != ("done", "exact", 19)}
    assert not lost
    cut = begun - received
    assert cut, "no kill hit a call in the middle"
    # A call whose answer was cut stands there as interrupted, or as done where it was recorded but not yet delivered.
    assert {rows[call_id][0] for call_id in cut} <= {"interrupted", "done"}
    assert "interrupted" in {row[0] for row in rows.values()}
    assert "running" not in {row[0] for row in rows.values()}
