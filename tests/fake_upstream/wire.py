"""One connection of the fake upstream: reads a request, plays its answer, notices when the client leaves."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, cast

from tests.fake_upstream.request import BadRequest, Received, RequestReader
from tests.fake_upstream.script import Answer, Step
from tests.fake_upstream.websocket import EchoSocket

if TYPE_CHECKING:
    from tests.fake_upstream.server import FakeUpstream


class Connection(asyncio.Protocol):
    """Requests are answered one after the other; a pipelined one waits in the reader."""

    transport: asyncio.Transport

    def __init__(self, upstream: FakeUpstream, number: int) -> None:
        self._upstream = upstream
        self._number = number
        self._reader = RequestReader()
        self._current: Received | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._websocket: EchoSocket | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop has a class of its own
        self._upstream.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None and not self._task.done():
            if not self._ended:
                self._upstream.cancelled += 1
            self._task.cancel()
        if self._current is not None:
            self._upstream.aborted += 1
        if self._websocket is not None:
            self._upstream.websocket_closes.append(self._websocket.end())
        self._writable.set()
        self._upstream.disconnected(self)

    def drop(self) -> None:
        """Closes at once; not counted as the client's doing."""
        self._ended = True
        self._current = None
        self.transport.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._websocket is not None:
            self._talk(data)
            return
        self._reader.feed(data)
        self._next()

    def _next(self) -> None:
        if self._task is not None or self._ended:
            return
        try:
            if self._current is None:
                self._current = self._reader.head()
                if self._current is None or self._begin(self._current):
                    return
            if self._reader.body(self._current):
                request, self._current = self._current, None
                self._serve(request, None)
        except BadRequest as error:
            self._upstream.violations.append(str(error))
            self._ended = True
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()

    def _begin(self, request: Received) -> bool:
        """Deals with a request whose headers have come; true when it is answered without its body."""
        request.connection = self._number
        request.head_at = self._upstream.clock()
        self._upstream.heads += 1
        self._upstream.changed()
        early = self._upstream.early(request) if self._upstream.early else None
        if early is not None:
            self._current = None
            self._serve(request, early)
            return True
        if request.expects_continue and self._upstream.continues:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return False

    def _serve(self, request: Received, early: Answer | None) -> None:
        request.at = self._upstream.clock()
        self._task = asyncio.get_running_loop().create_task(self._answer(request, early))
        self._task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._upstream.failures.append(error)
            self.transport.abort()

    async def _answer(self, request: Received, early: Answer | None) -> None:
        self._upstream.active += 1
        self._upstream.most_active = max(self._upstream.most_active, self._upstream.active)
        try:
            answer = await self._upstream.answer(request, early)
            if answer is None:
                self._upgrade(request)
                return
            keep = await self._play(answer, request) and early is None
            self._upstream.completed += 1
        finally:
            self._upstream.active -= 1
            self._upstream.released(request)
        self._task = None
        if keep:
            self._next()
        else:
            self._ended = True
            self.transport.close()

    async def _play(self, answer: Answer, request: Received) -> bool:
        """Sends the answer; says whether the connection can carry another request."""
        for step in answer.before:
            await self._step(step)
        if answer.raw:
            for step in answer.body:
                await self._step(step)
        elif answer.headers_sent:
            self.transport.write(answer.head())
            if request.method != "HEAD" and not answer.bodiless:
                await self._body(answer)
        await self._end(answer)
        closing = (request.header("connection") or "").lower() == "close" or request.version != "HTTP/1.1"
        return answer.end == "clean" and answer.framing != "close" and not answer.raw and not closing

    async def _body(self, answer: Answer) -> None:
        chunked = answer.framing == "chunked"
        for step in answer.body:
            if chunked and isinstance(step, bytes):
                step = b"%x\r\n%b\r\n" % (len(step), step) if step else b""
            await self._step(step)
        if chunked and answer.end == "clean":
            trailers = "".join(f"{name}: {value}\r\n" for name, value in answer.trailers)
            self.transport.write(f"0\r\n{trailers}\r\n".encode())

    async def _step(self, step: Step) -> None:
        if isinstance(step, asyncio.Event):
            await step.wait()
        elif isinstance(step, bytes):
            self.transport.write(step)
            await self._writable.wait()
        else:
            await asyncio.sleep(step)

    async def _end(self, answer: Answer) -> None:
        if answer.end == "hang":
            await asyncio.Event().wait()
        if answer.end in ("cut", "reset"):
            self._ended = True
        if answer.end == "reset":
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def _upgrade(self, request: Received) -> None:
        self._websocket = EchoSocket(self._upstream.subprotocols)
        self._talk(request.raw_head + self._reader.rest())

    def _talk(self, data: bytes) -> None:
        assert self._websocket is not None
        for out in self._websocket.receive(data):
            self.transport.write(out)
        self._upstream.frames += self._websocket.take_frames()
        self._upstream.changed()
        if self._websocket.done:
            self.transport.close()
