"""A cheap HTTP server for a strict provider: takes the kernel's own times of arrival, answers to the millisecond."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Sequence
from operator import itemgetter

from tests.fake_upstream.limiters import Concurrency
from tests.fake_upstream.providers import rate_limited
from tests.fake_upstream.request import BadRequest, Received, RequestReader
from tests.fake_upstream.script import Answer

_SO_TIMESTAMPNS = 35
"""socket(7): every read tells when the kernel received the last byte of it, in CLOCK_REALTIME."""
_TIMESTAMP = struct.Struct("@qq")
_READ = 1 << 18
_ACCEPTED_AT_ONCE = 256

Script = Callable[[Received], Answer]


class StrictServer:
    """Plays a script on a free port of `host`; calls are judged in the order in which their last bytes arrived.

    `script` answers every request; its `at` is Unix time. `limiter` bounds the POST calls in flight; those beyond it
    are refused and counted in `refused`, the times of the others are in `played`. Answers of the script may end `clean`
    or by a `reset` before the status line.
    """

    def __init__(self, script: Script, limiter: Concurrency | None = None, host: str = "127.0.0.1") -> None:
        self._script = script
        self._limiter = limiter
        self._arrived: list[tuple[float, _Connection, Received]] = []
        self._last = 0.0
        self._loop = asyncio.get_running_loop()
        self._connections: set[_Connection] = set()
        self.refused = 0
        self.played: list[list[float]] = []
        """Begin and end of every call that took a place, in Unix time; no end yet where it still holds it."""
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)  # connections inherit it
        self._listener.setblocking(False)
        self._listener.bind((host, 0))
        self._listener.listen(4096)
        self.port: int = self._listener.getsockname()[1]
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Closes the listener and every connection."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for connection in list(self._connections):
            connection.close()

    def arrived(self, at: float, connection: _Connection, request: Received) -> None:
        """A request is whole. Judged only after everything that has come by now was read, as that may be older."""
        if not self._arrived:
            self._loop.call_soon(self._judge)
        self._arrived.append((at, connection, request))

    def gone(self, connection: _Connection) -> None:
        """A connection is closed."""
        self._connections.discard(connection)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, _address = self._listener.accept()
            except OSError:
                return
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.add(_Connection(self, accepted, self._loop))

    def _judge(self) -> None:
        arrived = sorted(self._arrived, key=itemgetter(0))
        self._arrived.clear()
        for at, connection, request in arrived:
            self._last = request.at = max(at, self._last)
            place = self._place(request)
            if place is None:
                self.refused += 1
                connection.play(rate_limited(request, self._retry_after), request.at, None)
            else:
                connection.play(self._script(request), request.at, place)

    @property
    def _retry_after(self) -> float:
        return self._limiter.retry_after if self._limiter is not None else 0.0

    def _place(self, request: Received) -> Callable[[], None] | None:
        """What gives back the place that a call takes; None where there is none for it."""
        limiter = self._limiter
        if limiter is None or request.method != "POST":
            return _nothing
        if limiter.wait(request.at) > 0:
            return None
        limiter.take(request.at)
        times = [request.at]
        self.played.append(times)

        def released() -> None:
            limiter.give_back(request.at)
            times.append(time.time())

        return released


def _nothing() -> None:
    """A call that takes no place gives back none."""


class _Connection:
    """One connection: reads requests one after the other, plays each answer on a schedule from its arrival on."""

    def __init__(self, server: StrictServer, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._socket = sock
        self._loop = loop
        self._reader = RequestReader()
        self._request: Received | None = None
        self._busy = False
        self._closed = False
        self._unsent = bytearray()
        self._steps: list[tuple[float, bytes]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._released: Callable[[], None] | None = None
        self._reset = False
        loop.add_reader(sock, self._readable)

    def play(self, answer: Answer, at: float, released: Callable[[], None] | None) -> None:
        """Sends the answer to the request that arrived at `at`; `released` is called when its last byte has gone."""
        self._released = released
        self._reset = answer.end == "reset"
        began = self._loop.time() - (time.time() - at)
        self._steps = [(began + offset, data) for offset, data in reversed(schedule(answer))]
        self._advance()

    def close(self) -> None:
        """Closes at once; a call under way has ended."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._release()
        self._server.gone(self)

    def _readable(self) -> None:
        try:
            data, ancillary, _, _ = self._socket.recvmsg(_READ, 64)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            self.close()
            return
        self._reader.feed(data)
        if not self._busy:
            self._next(_received_at(ancillary))

    def _next(self, at: float) -> None:
        try:
            if self._request is None:
                self._request = self._reader.head()
            if self._request is None or not self._reader.body(self._request):
                return
        except BadRequest:
            self.close()
            return
        request, self._request = self._request, None
        self._busy = True
        self._server.arrived(at, self, request)

    def _advance(self) -> None:
        """Sends what is due and sets the timer for the rest."""
        self._timer = None
        if self._closed:
            self._release()
            return
        while self._steps:
            due, data = self._steps[-1]
            if due > self._loop.time():
                self._timer = self._loop.call_at(due, self._advance)
                return
            self._steps.pop()
            if not self._send(data):
                return
        self._release()
        if self._reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()
            return
        self._busy = False
        self._next(time.time())  # a request that was sent before this answer has ended arrives with its end

    def _send(self, data: bytes) -> bool:
        try:
            sent = self._socket.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return False
        if sent < len(data):
            self._unsent += data[sent:]
            self._loop.add_writer(self._socket, self._writable)
            return False
        return True

    def _writable(self) -> None:
        data = bytes(self._unsent)
        self._unsent.clear()
        self._loop.remove_writer(self._socket)
        if self._send(data):
            self._advance()

    def _release(self) -> None:
        if self._released is not None:
            released, self._released = self._released, None
            released()


def _received_at(ancillary: Sequence[tuple[int, int, bytes]]) -> float:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) == _TIMESTAMP.size:
            seconds, nanoseconds = _TIMESTAMP.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    return time.time()


def schedule(answer: Answer) -> list[tuple[float, bytes]]:
    """When which bytes of an answer go out, in seconds from its beginning; gates are not for such answers.

    Raises ValueError for an answer that this server cannot play.
    """
    if answer.raw or answer.framing == "close" or answer.end not in ("clean", "reset") or answer.trailers:
        raise ValueError(f"not an answer for this server: {answer!r}")
    if answer.end == "reset" and answer.headers_sent:
        raise ValueError("a reset comes before the status line here")
    steps: list[tuple[float, bytes]] = []
    offset = 0.0
    chunked = answer.framing == "chunked"
    body = [answer.head(), *answer.body] if answer.headers_sent else []
    for number, step in enumerate([*answer.before, *body]):
        if isinstance(step, asyncio.Event):
            raise ValueError("gates are for tests")
        if isinstance(step, bytes):
            of_body = number > len(answer.before)
            steps.append((offset, b"%x\r\n%b\r\n" % (len(step), step) if chunked and of_body and step else step))
        else:
            offset += step
    steps.append((offset, b"0\r\n\r\n" if chunked and answer.headers_sent else b""))
    return _merged(steps)


def _merged(steps: Sequence[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """What goes out at the same moment goes out in one write."""
    merged: list[tuple[float, bytes]] = []
    for offset, data in steps:
        if merged and merged[-1][0] == offset:
            merged[-1] = (offset, merged[-1][1] + data)
        else:
            merged.append((offset, data))
    return merged
