"""Calls at a steady rate, half of them streams, from an SDK and over plain HTTP; remembers what came of each."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

import openai
import orjson

from tests.faults.plain import PlainClient, Refused, StatusError

SDK_SHARE = 10
"""One call in so many comes from the SDK, which takes ten times the CPU of plain HTTP: with more of them two cores
would be busy with the load, not with the daemon."""
_MESSAGES: Any = [{"role": "user", "content": "Say something short."}]
_PATIENCE = 60.0


class Load:
    """Begins `rate` calls a second as long as fewer than that are under way. An async context manager: leaving it waits
    for the rest.

    `delivered` has the ids of the calls that were answered in full, `failed` counts the others by what they ended with.
    `missed` are those that this machine was too busy to begin.
    """

    def __init__(self, url: str, *, rate: float, model: str = "gpt-4o", texts: bool = False) -> None:
        self._url = url
        self._rate = rate
        self._model = model
        self._texts = texts
        self._number = itertools.count()
        self._plain = PlainClient(int(url.rpartition(":")[2]))
        self._sdk = openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key="sk-client", max_retries=0, timeout=_PATIENCE, http_client=None
        )
        self._calls: set[asyncio.Task[None]] = set()
        self._pace: asyncio.Task[None] | None = None
        self.begun = 0
        self.missed = 0
        self.delivered: list[str] = []
        self.failed: Counter[str] = Counter()
        self.excused: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._excuses: frozenset[str] = frozenset()

    def excuse(self, kinds: frozenset[str]) -> None:
        """From now on failures of these kinds are what the fault makes impossible."""
        self._excuses = kinds

    async def __aenter__(self) -> Self:
        self._pace = asyncio.create_task(self._keep_pace(), name="pace")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._pace is not None
        self._pace.cancel()
        await asyncio.gather(self._pace, *self._calls, return_exceptions=True)
        self._plain.close()
        await self._sdk.close()

    def stop(self) -> None:
        """Begins no further calls."""
        assert self._pace is not None
        self._pace.cancel()

    @property
    def under_way(self) -> int:
        """Calls that have no answer yet."""
        return len(self._calls)

    async def settled(self) -> None:
        """Waits until all calls that have begun by now have ended."""
        if self._calls:
            await asyncio.wait(list(self._calls))

    async def _keep_pace(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in itertools.count():
            behind = loop.time() - (began + number / self._rate)
            if behind > 1:  # the machine is too busy: no heap of calls is made up for
                began += behind
                self.missed += int(behind * self._rate)
            if behind < 0:
                await asyncio.sleep(-behind)
            elif number % 20 == 0:
                await asyncio.sleep(0)
            if len(self._calls) >= self._rate:  # a second's calls are under way: more would only wait for each other
                self.missed += 1
                continue
            self.begun += 1
            call = asyncio.create_task(self._call(next(self._number)))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _call(self, number: int) -> None:
        stream = number % 2 == 0
        try:
            if number % (2 * SDK_SHARE) in (4, 5):
                self.delivered.append(await self._by_sdk(stream))
            else:
                self.delivered.append(await self._plainly(stream, number))
        except Exception as error:
            kind = _kind(error)
            self.examples.setdefault(kind, f"{type(error).__name__}: {error}"[:300])
            (self.excused if kind in self._excuses else self.failed)[kind] += 1

    async def _by_sdk(self, stream: bool) -> str:
        create = self._sdk.chat.completions.with_raw_response.create
        if not stream:
            whole = await create(model=self._model, messages=_MESSAGES)
            assert whole.parse().choices[0].message.content
            return whole.headers["X-LLMQD-Request-Id"]
        streamed = await create(model=self._model, messages=_MESSAGES, stream=True)
        finished = False
        async for chunk in streamed.parse():
            finished = finished or bool(chunk.choices and chunk.choices[0].finish_reason)
        if not finished:
            raise EOFError("the stream ended early")
        return streamed.headers["X-LLMQD-Request-Id"]

    async def _plainly(self, stream: bool, number: int) -> str:
        said = f" Number {number} at {time.time()}." * 20 if self._texts else ""
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": f"Say something short.{said}"}],
        }
        if stream:
            body["stream"] = True
        id_, data = await asyncio.wait_for(self._plain.call("/v1/chat/completions", orjson.dumps(body)), _PATIENCE)
        if stream and b"data: [DONE]" not in data:
            raise EOFError("the stream ended early")
        return id_


def _kind(error: Exception) -> str:
    """What a failure is counted under: its status, or whether the connection was refused or cut."""
    if isinstance(error, StatusError | openai.APIStatusError):
        return str(getattr(error, "status", None) or getattr(error, "status_code", None))
    if isinstance(error, Refused):
        return "refused"
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return "silent"
    if isinstance(error, openai.APIError | OSError | EOFError):
        return "cut"
    if type(error).__module__.startswith(("httpx", "httpcore")):
        return "cut"
    return type(error).__name__
