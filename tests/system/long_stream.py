"""Ten minutes in real time: a stream with minutes of silence, and one that trickles a byte a second."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from tests.fake_upstream import Answer, FakeUpstream, trickle
from tests.fake_upstream.openai_answers import chat_stream
from tests.process import llmqd
from tests.under_test import RawClient, RawResponse, upstream_toml

STREAM = b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
JSON = {"Content-Type": "application/json"}
PAUSES, PAUSE = 10, 60.0
TRICKLED_SECONDS = 120


def with_pauses() -> Answer:
    """A stream that is silent for a minute ten times."""
    answer = chat_stream(include_usage=True)
    steps = list(answer.body)
    return answer.but(body=[*(step for event in steps[:PAUSES] for step in (event, PAUSE)), *steps[PAUSES:]])


def trickling() -> Answer:
    """A stream whose first bytes come one a second."""
    answer = chat_stream(include_usage=True)
    data = answer.data
    return answer.but(body=[*trickle(data[:TRICKLED_SECONDS], 1.0), data[TRICKLED_SECONDS:]])


async def follow(port: int, begun: asyncio.Event) -> tuple[RawResponse, list[float]]:
    """Reads an answer and notes how many seconds after the first chunk each one came."""
    async with RawClient.to(port) as client:
        await client.send("POST", "/v1/chat/completions", STREAM, JSON)
        response = await client.head()
        begun.set()
        loop = asyncio.get_running_loop()
        arrivals: list[float] = []
        while chunk := await client._chunk():
            response.chunks.append(chunk)
            arrivals.append(loop.time())
        response.body = b"".join(response.chunks)
        return response, [at - arrivals[0] for at in arrivals]


async def main(directory: Path) -> None:
    """Raises AssertionError when a byte is missing, held back, or not recorded."""
    async with FakeUpstream() as upstream, llmqd(directory, upstream_toml("openai", upstream.url)) as process:
        upstream.play(with_pauses(), trickling())
        begun = asyncio.Event()
        paused = asyncio.create_task(follow(process.port, begun))
        await begun.wait()
        trickled = asyncio.create_task(follow(process.port, asyncio.Event()))
        response, arrivals = await trickled
        assert response.body == trickling().data
        gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals[:TRICKLED_SECONDS])]
        assert min(gaps) > 0.5, f"bytes were held back: {gaps}"
        assert max(gaps) < 1.5, f"bytes were held back: {gaps}"
        response, arrivals = await paused
        assert response.body == with_pauses().data
        for number, at in enumerate(arrivals[: PAUSES + 1]):
            assert abs(at - number * PAUSE) < 2, f"event {number} came {at:.1f} s after the first"
        await process.stop()
        assert process.rows("SELECT status, usage_source, input_tokens FROM calls") == [("done", "exact", 19)] * 2


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
    sys.stdout.write("a ten-minute stream and a trickling one came through whole\n")
