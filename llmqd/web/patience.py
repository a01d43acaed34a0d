"""How long clients are waited for: connections that say nothing are closed, the sooner the fewer sockets are left."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmqd.background import Beside

if TYPE_CHECKING:
    from aiohttp.web_protocol import RequestHandler

logger = logging.getLogger(__name__)

_EVERY = 1.0
_SHARE_OF_CLIENTS = 0.5
"""Of the file descriptors; the other half is for upstreams, files and the database."""
_NEARLY_ALL = 0.9
_REMEMBERED = 30.0
"""Seconds for which it is a fault that descriptors have run short: those who look should see it."""


def _lowest_free() -> int:
    """At least so many descriptors are in use: the kernel hands out the lowest that is free. Raises OSError."""
    number = os.dup(0)
    os.close(number)
    return number


def let_stalled_go(listener: socket.socket, seconds: float) -> None:
    """Whoever takes nothing of what is sent for so long is cut by the kernel; its connections inherit that."""
    if seconds and listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


class Patience(Beside):
    """Closes connections between calls. An async context manager: inside, it looks every second.

    One that has not sent its first request within `seconds` goes (0: never), and the longest idle ones go as soon as
    clients hold half of the file descriptors that the process may have. `connections` gives all that are open now.
    `clock` is monotonic.
    """

    def __init__(
        self,
        connections: Callable[[], list[RequestHandler]],
        seconds: float,
        *,
        clock: Callable[[], float],
        limit: Callable[[], int] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        used: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(
            self._watch, name="patience", logger=logger, dead="idle connections will not be closed any more"
        )
        self._connections = connections
        self._seconds = seconds
        self._clock = clock
        self._limit = limit
        self._used = used or _lowest_free
        self._idle: dict[RequestHandler, tuple[int, float]] = {}
        self._short: tuple[str, float] | None = None

    def faults(self) -> list[str]:
        """That there are too few file descriptors, or have been a moment ago."""
        if self._short is None or self._clock() - self._short[1] > _REMEMBERED:
            return []
        return [self._short[0]]

    def look(self) -> None:
        """Closes whom nobody needs to wait for any longer."""
        now, limit = self._clock(), self._limit()
        everybody = self._connections()
        before, self._idle = self._idle, {}
        for each in everybody:
            if _waits_for_a_request(each):
                count = each._request_count
                known = before.get(each)
                self._idle[each] = known if known is not None and known[0] == count else (count, now)
        for each, (count, since) in list(self._idle.items()):
            if self._seconds and not count and now - since >= self._seconds:
                self._close(each)
        excess = len(everybody) - int(limit * _SHARE_OF_CLIENTS)
        if excess > 0:
            self._tell(f"clients hold {len(everybody)} connections, idle ones are closed", now, limit)
            for each in sorted(self._idle, key=lambda one: self._idle[one][1])[:excess]:
                self._close(each)
        elif (used := self._used()) > limit * _NEARLY_ALL:
            self._tell(f"{used} files and connections are open", now, limit)

    def _close(self, connection: RequestHandler) -> None:
        self._idle.pop(connection, None)
        connection.force_close()

    def _tell(self, what: str, now: float, limit: int) -> None:
        fault = f"{what}; the process may have {limit} file descriptors: raise LimitNOFILE="
        if not self.faults():
            logger.error("%s", fault)
        self._short = fault, now

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                self.look()
            except OSError as error:  # no descriptor is left to count the others with
                self._tell(f"files and connections cannot be counted ({error.strerror})", self._clock(), self._limit())


def _waits_for_a_request(connection: RequestHandler) -> bool:
    return connection._waiter is not None and not connection._waiter.done()
