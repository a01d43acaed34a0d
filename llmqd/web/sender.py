"""Sends a call upstream: its URL, its headers with the upstream's key, and its body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from llmqd.errors import CallRefused, UpstreamUnreachable
from llmqd.outbound import Outbound
from llmqd.providers.operations import query_with_model, with_model
from llmqd.routing import Target, upstream_url
from llmqd.web.headers import request_headers, websocket_headers, without_key
from llmqd.web.outgoing import Outgoing, outgoing

if TYPE_CHECKING:
    from llmqd.telemetry.telemetry import Telemetry
    from llmqd.upstream import Answer, UpstreamClient
    from llmqd.web.passage import Passage


class Sent(msgspec.Struct, frozen=True):
    """An upstream's answer whose headers are there; `strips`: a usage chunk was asked for on the client's behalf."""

    answer: Answer
    strips: bool


class Sender:
    """Turns a passage into a request to its upstream."""

    def __init__(self, client: UpstreamClient, telemetry: Telemetry) -> None:
        self._client = client
        self._telemetry = telemetry

    async def send(
        self,
        passage: Passage,
        poised: Callable[[], Awaitable[object]] | None = None,
        leaves: Callable[[], object] | None = None,
    ) -> Sent:
        """Sends the call, awaiting `poised` before its request goes and telling `leaves` when it does; the caller must
        close the answer.

        Raises StaleConnection, UpstreamUnreachable, UpstreamTimeout, or BodyTooLarge or RequestTimeout for a
        body that turned out so while it passed.
        """
        upstream, body = passage.upstream, outgoing(passage)
        try:
            answer = await self._client.send(
                upstream,
                self._request(passage, body),
                body.content,
                poised=poised,
                leaves=leaves,
                upgrade=passage.upgrade,
            )
        except CallRefused:
            if passage.passing is not None and passage.passing.refusal is not None:
                raise passage.passing.refusal from None
            raise
        if answer.status == 101 and not passage.upgrade:
            answer.close()
            raise UpstreamUnreachable(f"Proxy error: {upstream.name} switched protocols unasked")
        return Sent(answer, body.asks_usage)

    def _request(self, passage: Passage, body: Outgoing) -> Outbound:
        """The request for this body. Calls with the same head mostly make the same one, which is remembered with it."""
        plain = body.asks_usage or passage.heartbeat.begun
        if body.length is not None or passage.upgrade or self._telemetry.propagates:
            return self._made(passage, body, plain)
        upstream, key, made = passage.upstream, passage.lane.key, passage.head.made
        variant = (passage.lane.name, passage.call.sent_model, passage.caller.strips, body.decoded, plain)
        known = made.get(variant)
        if known is None or known[0] is not upstream or known[1] is not key:
            known = made.keep(variant, (upstream, key, self._made(passage, body, plain)))
        return known[2]

    def _made(self, passage: Passage, body: Outgoing, plain: bool) -> Outbound:
        request, upstream, key = passage.request, passage.upstream, passage.lane.key
        query = request.raw_path.partition("?")[2]
        strips = passage.caller.strips
        if strips or (key.api_key is not None and upstream.dialect == "gemini"):
            query = without_key(query)
        if passage.upgrade and passage.call.sent_model is not None:
            query = query_with_model(query, passage.call.sent_model)
        url = upstream_url(upstream, _target(passage), passage.operation, query)
        headers = request_headers(request.headers, request.raw_headers, upstream, key, url, strips=strips)
        self._telemetry.propagate(headers, passage.call.trace)
        if body.length is not None:
            headers["Content-Length"] = str(body.length)
        if body.decoded:
            headers.popall("Content-Encoding", None)
        if plain:
            # A chunk can only be taken out of plain text; and a client that has its headers already knows no encoding.
            headers["Accept-Encoding"] = "identity"
        if passage.upgrade:
            websocket_headers(headers, replaces_key=strips or key.api_key is not None)
        return Outbound(request.method, url, headers)


def _target(passage: Passage) -> Target:
    """Where the call goes, with the model in the path as this upstream calls it."""
    model = passage.call.sent_model
    if model is None or passage.operation.model is None:
        return passage.target
    return replace(passage.target, path=with_model(passage.target.path, model))
