"""Keeps connections to upstreams open between calls, apart by where they lead and how that place is trusted."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import NamedTuple

import aiohttp
from yarl import URL

_KEPT = 15.0
"""Seconds that a connection without a call is kept; Node's server closes its own after 5, nginx after 75."""

Trust = ssl.SSLContext | bool


class Leased(NamedTuple):
    """A connection that carries one call. `reused`: it has carried another one before."""

    connection: aiohttp.connector.Connection
    reused: bool


class Origin:
    """One place that calls go to: scheme, host and port, and by which certificates it is trusted."""

    def __init__(self, url: URL, trust: Trust, connector: aiohttp.BaseConnector) -> None:
        self.host = url.host_port_subcomponent or ""
        """What the Host header says."""
        self._connector = connector
        self._clock = asyncio.get_running_loop().time
        # Only asked where to connect to; what is sent is none of aiohttp's business here.
        self._to = aiohttp.ClientRequest("GET", url, loop=asyncio.get_running_loop(), ssl=trust)
        self._kept: deque[tuple[aiohttp.connector.Connection, float]] = deque()

    async def lease(self, timeout: aiohttp.ClientTimeout) -> Leased:
        """The connection that was used last, or a new one. Raises what aiohttp's connector raises."""
        while self._kept:
            connection, since = self._kept.pop()
            if not connection.closed and self._clock() - since < _KEPT:
                return Leased(connection, reused=True)
            connection.close()
        return Leased(await self._connector.connect(self._to, [], timeout), reused=False)

    def give_back(self, connection: aiohttp.connector.Connection) -> None:
        """Keeps a connection whose call has ended, unless it can carry no other."""
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None or protocol.should_close or transport.get_write_buffer_size():
            connection.close()
        else:
            self._kept.append((connection, self._clock()))

    def sweep(self, *, everything: bool = False) -> None:
        """Closes what has been kept for too long."""
        oldest = self._clock() - _KEPT
        while self._kept and (everything or self._kept[0][1] <= oldest or self._kept[0][0].closed):
            self._kept.popleft()[0].close()


class Pool:
    """All origins that calls went to. It makes its connections with `connector` and closes what it keeps in `close`."""

    def __init__(self, connector: aiohttp.BaseConnector) -> None:
        self._connector = connector
        self._origins: dict[tuple[str, Trust], Origin] = {}
        self._timer = asyncio.get_running_loop().call_later(_KEPT, self._sweep)

    def origin(self, base: str, trust: Trust) -> Origin:
        """The origin of URLs that begin with `base`, scheme and authority. Raises ValueError when it names no host."""
        if self._timer.cancelled():
            raise RuntimeError("the pool is closed")
        origin = self._origins.get((base, trust))
        if origin is None:
            origin = self._origins[base, trust] = Origin(URL(base, encoded=True), trust, self._connector)
        return origin

    def forget(self) -> None:
        """Closes every kept connection: settings or certificates have changed."""
        for origin in self._origins.values():
            origin.sweep(everything=True)
        self._origins.clear()

    def close(self) -> None:
        """Closes every kept connection for good."""
        self._timer.cancel()
        self.forget()

    def _sweep(self) -> None:
        for origin in self._origins.values():
            origin.sweep()
        self._timer = asyncio.get_running_loop().call_later(_KEPT, self._sweep)
