"""The web application: every URL, one line each, and what is true of every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from llmqd import __version__
from llmqd.web.cors import Cors
from llmqd.web.relay import PassedResponse

if TYPE_CHECKING:
    from llmqd.web.own import Own
    from llmqd.web.proxy import Proxy


def build_app(proxy: Proxy, own: Own, cors: Cors) -> web.Application:
    """All routes; what is not llmqd's own goes to the proxy, whatever its method and path."""
    app = web.Application()
    for path, handler in (
        ("/", own.root),
        ("/health", own.health),
        ("/metrics", own.metrics),
        ("/config", own.config),
        ("/providers", own.providers),
        ("/sessions/status", own.sessions_status),
    ):
        app.router.add_get(path, handler)
        app.router.add_route("*", path, own.wrong_method)
    app.router.add_route("*", "/{tail:.*}", cors.preflight(proxy.handle), expect_handler=proxy.expect)
    app.on_response_prepare.append(_signature)
    app.on_response_prepare.append(cors.allow)
    return app


async def _signature(_: web.Request, response: web.StreamResponse) -> None:
    """Takes back what aiohttp adds to an answer by itself."""
    if isinstance(response, PassedResponse):
        response.restore_headers()
    else:
        response.headers["Server"] = f"llmqd/{__version__}"
