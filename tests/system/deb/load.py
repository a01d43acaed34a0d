"""Fifty clients with the official SDK against the daemon, and the provider behind it, which notices what comes twice.

python -m tests.system.deb.load PROVIDER-PORT PROGRESS - runs until SIGTERM, then lets every call end. Keeps the number
of calls that have ended in the file PROGRESS, and prints a Report as JSON.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import openai
import orjson
from aiohttp import web
from openai.types.chat import ChatCompletionUserMessageParam

URL = "http://127.0.0.1:8080/v1"
PLAIN, STREAMING = 30, 20
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
EVENTS = 8


@dataclass
class Report:
    """What clients and provider have seen. `answered` are the ids that llmqd gave to the calls that succeeded."""

    answered: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    cut: int = 0
    refused: int = 0
    retried: int = 0
    sent_again_after_answer: list[str] = field(default_factory=list)


class Provider:
    """Chat completions: plain ones take 300 ms, streams 1.6 s. Knows every call by its text."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._answered: set[str] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One call."""
        asked = orjson.loads(await request.read())
        name = asked["messages"][0]["content"]
        if name in self._answered:
            self._report.sent_again_after_answer.append(name)
        if not asked.get("stream"):
            await asyncio.sleep(0.3)
            message = {"role": "assistant", "content": name}
            answer = web.json_response(
                {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE}
                | {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
            )
            self._answered.add(name)
            return answer
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        for number in range(EVENTS):
            delta = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}
            event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [delta]}
            await stream.write(b"data: %b\n\n" % orjson.dumps(event))
            await asyncio.sleep(0.2)
        await stream.write(b"data: [DONE]\n\n")
        self._answered.add(name)
        return stream


class Counting(openai.DefaultAsyncHttpxClient):
    """The SDK's own HTTP client, which also counts what the SDK does not show: refused connections and repetitions."""

    report: Report

    async def send(self, request: Any, **more: Any) -> Any:
        """Sends one request."""
        self.report.retried += request.headers.get("x-stainless-retry-count", "0") != "0"
        try:
            return await super().send(request, **more)
        except Exception as error:
            self.report.refused += type(error).__name__ == "ConnectError"
            raise


async def client(name: str, stream: bool, report: Report, stopping: asyncio.Event, ended: Counter[str]) -> None:
    """Makes one call after the other."""
    counting = Counting()
    counting.report = report
    async with openai.AsyncOpenAI(base_url=URL, api_key=f"sk-{name}", http_client=counting) as sdk:
        while not stopping.is_set():
            text = f"{name} {ended[name]}"
            ended[name] += 1
            try:
                await (streamed if stream else plain)(sdk, text, report)
            except Exception as error:  # whatever it is, a caller has seen it
                report.failed.append(f"{text}: {error!r}")


async def plain(sdk: openai.AsyncOpenAI, text: str, report: Report) -> None:
    """A call whose answer comes at once."""
    response = await sdk.chat.completions.with_raw_response.create(model="m", messages=[said(text)])
    assert response.parse().choices[0].message.content == text
    report.answered.append(response.headers["X-LLMQD-Request-Id"])


async def streamed(sdk: openai.AsyncOpenAI, text: str, report: Report) -> None:
    """A call whose answer comes in pieces; every one has to come."""
    stream = await sdk.chat.completions.create(model="m", messages=[said(text)], stream=True)
    got = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
    if got != [f"{number} " for number in range(EVENTS)]:
        report.cut += 1
        raise RuntimeError(f"the stream ended after {got}")
    report.answered.append(stream.response.headers["X-LLMQD-Request-Id"])


def said(text: str) -> ChatCompletionUserMessageParam:
    """What a user says."""
    return {"role": "user", "content": text}


async def main(port: int, progress: Path) -> None:
    """Runs it all."""
    report, stopping, ended = Report(), asyncio.Event(), Counter[str]()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", Provider(report).answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    clients = [
        asyncio.create_task(client(f"{kind}-{number}", kind == "stream", report, stopping, ended))
        for kind, count in (("plain", PLAIN), ("stream", STREAMING))
        for number in range(count)
    ]
    while not stopping.is_set():
        progress.write_text(str(len(report.answered) + len(report.failed)))
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), 0.2)
    await asyncio.gather(*clients)
    await runner.cleanup()
    sys.stdout.write(orjson.dumps(asdict(report)).decode() + "\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
