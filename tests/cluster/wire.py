"""A wire between a daemon and Redis that can be cut: connections stay, but nothing comes through any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Wire:
    """Forwards a port of its own to another one, while it is whole."""

    def __init__(self) -> None:
        self._whole = asyncio.Event()
        self._whole.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self.port = 0

    def cut(self) -> None:
        """Nothing comes through from now on, in either direction; new connections hear nothing."""
        self._whole.clear()

    def mend(self) -> None:
        """Whole again: what was on the way arrives."""
        self._whole.set()

    async def carry(self, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter, port: int) -> None:
        """One connection, to its end."""
        self._ends.add(near_writer)
        try:
            await self._whole.wait()
            far, far_writer = await asyncio.open_connection("127.0.0.1", port)
            self._ends.add(far_writer)
            ways = (near, far_writer), (far, near_writer)
            tasks = [asyncio.ensure_future(self._copy(*way)) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._ends.discard(far_writer)
            far_writer.close()
        except OSError:
            pass
        finally:
            self._ends.discard(near_writer)
            near_writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._whole.wait()
            writer.write(data)
            await writer.drain()
        await self._whole.wait()  # nobody hears of an end either

    def close(self) -> None:
        """Drops every connection."""
        self._whole.set()
        for writer in list(self._ends):
            writer.transport.abort()


@asynccontextmanager
async def wire_to(port: int) -> AsyncIterator[Wire]:
    """A wire to this port."""
    wire = Wire()
    server = await asyncio.start_server(lambda reader, writer: wire.carry(reader, writer, port), "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        wire.close()
        await asyncio.sleep(0)
