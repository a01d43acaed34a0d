"""An upstream that closes a connection on its second request without a byte of an answer: a stale connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self


class Restless:
    """Answers the first request on each connection with `{}`. Knows what it was asked and when, in the loop's time."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.bodies: list[bytes] = []
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> AsyncIterator[Self]:
        """Listens on a free port of loopback."""
        restless = cls()
        async with await asyncio.start_server(restless._serve, "127.0.0.1", 0) as server:
            restless.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield restless

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._requests(reader, writer)
        except asyncio.IncompleteReadError:
            pass  # nobody wants a second one
        finally:
            writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for turn in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(asyncio.get_running_loop().time())
            size = next((int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")), 0)
            self.bodies.append(await reader.readexactly(size))
            if turn == 0:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
