"""The web application: every URL, one line each, and what is true of every answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from llmqd.errors import CallRefused, MethodNotAllowed, NotFound
from llmqd.routing import UNIFIED
from llmqd.web.body import SILENCE
from llmqd.web.connection import Handler, signed
from llmqd.web.cors import Cors
from llmqd.web.dashboard import Dashboard
from llmqd.web.refusal import refusal

if TYPE_CHECKING:
    from llmqd.in_force import InForce
    from llmqd.web.api.api import Api
    from llmqd.web.door import Door
    from llmqd.web.event_stream import EventStream
    from llmqd.web.own import Own
    from llmqd.web.proxy import Proxy
    from llmqd.web.queue_api import QueueApi


logger = logging.getLogger(__name__)


def build_app(
    proxy: Proxy,
    own: Own,
    queue: QueueApi,
    events: EventStream,
    api: Api,
    cors: Cors,
    door: Door,
    *,
    silence: float,
) -> web.Application:
    """All routes; what is not llmqd's own goes to the proxy, whatever its method and path.

    `silence` is how many seconds the body of a request may say nothing.
    """
    app = web.Application(middlewares=[_own_words, door.check])
    app[SILENCE] = silence
    for path, handler in (
        ("/", own.root),
        ("/health", own.health),
        ("/metrics", own.metrics),
        ("/config", own.config),
        ("/providers", own.providers),
        ("/sessions/status", own.sessions_status),
        ("/events", events.events),
    ):
        app.router.add_get(path, handler)
        app.router.add_route("*", path, own.wrong_method)
    app.router.add_post("/dashboard/login", door.login)
    app.router.add_get("/dashboard/login", door.whoami)
    app.router.add_post("/dashboard/logout", door.logout)
    queue.add_to(app, cors.preflight)
    api.add_to(app, cors.preflight)
    Dashboard().add_to(app, own.wrong_method)
    app.router.add_route("*", "/{tail:.*}", cors.preflight(proxy.handle), expect_handler=proxy.expect)
    app.on_response_prepare.append(_signature)
    app.on_response_prepare.append(cors.allow)
    return app


class ShortWay:
    """The way of calls past aiohttp's router, middlewares and signals, which are a thirtieth of what a call costs."""

    def __init__(self, proxy: Proxy, in_force: InForce) -> None:
        self._proxy = proxy
        self._in_force = in_force

    def around(self, routed: Handler) -> Handler:
        """What answers every request: `routed` those that may be for llmqd itself, that a browser sends from a page, or
        whose body has to be asked for."""

        def answer(request: web.Request) -> Awaitable[web.StreamResponse]:
            return _own_words(request, self._proxy.handle) if self._is_call(request) else routed(request)

        return answer

    def _is_call(self, request: web.Request) -> bool:
        if request.method != "POST" or "Origin" in request.headers or "Expect" in request.headers:
            return False
        first = request.raw_path[1:].partition("/")[0]
        return first in UNIFIED or first in self._in_force.routing.names


@web.middleware
async def _own_words(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answers what no route takes, and faults of llmqd's own, in llmqd's own shape of an error."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _no_url(request)
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:
        if request.writer.output_size:
            raise  # an answer has begun; all that is left is to cut it
        logger.exception("internal error in %s %s", request.method, request.path)
        response = refusal(CallRefused("internal error; llmqd's log has the details"), "openai")
        response.force_close()
        return response


def _no_url(request: web.Request) -> web.Response:
    if request.method == "OPTIONS" and request.raw_path == "*":
        return web.Response(status=204)  # the server as a whole (RFC 9110 §9.3.7)
    if request.method == "CONNECT":
        response = refusal(MethodNotAllowed("llmqd is no forward proxy; point a base_url at it"), "openai")
        response.force_close()
        return response
    return refusal(NotFound(f"{request.raw_path} is not a URL of llmqd"), "openai")


async def _signature(_: web.Request, response: web.StreamResponse) -> None:
    signed(response)
