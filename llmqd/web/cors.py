"""Cross-origin calls from browsers: closed, except for the origins that the configuration allows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from llmqd.in_force import InForce

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Cors:
    """Fetch standard, "CORS protocol". Never allows credentials: keys go in headers, not in cookies."""

    def __init__(self, in_force: InForce) -> None:
        self._in_force = in_force

    def preflight(self, handler: _Handler) -> _Handler:
        """A handler that answers preflights of allowed origins itself; every other request goes to `handler`."""

        async def answer(request: web.Request) -> web.StreamResponse:
            asked = request.headers.get("Access-Control-Request-Method")
            if request.method != "OPTIONS" or asked is None or self._origin(request) is None:
                return await handler(request)
            headers = {"Access-Control-Allow-Methods": asked, "Access-Control-Max-Age": "600"}
            if "Access-Control-Request-Headers" in request.headers:
                headers["Access-Control-Allow-Headers"] = request.headers["Access-Control-Request-Headers"]
            return web.Response(status=204, headers=headers)

        return answer

    async def allow(self, request: web.Request, response: web.StreamResponse) -> None:
        """Lets an allowed origin read this answer (signal `on_response_prepare`)."""
        origin = self._origin(request)
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "*"
            response.headers.add("Vary", "Origin")

    def _origin(self, request: web.Request) -> str | None:
        allowed = self._in_force.config.server.allowed_origins
        if not allowed:
            return None
        origin = request.headers.get("Origin")
        return origin if origin is not None and (origin in allowed or "*" in allowed) else None
