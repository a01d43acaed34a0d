"""Sends a call that has its turn and passes the answer on: every byte as it comes, while a copy is read."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from llmqd.call import Call, Outcome, Record, Status
from llmqd.errors import CallRefused, UpstreamUnreachable
from llmqd.providers.operations import Operation
from llmqd.routing import Target, upstream_url
from llmqd.tap.include_usage import UsageStrip, add_include_usage
from llmqd.tap.tap import Tap
from llmqd.web.body import Body, Facts, Passing
from llmqd.web.headers import request_headers, response_headers, websocket_headers, without_key
from llmqd.web.refusal import refusal
from llmqd.web.tunnel import tunnel

if TYPE_CHECKING:
    from llmqd.config.model import Upstream
    from llmqd.lane.lane import Lane
    from llmqd.recorder import Recorder
    from llmqd.upstream import UpstreamClient

logger = logging.getLogger(__name__)

_MAX_EDITED = 32 * 1024 * 1024
"""Bodies larger than this are not edited to ask for usage; no provider takes larger chat requests."""


@dataclass(slots=True)
class Passage:
    """One call under way, with all that its way needs."""

    request: web.Request
    call: Call
    upstream: Upstream
    lane: Lane
    target: Target
    operation: Operation
    facts: Facts
    body: Body
    passing: Passing | None = None
    queued_ms: float | None = None
    upgrade: bool = False
    """Whether this is a WebSocket handshake."""


class PassedResponse(web.StreamResponse):
    """An upstream's answer on its way to the client: nothing is added that the upstream did not send."""

    def __init__(self, *, status: int, reason: str | None, headers: CIMultiDict[str]) -> None:
        super().__init__(status=status, reason=reason, headers=headers)
        self._absent = tuple(name for name in ("Content-Type", "Server") if name not in headers)

    def restore_headers(self) -> None:
        """Takes out the headers that aiohttp adds by default and the upstream did not send."""
        for name in self._absent:
            self.headers.popall(name, None)


