"""An upstream's answer on its way to the client: its head, its framing, and when the client takes no more for now.

It is written below aiohttp's stream layer, which takes some fifteen steps of Python for what is one write to a proxy.
What aiohttp's server knows of an answer, whether its connection is kept and that something of it is out, it knows here.
"""

from __future__ import annotations

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import must_be_empty_body, rfc822_formatted_time, should_remove_content_length
from aiohttp.http_writer import _serialize_headers  # the compiled one, where there is one


class Outlet:
    """Writes the body of one answer whose `head` may still be to be written; `chunked` says how it is framed."""

    __slots__ = ("_chunked", "_head", "_protocol", "_writer")

    def __init__(self, request: web.BaseRequest, head: bytes = b"", *, chunked: bool) -> None:
        self._protocol = request.protocol
        self._writer = request.writer
        self._head = head
        self._chunked = chunked

    @property
    def full(self) -> bool:
        """Whether the client has not taken what was written: `drain` before more is."""
        return self._protocol.writing_paused

    def send_head(self) -> None:
        """Has the head leave, whatever becomes of the body. Raises ConnectionError where the client has left."""
        if self._head:
            self._send(b"")

    def write(self, data: bytes) -> None:
        """The next bytes of the body, not none of them. Raises ConnectionError where the client has left."""
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self, data: bytes = b"") -> None:
        """The last bytes of the body, and its end. Raises ConnectionError where the client has left."""
        if self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        if data or self._head:
            self._send(data)

    async def drain(self) -> None:
        """Waits until the client has taken enough. Raises ConnectionError where it has left."""
        await self._writer.drain()

    def _send(self, data: bytes) -> None:
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        if self._head:
            data, self._head = self._head + data, b""
        self._writer.output_size += len(data)
        transport.write(data)


class PassedResponse(web.StreamResponse):
    """An upstream's answer as aiohttp's server knows it: nothing is added that the upstream did not send, but the date.

    Its head waits for the first bytes of its body, where these are there already, so that both leave in one write.
    """

    outlet: Outlet
    """Where its body is written; there once it is prepared."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Composes the head."""
        if not self.prepared:
            await request._prepare_hook(self)
            self._payload_writer = request.writer
            self._keep_alive = request.keep_alive if self._keep_alive is None else self._keep_alive
            self.outlet = self._begun(request)
        return self._payload_writer

    def _begun(self, request: web.BaseRequest) -> Outlet:
        headers, version, status = self.headers, request.version, self.status
        chunked = False
        if must_be_empty_body(request.method, status):
            if should_remove_content_length(request.method, status):
                headers.popall("Content-Length", None)
        elif "Content-Length" not in headers:
            if version >= HttpVersion11:
                chunked = True
                headers["Transfer-Encoding"] = "chunked"
            else:
                self._keep_alive = False
        if "Date" not in headers:
            headers["Date"] = rfc822_formatted_time()
        if self._keep_alive:
            if version == HttpVersion10:
                headers["Connection"] = "keep-alive"
        elif version == HttpVersion11:
            headers["Connection"] = "close"
        line = f"HTTP/{version.major}.{version.minor} {status} {self.reason}"
        return Outlet(request, _serialize_headers(line, headers), chunked=chunked)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes of the body."""
        if data:
            self.outlet.write(bytes(data))
        if self.outlet.full:
            await self.outlet.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """The end of the body."""
        if self._eof_sent:
            return
        self._eof_sent = True
        self.outlet.end(data)
        if self.outlet.full:
            await self.outlet.drain()
        self._payload_writer = None
