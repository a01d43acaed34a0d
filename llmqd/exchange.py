"""One call and its answer over one connection: HTTP/1.1 straight on aiohttp's protocol, below its client session.

What a session does for a browser (redirects, cookies, retries, tracing) costs more than all the rest of a call, and a
proxy wants none of it. Parser, flow control, TLS and name resolution are aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import aiohttp

from llmqd.wire import Body, Wire

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.http_parser import RawResponseMessage
    from aiohttp.streams import StreamReader
    from multidict import CIMultiDictProxy

    from llmqd.outbound import Outbound
    from llmqd.pool import Origin


class Silence:
    """Ends a wait for bytes that has lasted for `limit` seconds. Nothing is rescheduled for bytes that come in time."""

    __slots__ = ("_connection", "_limit", "_loop", "_since", "_stream", "_timer")

    def __init__(self, connection: Connection, limit: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._limit = limit
        self._since: float | None = self._loop.time()
        self._stream: Body | StreamReader | None = None
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(limit, self._look) if limit else None

    def watch(self, stream: Body | StreamReader) -> None:
        """The head has come; its body may be waited for next."""
        self._stream, self._since = stream, None

    def begins(self) -> None:
        """Somebody waits for bytes now."""
        self._since = self._loop.time()

    def ends(self) -> None:
        """Bytes have come."""
        self._since = None

    def stop(self) -> None:
        """Nobody will wait any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        quiet = 0.0 if self._since is None else now - self._since
        if quiet < self._limit - 0.001:
            self._timer = self._loop.call_later(self._limit - quiet, self._look)
            return
        self._timer = None
        error = aiohttp.SocketTimeoutError("Timeout on reading data from socket")
        if self._connection.protocol is not None:
            self._connection.protocol.set_exception(error)
        if self._stream is not None:
            self._stream.set_exception(error)


class Content:
    """The body of an answer as it comes, undecoded."""

    __slots__ = ("_silence", "_stream", "at_eof", "read_nowait")

    def __init__(self, stream: Body | StreamReader, silence: Silence) -> None:
        self._stream = stream
        self._silence = silence
        self.at_eof = stream.at_eof
        self.read_nowait = stream.read_nowait

    async def readany(self) -> bytes:
        """All bytes that are there, at least one; none at the end. Raises ClientError or OSError where it breaks."""
        if piece := self.read_nowait():
            return piece
        self._silence.begins()
        try:
            return await self._stream.readany()
        finally:
            self._silence.ends()

    async def pour(self, take: Callable[[bytes], bool]) -> bool:
        """See the function of that name."""
        stream, read, silence = self._stream, self.read_nowait, self._silence
        if not isinstance(stream, Body):
            return await _poured(self, take)
        while piece := read():
            if take(piece):
                return True
        if self.at_eof():
            return False
        over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        failed: BaseException | None = None

        def come() -> None:
            nonlocal failed
            if over.done():
                return
            try:
                while piece := read():
                    silence.begins()
                    if take(piece):
                        over.set_result(True)
                        return
                if self.at_eof():
                    over.set_result(False)
            except BaseException as error:
                failed = error
                over.set_result(True)

        silence.begins()
        stream.tell(come)
        try:
            more = await over
        finally:
            stream.tell(None)
            silence.ends()
        if failed is not None:
            raise failed
        return more


async def pour(content: Content | StreamReader, take: Callable[[bytes], bool]) -> bool:
    """Gives `take` the bytes of a body as they come, in the very turn of the event loop that brings them, until it says
    that it takes no more for now: True then, False at the end of the body. Raises ClientError or OSError where that
    breaks, and what `take` raises.

    To be woken for each of them would cost a stream as much as all else that is done with it.
    """
    return await (content.pour(take) if isinstance(content, Content) else _poured(content, take))


async def _poured(content: Content | StreamReader, take: Callable[[bytes], bool]) -> bool:
    while piece := await content.readany():
        if take(piece):
            return True
    return False


class Exchange:
    """An answer whose head is there. Its connection goes back to where it was leased when the body has ended."""

    __slots__ = ("_origin", "_silence", "connection", "content", "headers", "raw_headers", "reason", "status")

    def __init__(
        self,
        message: RawResponseMessage,
        stream: Body | StreamReader,
        silence: Silence,
        connection: Connection,
        origin: Origin,
    ) -> None:
        self.status: int = message.code
        self.reason: str = message.reason
        self.headers: CIMultiDictProxy[str] = message.headers
        self.raw_headers = message.raw_headers
        self.connection: Connection | None = connection
        self.content = Content(stream, silence)
        self._silence = silence
        self._origin = origin
        silence.watch(stream)
        stream.on_eof(self._ended)

    def _ended(self) -> None:
        self._silence.stop()
        if self.connection is not None:
            connection, self.connection = self.connection, None
            self._origin.give_back(connection)

    def close(self) -> None:
        """Nobody wants what may still come of it."""
        self._silence.stop()
        if self.connection is not None:
            connection, self.connection = self.connection, None
            connection.close()


async def exchange(
    origin: Origin,
    connection: Connection,
    request: Outbound,
    body: bytes | None,
    *,
    left: Callable[[], object],
    silence: float,
    max_header: int,
    poised: Callable[[], Awaitable[object]] | None = None,
) -> Exchange:
    """Sends a request over a leased connection and gives its answer.

    `poised` is awaited when the request could be written, `left` is called when it is.
    `silence` is how many seconds the upstream may say nothing, 0 for ever; `max_header` the longest line of a head.
    Raises what aiohttp raises, HttpProcessingError for what is no HTTP; the connection is closed then.
    """
    watch: Silence | None = None
    try:
        head = request.head(origin.host, None if body is None else len(body))
        if poised is not None:
            await poised()
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            raise aiohttp.ServerDisconnectedError
        assert isinstance(protocol, Wire)
        protocol.begin(bodyless=request.method == "HEAD", max_header=max_header)
        transport.write(head if not body else head + body)
        left()
        watch = Silence(connection, silence)
        while True:
            message, stream = await protocol.read()
            if not 100 <= message.code <= 199 or message.code == 101:
                return Exchange(message, stream, watch, connection, origin)
    except BaseException:
        if watch is not None:
            watch.stop()
        connection.close()
        raise
