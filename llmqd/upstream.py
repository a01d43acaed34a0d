"""The way to all upstreams: sends a call and hands back the answer as it comes."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Self

import aiohttp
import msgspec
from aiohttp.connector import AddrInfoType
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from llmqd.errors import StaleConnection, UpstreamTimeout, UpstreamUnreachable
from llmqd.exchange import Exchange, exchange
from llmqd.pool import Pool
from llmqd.wire import WireConnector

if TYPE_CHECKING:
    from llmqd.config.model import Upstream
    from llmqd.outbound import Outbound

# aiohttp adds these by itself where the client sent none; a proxy adds nothing.
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_KEEP_ALIVE_AFTER, _KEEP_ALIVE_EVERY = 30, 30
"""Seconds of silence after which TCP asks whether the upstream still lives: reasoning models are silent for minutes,
and middleboxes forget a connection after a few (AWS NAT: 350 s)."""


_STALE_WITHIN = 2.0
"""Seconds within which a kept connection that the upstream has closed meanwhile shows it. What ends later was a call
under way, which may have been charged for."""


_FILES = 100
"""Descriptors for the journal, the database and whatever else is open."""

_CONTROL = bytes(code for code in (*range(32), 127) if code != 9)
"""What no header may hold (RFC 9110 section 5.5): aiohttp reads it in an answer, but would not write it to a client."""

Answer = Exchange | aiohttp.ClientResponse
"""What comes back: an exchange, or a client session's response for calls of the kinds that are rare."""


class _Attempt(msgspec.Struct):
    """One sending of a call."""

    poised: Callable[[], Awaitable[object]] | None
    """Awaited when the request could be written."""
    leaves: Callable[[], object] | None
    """Told when the request is written: its headers wait for the first piece of its body."""
    reused: bool = False
    """Whether it went over a connection that had carried another call before."""

    def left(self) -> None:
        """The request leaves now; what follows of it does not count."""
        if self.leaves is not None:
            self.leaves()
            self.leaves = None


