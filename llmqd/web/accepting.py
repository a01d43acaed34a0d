"""Lets in whoever connects to a listener, many with one turn of the loop: uvloop's own server takes one with each."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, cast

from aiohttp import web

if TYPE_CHECKING:
    import socket

logger = logging.getLogger(__name__)

BACKLOG = 4096
"""Clients that may wait to be let in; the system may allow fewer (net.core.somaxconn)."""
_AT_ONCE = 64
"""With one turn: those who are in already have theirs as well."""
_RETRY = 0.1
"""Seconds until it is tried again where the system has nothing left to make a connection with, such as descriptors."""


class Accepting:
    """Accepts on a listening socket, which is its own from then on, and hands each connection to `runner`'s server.

    While that is impossible, for lack of descriptors for one, clients wait in the listener's backlog.
    """

    def __init__(self, runner: web.BaseRunner, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        assert runner.server is not None
        self._server = runner.server
        self._listener = listener
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._arriving: dict[asyncio.Task[object], socket.socket] = {}
        self._retry: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._loop.add_reader(listener, self._accept)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The one it accepts on; none when it is closed."""
        return () if self._listener.fileno() < 0 else (self._listener,)

    def close(self) -> None:
        """Accepts nobody any more. Who is in stays."""
        if self.sockets:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        if self._retry is not None:
            self._retry.cancel()

    async def wait_closed(self) -> None:
        """Waits for those who are just coming in; a TLS handshake that has not ended by now is cut."""
        if self._context is not None:
            for task in self._arriving:
                task.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                logger.debug("nobody can be let in: %r", error)
                self._loop.remove_reader(self._listener)
                self._retry = self._loop.call_later(_RETRY, self._loop.add_reader, self._listener, self._accept)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._server, accepted, ssl=self._context))
            self._arriving[task] = accepted
            task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[object]) -> None:
        accepted = self._arriving.pop(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            accepted.close()
        if isinstance(error, OSError):  # it has left, or a handshake failed
            logger.debug("a connection came to nothing: %r", error)
        elif error is not None:
            logger.error("a connection could not be served", exc_info=error)


class AcceptingSite(web.SockSite):
    """A site of aiohttp that lets clients in so."""

    __slots__ = ()

    async def start(self) -> None:
        """Accepts from now on."""
        await web.BaseSite.start(self)
        self._server = cast(asyncio.AbstractServer, Accepting(self._runner, self._sock, self._ssl_context))

    async def stop(self) -> None:
        """Accepts nobody any more, and waits for those who are just coming in."""
        await super().stop()
        if self._server is not None:
            await self._server.wait_closed()
