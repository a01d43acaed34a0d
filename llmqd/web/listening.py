"""The listeners: opens every configured address, and at the end lets running calls finish."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import Iterable, MutableMapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from llmqd.errors import ListenError

if TYPE_CHECKING:
    from llmqd.config.address import Address

_BACKLOG = 4096
_UNIX_MODE = 0o660


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp's server logs: bytes that are no HTTP are a client's fault, worth one line and no traceback."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **more: Any) -> None:
        if isinstance(exc_info, HttpProcessingError):
            reason = " ".join(exc_info.message.split())[:200]
            self.info("what a client sent is not valid HTTP: %s", reason)
        else:
            self.error(msg, *args, exc_info=exc_info, **more)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


class Listening:
    """Serves an application on some addresses, or on the `passed` sockets in their place. An async context manager.

    Leaving it closes the listeners first, then waits up to `grace` seconds for running calls, then cuts them.
    """

    def __init__(
        self,
        app: web.Application,
        addresses: Iterable[Address],
        *,
        grace: float,
        max_header: int,
        passed: Iterable[socket.socket] = (),
    ) -> None:
        self._passed = tuple(passed)
        self._wanted = () if self._passed else tuple(addresses)
        self._parts = AsyncExitStack()
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_ServerLog(logging.getLogger(__name__)),
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
            found.append(f"unix:{address}" if host is None else f"http://{shown}:{port}")
        return found

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        self._parts.push_async_callback(self._runner.cleanup)
        try:
            for listener in self._passed:
                await web.SockSite(self._runner, listener, backlog=_BACKLOG).start()
            for address in self._wanted:
                await self._open(address)
        except BaseException:
            await self._parts.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._parts.aclose()

    async def _open(self, address: Address) -> None:
        try:
            if address.path:
                path = Path(address.path)
                _remove_stale(path)
                await web.UnixSite(self._runner, path, backlog=_BACKLOG).start()
                path.chmod(_UNIX_MODE)
            else:
                await web.TCPSite(self._runner, address.host, address.port, backlog=_BACKLOG).start()
        except OSError as error:
            raise ListenError(f"cannot listen on {address}: {_reason(error)}") from error


def _remove_stale(path: Path) -> None:
    """A socket file that a dead daemon left behind; anything else at that place stays and is an error."""
    try:
        if stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise OSError(errno.EADDRINUSE, "in use")
            path.unlink()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there already; stop it or set [server] listen to a free address"
    if error.errno == errno.EACCES:
        return "not permitted; ports below 1024 need the capability CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return os.strerror(error.errno) if error.errno else str(error)