class Relay:
    """Forwards calls and closes their records. Holds nothing of a call beyond its end."""

    def __init__(self, client: UpstreamClient, recorder: Recorder) -> None:
        self._client = client
        self._recorder = recorder
        self._stopping = False

    def stop(self) -> None:
        """A call that is cancelled from now on was interrupted by the shutdown, not by its client."""
        self._stopping = True

    async def forward(self, passage: Passage) -> web.StreamResponse:
        """Sends the call and relays the answer; an upstream that can't be reached becomes an answer of llmqd's own."""
        call = passage.call
        record = Record(call, Outcome(lane=passage.lane.name, queued_ms=passage.queued_ms))
        provider = passage.upstream.price_provider
        self._recorder.open(record)
        try:
            return await self._forward(passage, record)
        except CallRefused as error:
            record.outcome.error, record.outcome.http_status = error.code, error.status
            self._recorder.close(record, "failed", None, provider=provider)
            return refusal(error, call.dialect, call_headers(passage))
        except asyncio.CancelledError:
            self._recorder.close(record, self._left(), None, provider=provider)
            raise
        except BaseException:
            # Whatever it was, a record that was opened is closed; a second close is ignored.
            record.outcome.error = record.outcome.error or "internal_error"
            self._recorder.close(record, "failed", None, provider=provider)
            raise

    async def _forward(self, passage: Passage, record: Record) -> web.StreamResponse:
        answer, strips = await self._send(passage)
        try:
            passage.body.release()
            if answer.status == 101 and not passage.upgrade:
                raise UpstreamUnreachable(f"Proxy error: {passage.upstream.name} switched protocols unasked")
            record.outcome.http_status = answer.status
            if answer.status == 101:
                return await self._upgrade(passage, record, answer)
            return await _Answer(passage, record, answer, self._recorder, strips).relay(self._left)
        finally:
            answer.close()

    async def _send(self, passage: Passage) -> tuple[aiohttp.ClientResponse, bool]:
        """The upstream's answer, and whether a usage chunk was asked for on the client's behalf."""
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
                upgrade=passage.upgrade,
                replayable=passage.passing is None,
            )
        except CallRefused:
            if passage.passing is not None and passage.passing.too_large is not None:
                raise passage.passing.too_large from None
            raise
        return answer, edited is not None

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

    async def _upgrade(self, passage: Passage, record: Record, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = response_headers(answer.headers, answer.raw_headers)
        headers.update(call_headers(passage))
        outcome = record.outcome
        outcome.first_byte_ms = self._recorder.since(passage.call)

        def received(count: int) -> None:
            outcome.response_bytes += count

        try:
            return await tunnel(passage.request, answer, headers, received=received)
        finally:
            # A WebSocket ends when one side leaves it: that is no failure, whichever side it was.
            status: Status = "interrupted" if self._stopping else "done"
            self._recorder.close(record, status, None, provider=passage.upstream.price_provider)

    def _left(self) -> Status:
        return "interrupted" if self._stopping else "cancelled"


class _Answer:
    """One answer on its way through, and the closing of its record before the client has the last byte."""

    def __init__(
        self, passage: Passage, record: Record, answer: aiohttp.ClientResponse, recorder: Recorder, strips: bool
    ) -> None:
        self._passage = passage
        self._record = record
        self._answer = answer
        self._recorder = recorder
        content_type = answer.headers.get("Content-Type", "")
        good = 200 <= answer.status < 300
        self._tap: Tap | None = None
        if good and passage.operation.queued:
            self._tap = Tap(
                dialect=passage.call.dialect,
                content_type=content_type,
                content_encoding=answer.headers.get("Content-Encoding", ""),
                request_bytes=passage.call.request_bytes,
            )
        self._strip = UsageStrip() if strips and good and content_type.lower().startswith("text/event-stream") else None
        # Without a length only the way the connection ends says whether the answer is whole.
        framed = "Content-Length" in answer.headers or "Transfer-Encoding" in answer.headers
        self._wire = None if framed or answer.connection is None else answer.connection.protocol

    async def relay(self, left: Callable[[], Status]) -> web.StreamResponse:
        """Passes everything on. `left` says what it means when this task is cancelled."""
        answer = self._answer
        headers = response_headers(answer.headers, answer.raw_headers)
        headers.update(call_headers(self._passage))
        if self._strip is not None:
            headers.popall("Content-Length", None)
        response = PassedResponse(status=answer.status, reason=answer.reason, headers=headers)
        try:
            await response.prepare(self._passage.request)
            if not await self._pass(response):
                self._close("cut", complete=False)
                self._cut(response)
                return response
            await self._finish()
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            self._close(left(), complete=False)
            raise
        except BaseException:
            self._record.outcome.error = "internal_error"
            self._close("failed", complete=False)
            raise
        return response

    async def _pass(self, response: web.StreamResponse) -> bool:
        """Every chunk as it comes; False when the upstream broke off."""
        content, tap, strip, outcome = self._answer.content, self._tap, self._strip, self._record.outcome
        while True:
            try:
                chunk = await content.readany()
                if not chunk and self._wire is not None and isinstance(reset := self._wire.exception(), OSError):
                    raise reset
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                outcome.error = "upstream_cut"
                logger.warning(
                    "%s broke off its answer: %s",
                    self._passage.upstream.name,
                    str(error) or type(error).__name__,
                    extra={"fields": {"request_id": self._passage.call.id}},
                )
                return False
            if not chunk:
                break
            if outcome.first_byte_ms is None:
                outcome.first_byte_ms = self._recorder.since(self._passage.call)
            outcome.response_bytes += len(chunk)
            if tap is not None:
                tap.feed(chunk)
            if strip is not None:
                chunk = strip.feed(chunk)
            if content.at_eof() or (tap is not None and tap.finished):
                await self._finish()
            if chunk:
                await response.write(chunk)
        if strip is not None and (rest := strip.flush()):
            await self._finish()
            await response.write(rest)
        return True

    async def _finish(self) -> None:
        """The record stands in the journal before the client has the last byte of a complete answer."""
        if self._record.outcome.status == "running":
            self._close("done", complete=True)
            await self._recorder.durable()

    def _close(self, status: Status, *, complete: bool) -> None:
        if self._record.outcome.status != "running":
            return
        reading = self._tap.close(complete=complete) if self._tap is not None else None
        self._recorder.close(self._record, status, reading, provider=self._passage.upstream.price_provider)

    def _cut(self, response: web.StreamResponse) -> None:
        """Ends the client's connection without the end of the body, so that it can't take the answer for whole."""
        transport = self._passage.request.transport
        if transport is None:
            return
        if self._passage.request.version < HttpVersion11 and response.content_length is None:
            # There a clean close would be the end of the body: the connection is reset instead.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()


def call_headers(passage: Passage, *, attempts: int = 1) -> dict[str, str]:
    """What llmqd says about a call in every answer to it."""
    call = passage.call
    headers = {
        "X-LLMQD-Request-Id": call.id,
        "X-LLMQD-Session-Source": call.session.source,
        "X-LLMQD-Upstream": call.upstream,
        "X-LLMQD-Queued-Ms": str(round(passage.queued_ms or 0)),
        "X-LLMQD-Attempts": str(attempts),
    }
    if call.session.id is not None:
        headers["X-LLMQD-Session-Id"] = quote(call.session.id, safe=_HEADER_SAFE)
    return headers


_HEADER_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
"""What may stand in a header as it is; the rest of a session id is percent-encoded."""
