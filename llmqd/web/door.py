"""The door: what a request shows of who sends it, and which of llmqd's own URLs are open to whom."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from llmqd.auth.callers import Caller, Presented
from llmqd.auth.logins import LASTS
from llmqd.errors import BadBody, CallRefused, InvalidKey, NotAllowed, bad
from llmqd.web.body import receive_own
from llmqd.web.own import json_response
from llmqd.web.pages import is_foreign, page_fault
from llmqd.web.refusal import refusal
from llmqd.web.scope import confine
from llmqd.web.shown import shown_tokens

if TYPE_CHECKING:
    from llmqd.auth.callers import Callers
    from llmqd.in_force import InForce

COOKIE = "llmqd_login"
CSRF_HEADER = "X-LLMQD-CSRF"

_CREDENTIALS = struct.Struct("3i")
"""pid, uid, gid of SO_PEERCRED (unix(7))."""
_READS = ("GET", "HEAD")
_PROXY = "/{tail}"
_FOR_CLIENTS = ("/api/v1/sessions", "/api/v1/requests", "/api/v1/budgets", "/sessions/status")
_SEARCH = "/api/v1/sessions/search"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """Asks `callers` about each request. The pages of the dashboard hold nothing, so they are open."""

    def __init__(self, callers: Callers, in_force: InForce) -> None:
        self._callers = callers
        self._in_force = in_force

    def caller(self, request: web.BaseRequest, tokens: tuple[str, ...], page_fault: NotAllowed | None = None) -> Caller:
        """Who makes a call that shows these tokens; `page_fault` is why nobody may whom a browser could have brought
        here. Raises InvalidKey, NotAllowed, TooManyAttempts."""
        _check_page(request, page_fault)
        if (anyone := self._callers.of_anyone(tokens)) is not None:
            return anyone
        uid = peer(request)
        return self._callers.of_call(Presented(tokens, _address(request, uid), uid))

    @web.middleware
    async def check(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """The middleware before llmqd's own URLs."""
        resource = request.match_info.route.resource
        if resource is None or resource.canonical == _PROXY or request.method == "OPTIONS":
            return await handler(request)
        try:
            self._admit(request)
        except CallRefused as error:
            return refusal(error, "openai")
        return await handler(request)

    def _admit(self, request: web.Request) -> None:
        path = request.path
        if request.method not in _READS and self._is_foreign(request):
            raise NotAllowed("a page of another origin may not change anything here", retry=False)
        if self._is_open(request):
            return
        _check_page(request, page_fault(request.headers, self._in_force.config))
        caller = self._callers.of_question(presented(request))
        if caller.role != "client":
            return
        reads = request.method in _READS or (request.method == "POST" and path == _SEARCH)
        if not reads or not any(path == one or path.startswith(f"{one}/") for one in _FOR_CLIENTS):
            raise NotAllowed(
                f"{request.method} {path} needs the admin token; a client key sees its own sessions, calls and budgets",
                retry=False,
            )
        confine(request, caller.name or "")

    def _is_open(self, request: web.Request) -> bool:
        path, guard = request.path, self._callers.settings.guard
        if path in ("/health", "/metrics"):
            return path[1:] not in guard
        page = path == "/" and "text/html" in request.headers.get("Accept", "")
        return page or path == "/dashboard" or path.startswith("/dashboard/")

    def _is_foreign(self, request: web.Request) -> bool:
        """Whether a browser says that a page of another origin sends this (Fetch: "Origin header")."""
        origin = request.headers.get("Origin")
        server = self._in_force.config.server
        return origin is not None and is_foreign(origin, request.headers.get("Host", ""), server)

    async def login(self, request: web.Request) -> web.StreamResponse:
        """`POST /dashboard/login` `{"token": ...}`: a right token is given a cookie, which no script can read."""
        try:
            token = await _token(request)
            shown = presented(request)
            caller = self._callers.of_question(Presented((token,), shown.address))
        except InvalidKey as error:
            return refusal(InvalidKey("this token is not right") if not error.known else error, "openai")
        except CallRefused as error:
            return refusal(error, "openai")
        response = json_response({"role": caller.role, "name": caller.name})
        response.set_cookie(
            COOKIE,
            self._callers.logins.begin(caller.name or ""),
            max_age=int(LASTS),
            path="/",
            httponly=True,
            samesite="Strict",
            secure=request.secure,
        )
        return response

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """`POST /dashboard/logout`: the cookie is worth nothing any more."""
        self._callers.logins.end(request.cookies.get(COOKIE, ""))
        response = json_response({"role": None})
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=request.secure)
        return response

    async def whoami(self, request: web.Request) -> web.StreamResponse:
        """`GET /dashboard/login`: who is logged in, and whether one has to be."""
        try:
            caller = self._callers.of_question(presented(request))
        except CallRefused:
            return json_response({"needed": True, "role": None, "name": None})
        return json_response({"needed": self._callers.guarded, "role": caller.role, "name": caller.name})


def presented(request: web.BaseRequest) -> Presented:
    """What a request for one of llmqd's own URLs shows."""
    headers, uid = request.headers, peer(request)
    return Presented(
        tokens=shown_tokens(request),
        address=_address(request, uid),
        uid=uid,
        cookie=request.cookies.get(COOKIE) if "Cookie" in headers else None,
        by_cookie_allowed=request.method in _READS or headers.get(CSRF_HEADER) == "1",
    )


def _check_page(request: web.BaseRequest, fault: NotAllowed | None) -> None:
    if fault is not None and peer(request) is None:
        raise fault


def peer(request: web.BaseRequest) -> int | None:
    """The user id behind a unix socket (unix(7), SO_PEERCRED); None for TCP."""
    found = None if request.transport is None else request.transport.get_extra_info("socket")
    if found is None or found.family != socket.AF_UNIX:
        return None
    credentials = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


def _address(request: web.BaseRequest, uid: int | None) -> str:
    return "unix" if uid is not None else request.remote or ""


async def _token(request: web.Request) -> str:
    try:
        body = orjson.loads(await receive_own(request))
    except orjson.JSONDecodeError:
        raise BadBody('the body must be JSON: {"token": "..."}') from None
    token = body.get("token") if isinstance(body, dict) else None
    if not isinstance(token, str) or not token:
        raise bad("token", "missing, or no text")
    return token
