"""Passes an upstream's answer on: every byte as it comes, while a copy is read and the record is closed in time."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import HttpVersion11, web

from llmqd.call import Record, Status
from llmqd.exchange import pour
from llmqd.providers import bedrock
from llmqd.tap.include_usage import UsageStrip
from llmqd.tap.tap import Tap
from llmqd.web.headers import response_headers
from llmqd.web.late_answer import Edit, late_code, late_edits, media_type
from llmqd.web.passed import Outlet, PassedResponse
from llmqd.web.sender import Sent
from llmqd.web.tunnel import tunnel

if TYPE_CHECKING:
    from llmqd.conversations import Conversations
    from llmqd.recorder import Recorder
    from llmqd.upstream import Answer
    from llmqd.web.disconnects import Disconnects
    from llmqd.web.passage import Passage

logger = logging.getLogger(__name__)


class Relay:
    """Passes answers on and closes their records. Holds nothing of a call beyond its end."""

    def __init__(self, recorder: Recorder, conversations: Conversations, disconnects: Disconnects) -> None:
        self._recorder = recorder
        self._conversations = conversations
        self._disconnects = disconnects

    async def deliver(
        self, passage: Passage, record: Record, sent: Sent, begun: bytes, extra: Mapping[str, str]
    ) -> web.StreamResponse:
        """Relays an answer to its end. `begun` is what was read of its body already, `extra` are headers to add."""
        passage.body.release()
        record.outcome.http_status = sent.answer.status
        if sent.answer.status == 101:
            return await self._upgrade(passage, record, sent.answer)
        early = passage.heartbeat.stop()
        answer = _Answer(passage, record, sent, begun, self._recorder, self._conversations, early)
        return await answer.relay(self._disconnects, extra)

    async def _upgrade(self, passage: Passage, record: Record, answer: Answer) -> web.StreamResponse:
        headers = response_headers(answer.headers, answer.raw_headers)
        headers.update(passage.headers())
        outcome = record.outcome
        outcome.first_byte_ms = self._recorder.since(passage.call)

        def received(count: int) -> None:
            outcome.response_bytes += count

        try:
            return await tunnel(passage.request, answer, headers, received=received)
        finally:
            # A WebSocket ends when one side leaves it: that is no failure, whichever side it was.
            status: Status = "interrupted" if self._disconnects.stopping else "done"
            self._recorder.close(record, status, None, provider=passage.upstream.price_provider)


class _Answer:
    """One answer on its way through, and the closing of its record before the client has the last byte."""

    def __init__(
        self,
        passage: Passage,
        record: Record,
        sent: Sent,
        begun: bytes,
        recorder: Recorder,
        conversations: Conversations,
        early: web.StreamResponse | None,
    ) -> None:
        self._passage = passage
        self._record = record
        self._gathered = passage.gathered
        answer = self._answer = sent.answer
        self._begun = begun
        self._kept: bytes | None = None
        """What may only leave once the record is closed."""
        self._gone: ConnectionError | None = None
        """How it was noticed that the client has left, while nobody waited for that."""
        self._recorder = recorder
        self._conversations = conversations
        content_type = answer.headers.get("Content-Type", "")
        good = 200 <= answer.status < 300
        self._tap: Tap | None = None
        if good and passage.operation.queued:
            self._tap = Tap(
                dialect=passage.call.dialect,
                content_type=content_type,
                content_encoding=answer.headers.get("Content-Encoding", ""),
                request_bytes=passage.call.request_bytes,
                capture_max=conversations.capture_max if passage.conversation is not None else 0,
            )
        events = good and content_type.lower().startswith("text/event-stream")
        self._early = early
        self._edits = self._late_edits() if early is not None else []
        if events and sent.strips:
            self._edits.append(UsageStrip())
        # Without a length only the way the connection ends says whether the answer is whole.
        framed = "Content-Length" in answer.headers or "Transfer-Encoding" in answer.headers
        self._wire = None if framed or answer.connection is None else answer.connection.protocol

    async def relay(self, disconnects: Disconnects, extra: Mapping[str, str]) -> web.StreamResponse:
        """Passes everything on; `disconnects` knows what happens when the client leaves."""
        passed = None if self._early is not None else self._passed(extra)
        response = passed or self._early
        assert response is not None
        try:
            if self._passage.finish_by is not None:
                raise ConnectionResetError("the client has left")
            await response.prepare(self._passage.request)
            out = Outlet(self._passage.request, chunked=True) if passed is None else passed.outlet
            self._begun = self._begun or self._there()
            if not (self._begun or self._answer.content.at_eof()):
                out.send_head()  # its body is still to come
            if not await self._pass(response, out):
                self._close("cut", complete=False)
                self._cut(response)
                return response
            await self._finish()
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            await self._left(disconnects)
            raise
        except BaseException:
            self._record.outcome.error = "internal_error"
            self._close("failed", complete=False)
            raise
        return response

    def _passed(self, extra: Mapping[str, str]) -> PassedResponse:
        answer = self._answer
        headers = response_headers(answer.headers, answer.raw_headers)
        headers.update(self._passage.headers())
        headers.update(extra)
        if self._edits:
            headers.popall("Content-Length", None)
        return PassedResponse(status=answer.status, reason=answer.reason, headers=headers)

    def _late_edits(self) -> list[Edit]:
        """What makes this answer fit behind a head that is out already."""
        passage, answer = self._passage, self._answer
        form, call = passage.heartbeat.form, passage.call
        assert form is not None
        self._record.outcome.error = late_code(answer.status, media_type(answer.headers), form, call)
        return late_edits(call, passage.upstream.name, answer.status, answer.headers, form)

    def _there(self) -> bytes:
        """What of the body has come together with the head."""
        try:
            return self._answer.content.read_nowait()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return b""  # the next read says so again

    async def _pass(self, response: web.StreamResponse, out: Outlet) -> bool:
        """Every chunk as it comes; False when the upstream broke off."""
        content, take, more = self._answer.content, partial(self._take, out), True
        while more:
            try:
                if self._begun:
                    begun, self._begun = self._begun, b""
                    take(begun)
                else:
                    more = await pour(content, take)
                if not more and self._wire is not None and isinstance(reset := self._wire.exception(), OSError):
                    raise reset
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self._record.outcome.error = "upstream_cut"
                logger.warning(
                    "%s broke off its answer: %s",
                    self._passage.upstream.name,
                    str(error) or type(error).__name__,
                    extra={"fields": {"request_id": self._passage.call.id}},
                )
                return False
            if self._gone is not None:
                raise self._gone
            if (kept := self._kept) is not None:
                self._kept = None
                await self._finish()
                if kept and content.at_eof() and not self._edits and self._wire is None:
                    await response.write_eof(kept)  # the end leaves with the last bytes
                    return True
                self._write(out, kept)
            if out.full:
                await out.drain()
        rest = b""
        for edit in self._edits:
            rest = edit.feed(rest) + edit.flush()
        if rest:
            await self._finish()
            self._write(out, rest)
        return True

    def _take(self, out: Outlet, chunk: bytes) -> bool:
        """Takes the next bytes, which leave at once, but for the last. Whether something has to be awaited now."""
        tap, outcome = self._tap, self._record.outcome
        if outcome.first_byte_ms is None:
            outcome.first_byte_ms = self._recorder.since(self._passage.call)
        outcome.response_bytes += len(chunk)
        if tap is not None:
            tap.feed(chunk)
        if self._gathered is not None:
            self._gathered.add(chunk)
        for edit in self._edits:
            chunk = edit.feed(chunk)
        if self._answer.content.at_eof() or (tap is not None and tap.finished):
            self._kept = chunk
            return True
        try:
            self._write(out, chunk)
        except ConnectionError as error:
            self._gone = error  # that is the client's, no fault of what is read
            return True
        return out.full

    def _write(self, out: Outlet, chunk: bytes) -> None:
        if chunk:
            out.write(chunk)
        else:
            out.send_head()  # its first bytes are held back

    async def _left(self, disconnects: Disconnects) -> None:
        """The client has gone: the answer is over, or is read to its end for the record alone."""
        outcome = self._record.outcome
        if outcome.status != "running":
            return
        whole, left = False, disconnects.left(self._passage)
        if left == "cancelled":
            outcome.on_disconnect = "finish" if self._passage.finishes else "cancel"
        try:
            whole = await disconnects.finish(self._passage, self._drain)
        finally:
            self._close(left, complete=whole)

    async def _drain(self) -> bool:
        """Reads what is left of the answer for the tap alone; False when it broke off or is too long."""
        content, tap, outcome = self._answer.content, self._tap, self._record.outcome
        most = outcome.response_bytes + self._passage.upstream.finish_max
        try:
            while chunk := self._begun or await content.readany():
                self._begun = b""
                outcome.response_bytes += len(chunk)
                if self._gathered is not None:
                    self._gathered.add(chunk)
                if tap is not None:
                    tap.feed(chunk)
                    if tap.finished:
                        return True
                if outcome.response_bytes > most:
                    return False
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
        return not isinstance(self._wire.exception() if self._wire is not None else None, OSError)

    async def _finish(self) -> None:
        """The record stands in the journal before the client has the last byte of a complete answer."""
        if self._record.outcome.status == "running":
            self._close("done", complete=True)
            await self._recorder.durable()

    def _close(self, status: Status, *, complete: bool) -> None:
        if self._record.outcome.status != "running":
            return
        reading = self._tap.close(complete=complete) if self._tap is not None else None
        if reading is not None and (reading.usage is None or reading.usage.source != "exact"):
            reading.usage = bedrock.told_in(self._answer.headers) or reading.usage
        if (conversation := self._passage.leave_conversation()) is not None:
            captured = self._tap.captured() if self._tap is not None else None
            content_type = self._answer.headers.get("Content-Type", "")
            self._conversations.end(conversation, self._record, captured, content_type, complete=complete)
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
