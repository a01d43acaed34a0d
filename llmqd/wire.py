"""Connections to upstreams as aiohttp makes them, but for bodies: these are read here, in as few steps as bytes come.

aiohttp's parser takes a body apart chunk by chunk, and each makes a dozen steps of Python, which is most of what a
stream costs. Heads are its business all the same, and so is whatever is unusual: a head that comes in pieces, a body
until the end of the connection, an informational answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from llmqd.chunked import Chunks

_MOST = 2**17
"""Bytes of a body that are held before the upstream has to wait; as aiohttp's."""


class Body:
    """The payload of an answer as it comes. `length` is what its head says, None for one in chunks.

    It has what `exchange.py` uses of aiohttp's StreamReader. Where a connection breaks, what has come is given first.
    """

    __slots__ = ("_broken", "_chunks", "_ended", "_left", "_on_eof", "_pieces", "_size", "_tells", "_waiter", "_wire")

    def __init__(self, wire: Wire, length: int | None) -> None:
        self._wire = wire
        self._chunks = Chunks() if length is None else None
        self._left = length or 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._broken: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._on_eof: Callable[[], object] | None = None
        self._tells: Callable[[], object] | None = None

    def tell(self, tells: Callable[[], object] | None) -> None:
        """Calls `tells` whenever there is something to read: bytes, the end, or what broke it. None: no more."""
        self._tells = tells

    def feed(self, data: bytes) -> None:
        """Bytes of the connection. Raises ValueError for what is no chunk."""
        rest = b""
        if self._chunks is not None:
            data = self._chunks.feed(data)
            self._ended, rest = self._chunks.ended, self._chunks.rest
        else:
            if len(data) > self._left:
                data, rest = data[: self._left], data[self._left :]
            self._left -= len(data)
            self._ended = not self._left
        if data:
            self._pieces.append(data)
            self._size += len(data)
        if self._ended:
            self._wire.body_ended(clean=not rest)
        elif self._size > _MOST:
            self._wire.hold()
        if data or self._ended:
            self._wake()
        if self._ended and self._on_eof is not None:
            self._on_eof()

    def on_eof(self, ended: Callable[[], object]) -> None:
        """Calls `ended` when the last byte has come, now if it has."""
        self._on_eof = ended
        if self._ended:
            ended()

    def at_eof(self) -> bool:
        """Whether there is nothing more to read."""
        return self._ended and not self._pieces

    def read_nowait(self) -> bytes:
        """All bytes that are there, none where there are none. Raises what broke the body behind the last of them."""
        pieces = self._pieces
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            if self._size > _MOST:
                self._wire.let_go()
            self._size = 0
            return data
        if self._broken is not None:
            raise self._broken
        return b""

    async def readany(self) -> bytes:
        """All bytes that are there, at least one; none at the end. Raises ClientError or OSError where it breaks."""
        while not (self._pieces or self._ended or self._broken):
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.read_nowait()

    def set_exception(self, error: BaseException) -> None:
        """Nothing more comes, for this reason."""
        if not self._ended and self._broken is None:
            self._broken = error
            self._wake()

    def _wake(self) -> None:
        if self._tells is not None:
            self._tells()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Wire(ResponseHandler):
    """One connection to an upstream."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._body: Body | None = None
        self._takes = False
        """Whether the next bytes are an answer's first, and its body may be read here."""

    def begin(self, *, bodyless: bool, max_header: int) -> None:
        """A request is about to be written; a line of its answer's head may have `max_header` bytes."""
        self.set_response_params(
            skip_payload=bodyless,
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=max_header,
            max_field_size=max_header,
        )
        self._takes = not bodyless

    def data_received(self, data: bytes) -> None:
        """What the socket has."""
        if self._body is not None:
            self._feed(self._body, data)
        elif self._takes and data:
            self._takes = False
            self._first(data)
        else:
            super().data_received(data)

    def _first(self, data: bytes) -> None:
        """The first bytes of an answer: a whole head in most cases, often the whole answer."""
        end = data.find(b"\r\n\r\n") + 4
        usual = end > 4 and data.startswith((b"HTTP/1.1 2", b"HTTP/1.1 3", b"HTTP/1.1 4", b"HTTP/1.1 5"))
        if not usual or b"\n\n" in data[:end] or data.find(b"\n\r\n") != end - 3:
            super().data_received(data)
            return
        head, rest = data[:end], data[end:]
        super().data_received(head)
        if self._buffer and (body := self._own(*self._buffer[-1][0])) is not None:
            (message, _), size = self._buffer.pop()
            self._body = body
            self._buffer.append(((message, body), size))  # type: ignore[arg-type]  # it has what is used of one
            self._parser = self._payload = None
            if rest:
                self._feed(body, rest)
        elif rest:
            super().data_received(rest)

    def _own(self, message: RawResponseMessage, stream: StreamReader) -> Body | None:
        """The body of an answer that is read here; None where aiohttp reads it."""
        if message.upgrade or stream.is_eof():
            return None
        if message.chunked:
            return Body(self, None)
        said = message.headers.get("Content-Length")
        return None if said is None else Body(self, int(said))

    def _feed(self, body: Body, data: bytes) -> None:
        try:
            body.feed(data)
        except ValueError as error:
            self._body = None
            self.force_close()
            body.set_exception(aiohttp.ClientPayloadError(f"Response payload is not completed: {error}"))
            if self.transport is not None:
                self.transport.close()

    def body_ended(self, *, clean: bool) -> None:
        """The last byte of the body has come; `clean` is false where more came behind it."""
        self.let_go()
        self._body = None
        if not clean:
            self.force_close()

    def hold(self) -> None:
        """Lets the upstream wait."""
        if not self._reading_paused:
            self._reading_paused = True
            self._pause_transport_reading()

    def let_go(self) -> None:
        """Lets it go on."""
        if self._reading_paused:
            self._reading_paused = False
            self._resume_transport_reading()

    @property
    def should_close(self) -> bool:
        """Whether it can carry no other call."""
        return self._body is not None or super().should_close

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is over."""
        if self._body is not None:
            body, self._body = self._body, None
            why = "the connection was closed" if exc is None else f"{exc!r}"
            body.set_exception(aiohttp.ClientPayloadError(f"Response payload is not completed: {why}"))
        super().connection_lost(exc)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp's body asks for this with every chunk that is taken out of it, paused or not; then its parser is fed
        nothing and the socket woken, which is half of what a chunk of a stream costs. Only what was paused is resumed.
        """
        if self._reading_paused:
            super().resume_reading(resume_parser)


class WireConnector(aiohttp.TCPConnector):
    """aiohttp's connector, which makes such connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: partial[Any] = partial(Wire, loop=self._loop)
