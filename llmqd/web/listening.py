"""The listeners: opens every configured address, and at the end lets running calls finish."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from aiohttp import web

from llmqd.errors import ListenError
from llmqd.web.accepting import BACKLOG, AcceptingSite
from llmqd.web.connection import Around, Runner
from llmqd.web.patience import let_stalled_go

if TYPE_CHECKING:
    from aiohttp.web_protocol import RequestHandler

    from llmqd.config.address import Address
    from llmqd.systemd import Notifier, PassedSocket
    from llmqd.web.tls import ServerTls

logger = logging.getLogger(__name__)

_OURS = "listen="
"""What the names of those sockets begin with that a daemon has left with systemd itself."""

_UNIX_MODE = 0o660


class Listening:
    """Serves an application on some addresses. An async context manager.

    What systemd has `passed` is served first: a socket unit's sockets stand in for all TCP addresses, a socket that the
    process before this one has left there for the address that it was opened for. Every other address is opened and
    then left with `notifier`, so that a restart refuses nobody.

    Clients that take nothing of what they are sent for `client_timeout` seconds are cut (0: never). `around` is that of
    `Runner`.

    Leaving it closes the listeners first, then waits up to `grace` seconds for running calls, then cuts them.
    """

    def __init__(
        self,
        app: web.Application,
        addresses: Iterable[Address],
        *,
        grace: float,
        max_header: int,
        client_timeout: float = 0.0,
        notifier: Notifier,
        passed: Sequence[PassedSocket] = (),
        tls: ServerTls | None = None,
        around: Around = lambda routed: routed,
    ) -> None:
        self._tls = tls
        self._client_timeout = client_timeout
        self._secure: set[str] = set()
        self._of_unit = [each.listener for each in passed if not each.name.startswith(_OURS)]
        self._kept: dict[str, list[socket.socket]] = {}
        for each in passed:
            if each.name.startswith(_OURS):
                self._kept.setdefault(each.name, []).append(each.listener)
        self._wanted = [address for address in addresses if address.path or not self._of_unit]
        self._notifier = notifier
        self._parts = AsyncExitStack()
        self._runner = Runner(
            app,
            around,
            access_log=None,
            logger=logger,
            handler_cancellation=True,
            auto_decompress=False,
            shutdown_timeout=grace,
            max_line_size=max_header,
            max_field_size=max_header,
        )

    @property
    def addresses(self) -> list[str]:
        """Where it really listens, as URLs; a port 0 has become a real one."""
        found = []
        for address in self._runner.addresses:
            host, port = (address[0], address[1]) if isinstance(address, tuple) else (None, None)
            shown = f"[{host}]" if host is not None and ":" in host else host
            scheme = "https" if str(address) in self._secure else "http"
            found.append(f"unix:{address}" if host is None else f"{scheme}://{shown}:{port}")
        return found

    @property
    def connections(self) -> list[RequestHandler]:
        """Every connection that is open now."""
        server = self._runner.server
        return [] if server is None else server.connections

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        self._parts.push_async_callback(self._runner.cleanup)
        try:
            for listener in self._of_unit:
                await self._serve(listener)
            for address in self._wanted:
                await self._serve_address(address)
        except BaseException:
            await self._parts.aclose()
            raise
        finally:
            self._let_go()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._parts.aclose()

    async def _serve_address(self, address: Address) -> None:
        """On the sockets that the last process has left for it, else on new ones."""
        if address.tls and self._tls is None:
            raise ListenError(f"cannot listen on {address}: [server] tls_certificate is not there")
        name = _OURS + quote(str(address), safe="/[]")
        kept = self._kept.pop(name, [])
        if kept and (not address.path or Path(address.path).is_socket()):
            for listener in kept:
                await self._serve(listener, tls=address.tls)
            return
        if kept:
            self._kept[name] = kept  # its file is gone: nobody can reach it any more
            self._let_go()
        try:
            opened = [_open_unix(Path(address.path))] if address.path else await _open_tcp(address)
        except OSError as error:
            raise ListenError(f"cannot listen on {address}: {_reason(error)}") from error
        for listener in opened:
            await self._serve(listener, tls=address.tls)
            self._notifier.keep(listener, name)

    async def _serve(self, listener: socket.socket, *, tls: bool = False) -> None:
        context = self._tls.context if tls and self._tls is not None else None
        if context is not None:
            self._secure.add(str(listener.getsockname()))
        let_stalled_go(listener, self._client_timeout)
        await AcceptingSite(self._runner, listener, ssl_context=context).start()

    def _let_go(self) -> None:
        """Closes what was kept for addresses that nobody wants any more, here and with systemd."""
        for name, listeners in self._kept.items():
            for listener in listeners:
                listener.close()
            self._notifier.forget(name)
        self._kept.clear()


async def _open_tcp(address: Address) -> list[socket.socket]:
    """A socket for each address that the host has. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    try:
        for family, kind, protocol, _, where in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            opened.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(where)
            listener.listen(BACKLOG)  # now, as of two programs on one port only this fails
            listener.setblocking(False)
    except OSError:
        for listener in opened:
            listener.close()
        raise
    return opened


def _open_unix(path: Path) -> socket.socket:
    """A socket at this path. Raises OSError."""
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(_UNIX_MODE)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """A socket file that a dead daemon left behind; anything else at that place stays and is an error."""
    try:
        if stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise OSError(errno.EADDRINUSE, "in use")
            path.unlink()
        else:
            raise OSError(errno.ENOTSOCK, "a file that is no socket is there, and stays")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there already; stop it or set [server] listen to a free address"
    if error.errno == errno.EACCES:
        return "not permitted; ports below 1024 need the capability CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    if error.errno == errno.ENOTSOCK:
        return "there is a file that is no socket, and it stays; remove it or set [server] listen to another path"
    return os.strerror(error.errno) if error.errno else str(error)
