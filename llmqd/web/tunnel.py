"""A WebSocket between client and upstream: after the handshake the raw bytes pass both ways, frame by frame unread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.http import StreamWriter
from multidict import CIMultiDict

from llmqd.background import end

if TYPE_CHECKING:
    from llmqd.upstream import Answer

_PIECE = 64 * 1024


class _Inlet:
    """What aiohttp calls a payload parser: here it only puts the bytes of one side into a bounded stream."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.stream = asyncio.StreamReader(limit=_PIECE)
        self.stream.set_transport(transport)  # so that reading pauses when the other side is slow

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.stream.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self.stream.feed_eof()

    def set_exception(self, error: BaseException, *_: object) -> None:
        self.stream.feed_eof()


async def tunnel(
    request: web.Request,
    answer: Answer,
    headers: CIMultiDict[str],
    *,
    received: Callable[[int], None],
) -> web.StreamResponse:
    """Passes the upstream's 101 on and then every byte in both directions until one side ends.

    `received` is told how many bytes came from the upstream, piece by piece. Gives the response; nothing more is to
    be written to it.
    """
    connection = answer.connection
    assert connection is not None
    assert connection.transport is not None
    assert connection.protocol is not None
    assert request.transport is not None
    headers["Connection"] = "Upgrade"
    headers["Upgrade"] = "websocket"
    to_close = request.transport  # a client that vanishes takes it out of the request
    response = web.StreamResponse(status=101, reason=answer.reason, headers=headers)
    await response.prepare(request)
    loop = asyncio.get_running_loop()
    from_client, from_upstream = _Inlet(request.transport), _Inlet(connection.transport)
    to_client, to_upstream = StreamWriter(request.protocol, loop), StreamWriter(connection.protocol, loop)
    request.protocol.set_parser(cast("Any", from_client))  # typed for WebSocketReader, used as a parser
    connection.protocol.set_parser(from_upstream, from_upstream)
    up = loop.create_task(_pump(from_client.stream, to_upstream, lambda _: None))
    down = loop.create_task(_pump(from_upstream.stream, to_client, received))
    try:
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        # Whoever closed first is done; what the other one still said (a close frame) has been passed on by then.
    finally:
        await end(up, down)
        to_close.close()
        answer.close()
    return response


async def _pump(source: asyncio.StreamReader, sink: StreamWriter, passed: Callable[[int], None]) -> None:
    while data := await source.read(_PIECE):
        await sink.write(data)
        passed(len(data))
