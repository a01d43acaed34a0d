"""Serves the simulated provider on a loopback port of its own, only while a configuration names it."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiohttp import web

from llmqd.sim.app import build_app

if TYPE_CHECKING:
    from llmqd.config.model import Config

BACKLOG = 1024


class Simulator:
    """An async context manager around the provider; nothing listens before `placed` meets an upstream of type `sim`."""

    def __init__(self, *, first_pause: float = 0.3, pause: float = 0.02) -> None:
        app = build_app(first_pause=first_pause, pause=pause)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        self._socket: socket.socket | None = None
        self._starting: asyncio.Task[None] | None = None

    @property
    def url(self) -> str | None:
        """`http://127.0.0.1:PORT`, or None while nobody needs it."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}" if self._socket else None

    def placed(self, config: Config) -> Config:
        """The configuration with this provider's address in each upstream of type `sim` that has none.

        Opens the port where it is needed for the first time; the port then stays the same for the daemon's life, so
        that a reload does not disturb running calls. Raises OSError where no loopback port can be had.
        """
        if not any(upstream.preset.name == "sim" and not upstream.base_url for upstream in config.upstreams):
            return config
        url = self._listen()
        upstreams = tuple(
            dataclasses.replace(upstream, base_url=url)
            if upstream.preset.name == "sim" and not upstream.base_url
            else upstream
            for upstream in config.upstreams
        )
        return dataclasses.replace(config, upstreams=upstreams)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._starting is not None:
                await self._starting
        finally:
            await self._runner.cleanup()
            if self._socket is not None:
                self._socket.close()

    def _listen(self) -> str:
        """Listens at once, so that a call made before the server has started waits in the backlog."""
        if self._socket is None:
            sock = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
            site = web.SockSite(self._runner, sock, backlog=BACKLOG)
            self._socket = sock
            self._starting = asyncio.get_running_loop().create_task(site.start(), name="simulated provider")
        assert self.url is not None
        return self.url
