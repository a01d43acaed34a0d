"""A client that costs next to nothing: HTTP over connections that are kept, for loads that leave room for others."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"\r\nx-llmqd-request-id: *(\S+)", re.IGNORECASE)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class StatusError(Exception):
    """An answer that was none."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body[:200]!r}")
        self.status = status


class Refused(OSError):
    """There was no connection."""


class PlainClient:
    """Calls one port, or one unix socket, of this machine. `close` ends its connections."""

    def __init__(self, port: int | Path) -> None:
        self._port = port
        self._kept: list[Connection] = []

    def close(self) -> None:
        """Ends every connection that is kept."""
        for _, writer in self._kept:
            writer.transport.abort()
        self._kept.clear()

    async def call(self, path: str, body: bytes) -> tuple[str, bytes]:
        """Id and body of an answer. Raises StatusError, Refused, or EOFError or OSError where it was cut."""
        reader, writer = connection = await self._connection()
        try:
            head = b"POST %b HTTP/1.1\r\nHost: llmqd\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % (path.encode(), len(body)) + body)
            answered = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(answered)
            data = await reader.readexactly(int(length[1])) if length else await _chunks(reader)
            if b"\r\nconnection: close" not in answered.lower():
                self._kept.append(connection)
                connection = None  # type: ignore[assignment]
        finally:
            if connection is not None:
                writer.transport.abort()
        if not answered.startswith(b"HTTP/1.1 200"):
            raise StatusError(int(answered[9:12]), data)
        found = _ID.search(answered)
        return found[1].decode() if found else "", data

    async def _connection(self) -> Connection:
        while self._kept:
            reader, writer = self._kept.pop()
            if not reader.at_eof() and reader.exception() is None and not writer.is_closing():
                return reader, writer
            writer.transport.abort()
        try:
            if isinstance(self._port, Path):
                return await asyncio.open_unix_connection(self._port, limit=1 << 20)
            return await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        except OSError as error:
            raise Refused(str(error)) from error


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    data = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        data += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return data
