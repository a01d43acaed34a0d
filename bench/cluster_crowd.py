"""Clients of a cluster: some of one daemon each, some with an SDK, through a load balancer, that try again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import openai
import orjson

from tests.faults.plain import PlainClient, StatusError

_BODY = orjson.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "How many calls is that?"}]})
_AGAIN = 0.2
"""Seconds until a client that was refused or cut comes again."""

Target = int | Path
"""Where a daemon listens: a port of this machine or a unix socket."""


class Crowd:
    """Clients that ask again as soon as they are answered, until it is over. `name` is for people."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.over = False
        self.delivered: list[str] = []
        """The ids of calls that were answered in full."""
        self.failed: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    async def plainly(self, target: Target) -> None:
        """One client without a second try."""
        client = PlainClient(target)
        try:
            while not self.over:
                try:
                    self.delivered.append((await client.call("/v1/chat/completions", _BODY))[0])
                except (OSError, EOFError, StatusError) as error:
                    await self._failed(error)
        finally:
            client.close()

    async def by_sdk(self, port: int) -> None:
        """One client as programs are: the SDK of OpenAI, as it comes."""
        messages: Any = [{"role": "user", "content": "How many calls is that?"}]
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-client") as sdk:
            while not self.over:
                try:
                    raw = await sdk.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=messages)
                    assert raw.parse().choices[0].message.content
                    self.delivered.append(raw.headers["X-LLMQD-Request-Id"])
                except openai.APIError as error:
                    await self._failed(error)

    async def _failed(self, error: Exception) -> None:
        kind = f"status {error.status}" if isinstance(error, StatusError) else type(error).__name__
        self.failed[kind] += 1
        self.examples.setdefault(kind, f"{self.name}: {kind}: {error}"[:200])
        await asyncio.sleep(_AGAIN)


class Balancer:
    """Hands connections to daemons in turn; one that refuses is passed over, as any load balancer does."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = list(targets)
        self._turn = 0
        self._ends: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def carry(self, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self._ends.add(near_writer)
        try:
            far, far_writer = await self._connected()
            self._ends.add(far_writer)
            ways = _copied(near, far_writer), _copied(far, near_writer)
            tasks = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._ends.discard(far_writer)
            far_writer.transport.abort()
        except OSError:
            pass
        finally:
            self._ends.discard(near_writer)
            near_writer.transport.abort()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in self._targets:
            self._turn += 1
            target = self._targets[self._turn % len(self._targets)]
            with suppress(OSError):
                if isinstance(target, Path):
                    return await asyncio.open_unix_connection(target)
                return await asyncio.open_connection("127.0.0.1", target)
        raise ConnectionRefusedError("no daemon is there")

    def close(self) -> None:
        """Drops every connection."""
        for writer in list(self._ends):
            writer.transport.abort()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def balanced(targets: Sequence[Target]) -> AsyncIterator[int]:
    """The port of a load balancer before these daemons."""
    balancer = Balancer(targets)
    server = await asyncio.start_server(balancer.carry, "127.0.0.1", 0)
    balancer.port = server.sockets[0].getsockname()[1]
    try:
        yield balancer.port
    finally:
        server.close()
        balancer.close()
        await asyncio.sleep(0)
