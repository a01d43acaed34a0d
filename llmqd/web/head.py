"""What the head of a request says: read once, and known again when a client sends the same head, as SDKs always do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from llmqd.controls import Controls, read_controls, stated_timer
from llmqd.errors import BadHeader, CallRefused, NotAllowed
from llmqd.memo import Memo
from llmqd.providers.operations import Operation, operation_of
from llmqd.routing import Target, parse_target
from llmqd.session import session_in_head
from llmqd.web.headers import named_in_connection
from llmqd.web.pages import page_fault
from llmqd.web.shown import shown_key, shown_tokens

if TYPE_CHECKING:
    from aiohttp import web

    from llmqd.call import SessionRef
    from llmqd.config.model import Config, Key, Upstream
    from llmqd.in_force import InForce
    from llmqd.outbound import Outbound

_REMEMBERED, _LONGEST = 512, 8192
"""How many heads are remembered, and of how many bytes one at most is for that."""
_VARIANTS = 16
"""Requests that are remembered of one head: for every lane and name of a model, where a route has several."""
_LENGTH = frozenset({b"Content-Length", b"content-length"})
"""The header that differs from call to call; nothing that is read of a head depends on it."""
_NEW_WITH_EACH = frozenset(
    b"baggage idempotency-key traceparent tracestate x-amzn-trace-id x-client-request-id x-request-id".split()
)
"""Headers in which some clients say something new with each call, but not to llmqd unless a session is read of them."""
_MAX_RETRY_COUNT = 99
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "DELETE")
_BEFORE_PATH = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)?/*(?=/)|^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


@dataclass(slots=True, kw_only=True)
class Head:
    """What one head says, by the configuration that was in force when it came.

    `fault` is why no call may have such a head, which a caller learns who may call at all; `page_fault` why none may
    that a browser could have sent; `session_fault` why none may of such a session. `upgrade` says that it is a
    WebSocket handshake, `asks` that what follows can make a model work, `model` is the one that a handshake names.
    `tokens` are the keys shown; `scope` tells those apart who show different ones, without being a key; "" for those
    that show none. `session` is the one that it names; None where the body may. `timer` is after how many seconds of
    silence the client gives up; None where it does not say. `retries` is how often an official SDK has retried this
    call by itself.
    """

    target: Target
    operation: Operation
    fault: CallRefused | None
    page_fault: NotAllowed | None
    upgrade: bool
    asks: bool
    model: str | None
    tokens: tuple[str, ...]
    scope: str
    controls: Controls
    session: SessionRef | None
    session_fault: BadHeader | None
    timer: float | None
    retries: int
    content_type: str
    content_encoding: str
    made: Memo[tuple[object, ...], tuple[Upstream, Key, Outbound]] = field(
        default_factory=lambda: Memo(_VARIANTS), compare=False
    )
    """What was sent upstream of calls with this head, by whatever else it depends on (`web/sender.py`)."""


class Heads:
    """Remembers heads as long as the configuration stays in force by which they were read."""

    def __init__(self, in_force: InForce) -> None:
        self._in_force = in_force
        self._config = in_force.config
        self._passing = _passing(in_force.config)
        self._known: Memo[tuple[object, ...], Head] = Memo(_REMEMBERED)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._known)

    def of(self, request: web.BaseRequest) -> Head:
        """What the head of this request says."""
        in_force = self._in_force
        if in_force.config is not self._config:
            self._config, self._passing = in_force.config, _passing(in_force.config)
            self._known.clear()
        lines = [line for line in request.raw_headers if line[0] not in _LENGTH]
        head = self._known.get((request.method, request.raw_path, *lines))
        if head is None:
            steady = [line for line in lines if line[0].lower() not in self._passing]
            head = self._without(request, steady)
            if len(steady) != len(lines):
                head = replace(head, made=Memo(_VARIANTS))  # what is sent upstream has the other lines as well
        return head

    def _without(self, request: web.BaseRequest, lines: list[tuple[bytes, bytes]]) -> Head:
        """What the head says by these of its lines, on which alone it depends."""
        seen = (request.method, request.raw_path, *lines)
        head = self._known.get(seen)
        if head is None:
            head = read_head(request, self._in_force.routing.names, self._config)
            size = len(request.raw_path) + sum(len(name) + len(value) for name, value in lines)
            faults = (head.fault, head.page_fault, head.session_fault)
            if faults == (None, None, None) and size <= _LONGEST:
                self._known.keep(seen, head)
        return head


def read_head(request: web.BaseRequest, upstreams: frozenset[str], config: Config) -> Head:
    """What the head of this request says. `upstreams` are the configured names in lower case."""
    headers, upgrade = request.headers, is_handshake(request)
    fault: CallRefused | None = None
    target, controls = Target(path_of(request)), Controls()
    try:
        target = parse_target(target.path, upstreams)
        check_coding(request)
        controls = read_controls(headers)
    except CallRefused as error:
        fault = error
    session, session_fault = None, None
    try:
        known, longest = config.sessions.headers, config.sessions.max_id_length
        session = session_in_head(target.session, headers, known_headers=known, max_length=longest)
    except BadHeader as error:
        session_fault = error
    shown = shown_key(request)
    return Head(
        target=target,
        operation=operation_of(request.method, target.path, upgrade=upgrade),
        fault=fault,
        page_fault=page_fault(headers, config),
        upgrade=upgrade,
        asks=upgrade or request.method not in _SAFE_METHODS,
        model=request.query.get("model") or None if upgrade else None,
        tokens=shown_tokens(request, in_query=True),
        scope=blake2b(shown.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest() if shown else "",
        controls=controls,
        session=session,
        session_fault=session_fault,
        timer=stated_timer(headers),
        retries=_retry_count(headers.get("x-stainless-retry-count")),
        content_type=headers.get("Content-Type", ""),
        content_encoding=headers.get("Content-Encoding", ""),
    )


def _passing(config: Config) -> frozenset[bytes]:
    """The headers that only pass."""
    return _NEW_WITH_EACH - {name.lower().encode() for name in config.sessions.headers}


def path_of(request: web.BaseRequest) -> str:
    """The raw path, without the query. A target in absolute form counts as its path (RFC 9112 §3.2.2), several slashes
    at its beginning as one: a base URL with a slash at its end."""
    return _BEFORE_PATH.sub("", request.raw_path).partition("?")[0] or "/"


def is_handshake(request: web.BaseRequest) -> bool:
    """Whether a client asks for a WebSocket (RFC 6455 §4.1)."""
    return (
        request.method == "GET"
        and request.headers.get("Upgrade", "").lower() == "websocket"
        and "upgrade" in named_in_connection(request.headers)
    )


def check_coding(request: web.BaseRequest) -> None:
    """Raises BadHeader for a transfer coding that llmqd would have to undo and the upstream could not."""
    coding = ", ".join(request.headers.getall("Transfer-Encoding", ()))
    if coding and coding.strip().lower() != "chunked":
        raise BadHeader(f"Transfer-Encoding: {coding!r} is not understood; only chunked is")


def _retry_count(value: str | None) -> int:
    return min(int(value), _MAX_RETRY_COUNT) if value is not None and value.isascii() and value.isdigit() else 0