class UpstreamClient:
    """Owns the connections to all upstreams. An async context manager: leaving it closes them."""

    def __init__(self, *, max_header: int, proxy_from_environment: bool) -> None:
        self._max_header = max_header
        self._proxy_from_environment = proxy_from_environment
        self._contexts: dict[Path, ssl.SSLContext] = {}

    async def send(
        self,
        upstream: Upstream,
        request: Outbound,
        content: bytes | AsyncIterable[bytes] | None,
        *,
        poised: Callable[[], Awaitable[object]] | None = None,
        leaves: Callable[[], object] | None = None,
        upgrade: bool = False,
    ) -> Answer:
        """Sends one call and returns the answer once its headers are there; its bytes are still to come, undecoded.

        `poised` is awaited when the request could be written, which is later than now where a connection has to be made
        first, and `leaves` called when it is; for one without a body that goes through the client session when it is
        answered. The caller must close the response. Raises StaleConnection, UpstreamUnreachable or UpstreamTimeout
        when no answer came.
        """
        loop = asyncio.get_running_loop()
        began, attempt = loop.time(), _Attempt(poised, leaves)
        try:
            if not self._proxy_from_environment and not upgrade and (content is None or isinstance(content, bytes)):
                answer: Answer = await self._exchange(upstream, request, content, attempt)
            else:
                answer = await self._request(upstream, request, content, upgrade, attempt)
        except aiohttp.ConnectionTimeoutError as error:
            raise UpstreamUnreachable(f"Proxy error: no answer from {upstream.name}: {_cause(error)}") from error
        except (aiohttp.ServerTimeoutError, TimeoutError) as error:
            raise UpstreamTimeout(f"Proxy error: {upstream.name} did not answer in time: {_cause(error)}") from error
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            stale = attempt.reused and _stale(error) and loop.time() - began < _STALE_WITHIN
            kind = StaleConnection if stale else UpstreamUnreachable
            raise kind(f"Proxy error: no answer from {upstream.name}: {_cause(error)}") from error
        attempt.left()
        if _holds_control(answer):
            answer.close()
            raise UpstreamUnreachable(
                f"Proxy error: no answer from {upstream.name}: what it sent is not valid HTTP: a control character"
            )
        return answer

    async def _exchange(
        self,
        upstream: Upstream,
        request: Outbound,
        body: bytes | None,
        attempt: _Attempt,
    ) -> Exchange:
        origin = self._pool.origin(request.base, self._context(upstream))
        try:
            connection, attempt.reused = await origin.lease(_timeout(upstream.connect_timeout))
        except TimeoutError as error:  # aiohttp's session calls it so as well
            raise aiohttp.ConnectionTimeoutError from error
        return await exchange(
            origin,
            connection,
            request,
            body,
            poised=attempt.poised,
            left=attempt.left,
            silence=upstream.timeout,
            max_header=self._max_header,
        )

    async def _request(
        self,
        upstream: Upstream,
        request: Outbound,
        content: bytes | AsyncIterable[bytes] | None,
        upgrade: bool,
        attempt: _Attempt,
    ) -> aiohttp.ClientResponse:
        if attempt.poised is not None:
            await attempt.poised()  # what the session does from here on only makes it later
        return await self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=request.headers,
            data=content,
            allow_redirects=False,
            ssl=self._context(upstream),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=upstream.connect_timeout or None, sock_read=upstream.timeout or None
            ),
            read_until_eof=not upgrade,
            trace_request_ctx=attempt,
        )

    async def __aenter__(self) -> Self:
        connector = WireConnector(limit=0, ttl_dns_cache=60, socket_factory=_keep_alive_socket)
        self._pool = Pool(connector, most=_most_connections)
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_reused)
        trace.on_request_chunk_sent.append(_written)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NOT_ADDED,
            max_line_size=self._max_header,
            max_field_size=self._max_header,
            trust_env=self._proxy_from_environment,
            trace_configs=[trace],
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
        await self._session.close()
        await asyncio.sleep(0)  # lets the closed transports say goodbye before the loop ends

    def forget_certificates(self) -> None:
        """Reads every `ca_file` anew for the connections that are made from now on."""
        self._contexts.clear()
        self._pool.forget()

    def _context(self, upstream: Upstream) -> ssl.SSLContext | bool:
        if upstream.ca_file is None:
            return True
        if upstream.ca_file not in self._contexts:
            self._contexts[upstream.ca_file] = ssl.create_default_context(cafile=upstream.ca_file)
        return self._contexts[upstream.ca_file]


async def _reused(_: aiohttp.ClientSession, trace: SimpleNamespace, __: aiohttp.TraceConnectionReuseconnParams) -> None:
    attempt: _Attempt = trace.trace_request_ctx
    attempt.reused = True


async def _written(_: aiohttp.ClientSession, trace: SimpleNamespace, __: aiohttp.TraceRequestChunkSentParams) -> None:
    attempt: _Attempt = trace.trace_request_ctx
    attempt.left()


def _most_connections() -> int:
    """Of the descriptors that the process may have, half are for clients (`web/patience.py`), some for files."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(limit // 2 - _FILES, 1)


@lru_cache(maxsize=64)
def _timeout(connect: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect or None)


def _stale(error: Exception) -> bool:
    """Whether a connection ended as one does that was closed before the call came: without a byte of an answer."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # else it is the part of the headers that has come
    return isinstance(error, aiohttp.ClientOSError) and not isinstance(error, aiohttp.ClientConnectorError)


def _holds_control(answer: Answer) -> bool:
    head = b"".join(chain.from_iterable(answer.raw_headers)) + (answer.reason or "").encode("utf-8", "replace")
    return len(head.translate(None, _CONTROL)) != len(head)


def _cause(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        return f"what it sent is not valid HTTP: {error.message.partition(':')[0]}"
    if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
        return "it broke off in the middle of its headers"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection came about"
    if isinstance(error, aiohttp.ClientOSError) and not isinstance(error, aiohttp.ClientConnectorError):
        return os.strerror(error.errno) if error.errno else "the connection broke"
    return str(error) or type(error).__name__


def _keep_alive_socket(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_AFTER)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEP_ALIVE_EVERY)
    return made
