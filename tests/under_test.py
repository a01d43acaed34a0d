"""The real daemon around a fake upstream, inside the test's own process, and a client that sees every byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from llmqd.call import Record
from llmqd.config.load import load
from llmqd.daemon import Daemon

UPSTREAM = """
[[upstream]]
name = "{name}"
type = "{name}"
base_url = "{url}"
api_key = "sk-upstream"
requests_per_minute = 0
{more}
"""


def upstream_toml(name: str, url: str, more: str = "") -> str:
    """One upstream without a rate limit."""
    return UPSTREAM.format(name=name, url=url, more=more)


class DaemonUnderTest(Daemon):
    """The daemon with the URL it listens on and a look into its ledger."""

    @property
    def url(self) -> str:
        return self.listening.addresses[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def waiting(self) -> int:
        return sum(lane.waiting for lane in self.lanes)

    @property
    def running(self) -> int:
        return sum(lane.running for lane in self.lanes)

    async def until(self, predicate: Callable[[], bool], within: float = 5.0) -> None:
        """Lets the daemon work until the predicate holds."""
        async with asyncio.timeout(within):
            while not predicate():  # noqa: ASYNC110 (the daemon has no events for tests)
                await asyncio.sleep(0.001)

    async def record(self, call_id: str) -> Record:
        """The record of a call, once the database has it."""
        assert await self.ledger.settled(5)
        found = await self.ledger.call(call_id)
        assert found is not None, f"no record of {call_id}"
        return found


@asynccontextmanager
async def running(
    tmp_path: Path,
    toml: str,
    *,
    store: str = "memory",
    server: str = "",
    dsn: str | None = None,
    listen: str = "127.0.0.1:0",
) -> AsyncIterator[DaemonUnderTest]:
    """The daemon on a free port, or where else it is to `listen`, with this configuration."""
    path = tmp_path / "llmqd.toml"
    path.write_text(
        f'[server]\nlisten = ["{listen}"]\nstate_directory = "{tmp_path}/state"\n{server}\n'
        f'[store]\nbackend = "{store}"\nbatch_every = "10ms"\n{f"dsn = {dsn!r}" if dsn else ""}\n{toml}'
    )
    async with DaemonUnderTest(load(path, {}), {}) as daemon:
        yield daemon


@dataclass(slots=True)
class RawResponse:
    """An answer as it stood on the wire. `complete` is False where the connection ended before the body did."""

    status: int
    reason: str
    raw_headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    complete: bool = True

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.raw_headers if key.lower() == name.lower()]
        return found[0] if found else None

    def json(self) -> object:
        return orjson.loads(self.body)


class RawClient:
    """One TCP connection to the daemon."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator[RawClient]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    async def send(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        version: str = "1.1",
    ) -> None:
        lines = [f"{method} {target} HTTP/{version}", "Host: llmqd.test"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body)
        await self.writer.drain()

    async def head(self) -> RawResponse:
        async with asyncio.timeout(10):  # wait_for of Python 3.11 may swallow that its task is cancelled
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *rest = raw[:-4].decode("utf-8", "surrogateescape").split("\r\n")
        _, status, reason = f"{first} ".split(" ", 2)
        return RawResponse(int(status), reason.strip(), [_pair(line) for line in rest])

    async def response(self, *, to_head: bool = False) -> RawResponse:
        """The next answer with its whole body, or what came of it."""
        response = await self.head()
        if to_head or response.status in (101, 204, 304):
            return response
        try:
            if response.header("transfer-encoding") == "chunked":
                while chunk := await self._chunk():
                    response.chunks.append(chunk)
                response.body = b"".join(response.chunks)
            elif (length := response.header("content-length")) is not None:
                response.body = await self.reader.readexactly(int(length))
            else:
                response.body = await self.reader.read()
        except (asyncio.IncompleteReadError, ConnectionError) as cut:
            response.body = b"".join(response.chunks) + getattr(cut, "partial", b"")
            response.complete = False
        return response

    async def _chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def call(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> RawResponse:
        await self.send(method, target, body, headers)
        return await self.response(to_head=method == "HEAD")


async def call(
    port: int, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> RawResponse:
    """One request on a connection of its own."""
    async with RawClient.to(port) as client:
        return await client.call(method, target, body, headers)


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()
