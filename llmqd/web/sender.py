"""Sends a call upstream: its URL, its headers with the upstream's key, and its body as it came."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from typing import TYPE_CHECKING, NamedTuple

import aiohttp

from llmqd.errors import CallRefused, UpstreamUnreachable
from llmqd.routing import upstream_url
from llmqd.tap.include_usage import add_include_usage
from llmqd.web.headers import request_headers, websocket_headers, without_key

if TYPE_CHECKING:
    from llmqd.upstream import UpstreamClient
    from llmqd.web.passage import Passage

_MAX_EDITED = 32 * 1024 * 1024
"""Bodies larger than this are not edited to ask for usage; no provider takes larger chat requests."""


class Sent(NamedTuple):
    """An upstream's answer whose headers are there; `strips`: a usage chunk was asked for on the client's behalf."""

    answer: aiohttp.ClientResponse
    strips: bool


class Sender:
    """Turns a passage into a request to its upstream."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    async def send(self, passage: Passage, leaves: Callable[[], object] | None = None) -> Sent:
        """Sends the call, telling `leaves` when its request really goes; the caller must close the answer.

        Raises StaleConnection, UpstreamUnreachable, UpstreamTimeout, or BodyTooLarge for a body that turned out so
        while it passed.
        """
        request, upstream, key = passage.request, passage.upstream, passage.lane.key
        query = request.raw_path.partition("?")[2]
        if key.api_key is not None and upstream.dialect == "gemini":
            query = without_key(query)
        url = upstream_url(upstream, passage.target, passage.operation, query)
        headers = request_headers(request.headers, request.raw_headers, upstream, key, url)
        edited = self._asking_for_usage(passage)
        content: bytes | AsyncIterable[bytes] | None
        if passage.passing is not None:
            content = passage.passing
            if request.content_length is not None:
                headers["Content-Length"] = str(request.content_length)
        elif edited is not None:
            content = edited
            headers["Accept-Encoding"] = "identity"  # a chunk can only be taken out of plain text
        else:
            content = passage.body.content
            if passage.body.spool is not None:
                headers["Content-Length"] = str(passage.body.size)
        if passage.upgrade:
            websocket_headers(headers, replaces_key=key.api_key is not None)
        try:
            answer = await self._client.send(
                upstream,
                request.method,
                url,
                headers,
                content,
                leaves=leaves,
                upgrade=passage.upgrade,
            )
        except CallRefused:
            if passage.passing is not None and passage.passing.too_large is not None:
                raise passage.passing.too_large from None
            raise
        if answer.status == 101 and not passage.upgrade:
            answer.close()
            raise UpstreamUnreachable(f"Proxy error: {upstream.name} switched protocols unasked")
        return Sent(answer, edited is not None)

    def _asking_for_usage(self, passage: Passage) -> bytes | None:
        """The body with `stream_options.include_usage` where the client did not ask for usage, else None."""
        if (
            not passage.facts.stream
            or passage.call.dialect != "openai"
            or passage.operation.name not in ("chat", "completion")
            or not passage.upstream.adds_usage
            or passage.request.headers.get("Content-Encoding")
            or passage.body.size > _MAX_EDITED
        ):
            return None
        with passage.body.view() as data:
            return add_include_usage(bytes(data))
