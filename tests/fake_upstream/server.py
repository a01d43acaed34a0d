"""The fake upstream itself: listens on a free port, hands out scripted or canned answers, keeps what was asked."""

from __future__ import annotations

import asyncio
import inspect
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

from tests.fake_upstream import providers
from tests.fake_upstream.limiters import Limiter
from tests.fake_upstream.request import Received, violations
from tests.fake_upstream.script import Answer
from tests.fake_upstream.wire import Connection

Script = Answer | Callable[[Received], Answer | Awaitable[Answer]]


class FakeUpstream:
    """An upstream on 127.0.0.1, as `async with FakeUpstream(...) as upstream: ... upstream.url`.

    Without a script it plays a provider (`providers.answer`): paths, keys and bodies are checked as the real one does.
    `script` answers every call instead; `play(...)` queues answers for the next calls, which come first.
    `limiter` refuses POST calls with the provider's own 429; `cost` says how much a call takes from it.
    `keys`: the only accepted keys. `early` may answer a request from its headers alone, before the body.
    `continues`: whether `Expect: 100-continue` gets its interim answer.

    Leaving the context fails when a request broke HTTP or let a control header out (`violations`), or a script raised;
    `tolerant` keeps the former quiet.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        limiter: Limiter | None = None,
        cost: Callable[[Received], float] = lambda _: 1,
        keys: set[str] | None = None,
        early: Callable[[Received], Answer | None] | None = None,
        continues: bool = True,
        subprotocols: Sequence[str] = ("realtime",),
        tolerant: bool = False,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.script = script
        self.limiter = limiter
        self.cost = cost
        self.keys = keys
        self.early = early
        self.continues = continues
        self.subprotocols = subprotocols
        self.tolerant = tolerant
        self.clock = clock
        self._tls = tls
        self._played: deque[Answer] = deque()
        self._taken: dict[int, float] = {}
        self._connections: set[Connection] = set()
        self._change = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.port = 0

        self.requests: list[Received] = []
        """Every request that came in whole, in order (those answered early included)."""
        self.heads = 0
        """Requests whose headers have come, bodies or not."""
        self.refused = 0
        """Calls that the limiter refused."""
        self.completed = 0
        """Answers played to their scripted end."""
        self.cancelled = 0
        """Answers during which the client closed the connection."""
        self.aborted = 0
        """Requests whose client left before the body was whole."""
        self.active = 0
        self.most_active = 0
        self.connections = 0
        """TCP connections accepted so far."""
        self.frames: list[tuple[str, bytes]] = []
        """WebSocket frames received, as (opcode name, payload)."""
        self.websocket_closes: list[int | None] = []
        self.violations: list[str] = []
        self.failures: list[BaseException] = []

    def __repr__(self) -> str:
        return (
            f"<FakeUpstream {len(self.requests)} requests, {self.active} active, {self.completed} completed,"
            f" {self.refused} refused, {self.cancelled} cancelled, {len(self._connections)} connections>"
        )

    async def __aenter__(self) -> FakeUpstream:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", self.port, ssl=self._tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if error is not None:
            return
        if self.failures:
            raise self.failures[0]
        if self.violations and not self.tolerant:
            raise AssertionError("the upstream was sent what it must not see:\n" + "\n".join(self.violations))

    async def stop(self) -> None:
        """Closes the listener and every connection at once. The port stays known, so that it can be started again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.drop()
        await self.until(lambda: not self._connections)
        await asyncio.sleep(0)  # lets the cancelled answers end

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, no slash at the end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """TCP connections open now."""
        return len(self._connections)

    def play(self, *answers: Answer) -> None:
        """Queues answers for the next calls."""
        self._played.extend(answers)

    async def until(self, predicate: Callable[[], bool], timeout: float = 5.0) -> None:
        """Waits until the predicate holds; it is asked again whenever something happens here."""
        try:
            async with asyncio.timeout(timeout):
                while not predicate():
                    self._change.clear()
                    await self._change.wait()
        except TimeoutError:
            raise AssertionError(
                f"not within {timeout:g} s: {inspect.getsource(predicate).strip()}; {self!r}"
            ) from None

    def changed(self) -> None:
        """Wakes those who wait in `until`."""
        self._change.set()

    def connected(self, connection: Connection) -> None:
        """A client connected."""
        self._connections.add(connection)
        self.changed()

    def disconnected(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self.changed()

    async def answer(self, request: Received, early: Answer | None) -> Answer | None:
        """The answer to a request; None accepts a WebSocket handshake."""
        self.requests.append(request)
        self.violations += violations(request, {f"127.0.0.1:{self.port}", f"localhost:{self.port}"})
        self.changed()
        if early is not None:
            return early
        if (refusal := self._limited(request)) is not None:
            return refusal
        if self._played:
            return self._played.popleft()
        if isinstance(self.script, Answer):
            return self.script
        if self.script is not None:
            made = self.script(request)
            return made if isinstance(made, Answer) else await made
        if (refusal := providers.unauthorized(request, self.keys)) is not None:
            return refusal
        return None if request.upgrades_to_websocket else providers.answer(request)

    def released(self, request: Received) -> None:
        """A call is over, however it ended."""
        if self.limiter is not None and (cost := self._taken.pop(id(request), None)) is not None:
            self.limiter.give_back(self.clock(), cost)
        self.changed()

    def _accept(self) -> Connection:
        self.connections += 1
        return Connection(self, self.connections)

    def _limited(self, request: Received) -> Answer | None:
        if self.limiter is None or request.method != "POST":
            return None
        cost = self.cost(request)
        wait = self.limiter.wait(request.at, cost)
        if wait > 0:
            self.refused += 1
            return providers.rate_limited(request, wait)
        self.limiter.take(request.at, cost)
        self._taken[id(request)] = cost
        return None
