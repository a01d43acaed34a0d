"""Keeps connections to upstreams open between calls, apart by where they lead and how that place is trusted."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable

import aiohttp
from yarl import URL

_KEPT = 15.0
"""Seconds that a connection without a call is kept; Node's server closes its own after 5, nginx after 75."""
_MAKING = 128
"""Connections to one place that are made at the same time. More of them would take the same time from each other, until
the time that one may take is over for all."""

Trust = ssl.SSLContext | bool


class Origin:
    """One place that calls go to: scheme, host and port, and by which certificates it is trusted."""

    def __init__(self, url: URL, trust: Trust, connector: aiohttp.BaseConnector, room: Room) -> None:
        self.host = url.host_port_subcomponent or ""
        """What the Host header says."""
        self._connector = connector
        self._room = room
        self._clock = asyncio.get_running_loop().time
        # Only asked where to connect to; what is sent is none of aiohttp's business here.
        self._to = aiohttp.ClientRequest("GET", url, loop=asyncio.get_running_loop(), ssl=trust)
        self._kept: deque[tuple[aiohttp.connector.Connection, float]] = deque()
        self._making = 0
        self._waiting: deque[asyncio.Future[aiohttp.connector.Connection | None]] = deque()
        self._forgotten = False

    async def lease(self, timeout: aiohttp.ClientTimeout) -> tuple[aiohttp.connector.Connection, bool]:
        """The connection that was used last, or a new one, and whether it has carried another call before.

        Where none may be made now, waits, first come first served, until one may or another call gives its own back;
        `timeout` is for making it alone. Raises what aiohttp's connector raises.
        """
        while self._kept:
            connection, since = self._kept.pop()
            if not connection.closed and self._clock() - since < _KEPT:
                return connection, True
            connection.close()
        if not self._begin() and (given := await self._wait()) is not None:
            return given, True
        try:
            made = await self._connector.connect(self._to, [], timeout)
        except BaseException:
            self._give_up()
            raise
        made.add_callback(self._room.give_back)
        self._making -= 1
        self.beckon()
        return made, False

    def give_back(self, connection: aiohttp.connector.Connection) -> None:
        """Keeps a connection whose call has ended, or hands it to one that waits, unless it can carry no other."""
        protocol, transport = connection.protocol, connection.transport
        unfit = protocol is None or transport is None or protocol.should_close or transport.get_write_buffer_size()
        if unfit or self._forgotten:
            connection.close()
        elif self._waiting and (waiter := self._next()) is not None:
            waiter.set_result(connection)
        elif self._room.wanted:
            connection.close()  # for somebody who waits to reach another place
        else:
            self._kept.append((connection, self._clock()))

    def beckon(self) -> None:
        """Lets those who wait make their connections, as many as may."""
        while (waiter := self._next()) is not None:
            if not self._begin():
                self._waiting.appendleft(waiter)
                self._want_room()
                return
            waiter.set_result(None)

    def sweep(self, *, everything: bool = False) -> None:
        """Closes what has been kept for too long."""
        oldest = self._clock() - _KEPT
        while self._kept and (everything or self._kept[0][1] <= oldest or self._kept[0][0].closed):
            self._kept.popleft()[0].close()

    def drop_oldest(self) -> bool:
        """Closes the connection that has been kept longest; False where there is none."""
        if self._kept:
            self._kept.popleft()[0].close()
            return True
        return False

    def forget(self) -> None:
        """Keeps nothing from now on: calls under way are its last."""
        self._forgotten = True
        self.sweep(everything=True)

    def _begin(self) -> bool:
        """Whether a connection may be made now; its place is taken then."""
        if self._making >= _MAKING or not self._room.take():
            return False
        self._making += 1
        return True

    def _give_up(self) -> None:
        """A connection that was begun is not made."""
        self._making -= 1
        self._room.give_back()
        self.beckon()

    def _want_room(self) -> None:
        if self._making < _MAKING:  # else the end of one that is being made is waited for
            self._room.want(self)

    async def _wait(self) -> aiohttp.connector.Connection | None:
        """A connection that another call has given back; None: one may be made, and its place is taken."""
        waiter: asyncio.Future[aiohttp.connector.Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._want_room()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # both in one turn of the loop
                if (given := waiter.result()) is not None:
                    self.give_back(given)
                else:
                    self._give_up()
            raise

    def _next(self) -> asyncio.Future[aiohttp.connector.Connection | None] | None:
        """Takes out who has waited longest; who has left meanwhile is passed over."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None


class Room:
    """How many connections there may be, to all places together: `most` is asked each time."""

    def __init__(self, most: Callable[[], int], make_room: Callable[[], object]) -> None:
        self._most = most
        self._make_room = make_room
        self._taken = 0
        self._wanting: dict[Origin, None] = {}

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for it."""
        return bool(self._wanting)

    def take(self) -> bool:
        """Takes the room for one connection, if need be that of one that is kept without a call."""
        if self._taken >= (most := self._most()):
            self._make_room()
            if self._taken >= most:
                return False
        self._taken += 1
        return True

    def give_back(self) -> None:
        """A connection is closed, or was never made."""
        self._taken -= 1
        wanting, self._wanting = self._wanting, {}
        for origin in wanting:
            origin.beckon()

    def want(self, origin: Origin) -> None:
        """Beckons an origin when there may be room."""
        self._wanting[origin] = None


class Pool:
    """All origins that calls went to. It makes its connections with `connector` and closes what it keeps in `close`.

    There are no more than `most` at the same time; calls wait for the others.
    """

    def __init__(self, connector: aiohttp.BaseConnector, *, most: Callable[[], int]) -> None:
        self._connector = connector
        self._room = Room(most, self._drop_oldest)
        self._origins: dict[tuple[str, Trust], Origin] = {}
        self._timer = asyncio.get_running_loop().call_later(_KEPT, self._sweep)

    def origin(self, base: str, trust: Trust) -> Origin:
        """The origin of URLs that begin with `base`, scheme and authority. Raises ValueError when it names no host."""
        if self._timer.cancelled():
            raise RuntimeError("the pool is closed")
        origin = self._origins.get((base, trust))
        if origin is None:
            origin = self._origins[base, trust] = Origin(URL(base, encoded=True), trust, self._connector, self._room)
        return origin

    def forget(self) -> None:
        """Closes every kept connection: settings or certificates have changed."""
        for origin in self._origins.values():
            origin.forget()
        self._origins.clear()

    def close(self) -> None:
        """Closes every kept connection for good."""
        self._timer.cancel()
        self.forget()

    def _drop_oldest(self) -> bool:
        return any(origin.drop_oldest() for origin in self._origins.values())

    def _sweep(self) -> None:
        for origin in self._origins.values():
            origin.sweep()
        self._timer = asyncio.get_running_loop().call_later(_KEPT, self._sweep)
