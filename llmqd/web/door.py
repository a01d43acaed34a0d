"""The door: what a request shows of who sends it, and which of llmqd's own URLs are open to whom."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from llmqd.auth.callers import Caller, Presented
from llmqd.auth.logins import LASTS
from llmqd.errors import BadBody, BadField, CallRefused, InvalidKey, NotAllowed
from llmqd.web.body import receive_own
from llmqd.web.own import json_response
from llmqd.web.refusal import refusal
from llmqd.web.scope import confine

if TYPE_CHECKING:
    from llmqd.auth.callers import Callers
    from llmqd.in_force import InForce

COOKIE = "llmqd_login"
CSRF_HEADER = "X-LLMQD-CSRF"

_KEY_HEADERS = ("x-api-key", "x-goog-api-key", "api-key", "xi-api-key")
_SUBPROTOCOL = "openai-insecure-api-key."
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

    def caller(self, request: web.BaseRequest) -> Caller:
        """Who makes a call through the proxy. Raises InvalidKey, NotAllowed, TooManyAttempts."""
        return self._callers.of_call(presented(request, in_query=True))

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
        allowed = self._in_force.config.server.allowed_origins
        if origin is None or origin in allowed or "*" in allowed:
            return False
        return urlsplit(origin).netloc.lower() != request.headers.get("Host", "").lower()

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


def presented(request: web.BaseRequest, *, in_query: bool = False) -> Presented:
    """What a request shows. `in_query`: Google's clients may put a key there (Gemini API: "API keys")."""
    headers = request.headers
    tokens = [_bearer(value) for value in headers.getall("Authorization", ())]
    for name in _KEY_HEADERS:
        if name in headers:
            tokens += [value.strip() for value in headers.getall(name)]
    if in_query and "key" in request.query:
        tokens += request.query.getall("key")
    for value in headers.getall("Sec-WebSocket-Protocol", ()):
        protocols = (part.strip() for part in value.split(","))
        tokens += [one.removeprefix(_SUBPROTOCOL) for one in protocols if one.startswith(_SUBPROTOCOL)]
    uid = peer(request)
    return Presented(
        tokens=tuple(dict.fromkeys(token for token in tokens if token)),
        address="unix" if uid is not None else request.remote or "",
        uid=uid,
        cookie=request.cookies.get(COOKIE) if "Cookie" in headers else None,
        by_cookie_allowed=request.method in _READS or headers.get(CSRF_HEADER) == "1",
    )


def shown_key(request: web.BaseRequest) -> str:
    """The key that a request shows, whichever way its API has it shown; "" for none."""
    headers = request.headers
    if value := headers.get("Authorization"):
        return _bearer(value)
    if value := next((value for name in _KEY_HEADERS if (value := headers.get(name))), None):
        return value.strip()
    return request.query.get("key", "") if "key=" in request.raw_path else ""


def peer(request: web.BaseRequest) -> int | None:
    """The user id behind a unix socket (unix(7), SO_PEERCRED); None for TCP."""
    found = None if request.transport is None else request.transport.get_extra_info("socket")
    if found is None or found.family != socket.AF_UNIX:
        return None
    credentials = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


def _bearer(value: str) -> str:
    scheme, space, token = value.strip().partition(" ")
    return token.strip() if space and scheme.lower() == "bearer" else value.strip()


async def _token(request: web.Request) -> str:
    try:
        body = orjson.loads(await receive_own(request))
    except orjson.JSONDecodeError:
        raise BadBody('the body must be JSON: {"token": "..."}') from None
    token = body.get("token") if isinstance(body, dict) else None
    if not isinstance(token, str) or not token:
        raise BadField("token: missing, or no text")
    return token
