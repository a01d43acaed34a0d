"""Gets a call answered: waits for its turns, sends it, and tries again where a wait or another upstream can help."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
import msgspec
from aiohttp import web

from llmqd.call import Attempt, Outcome, Record
from llmqd.errors import (
    CallRefused,
    DeadlineExceeded,
    QueueFull,
    StaleConnection,
    TooLargeForLimit,
    UpstreamUnreachable,
    WouldExceedDeadline,
)
from llmqd.lane.throttle import Demand
from llmqd.lane.turn import Turn
from llmqd.providers.limit_headers import read_limits
from llmqd.providers.refusals import Verdict, judge
from llmqd.routing import Hop
from llmqd.tap.decoding import decode_all
from llmqd.web.disconnects import has_left
from llmqd.web.late_answer import late_error
from llmqd.web.refusal import refusal

if TYPE_CHECKING:
    from llmqd.conversations import Conversations
    from llmqd.lane.lanes import Lanes
    from llmqd.recorder import Recorder
    from llmqd.web.disconnects import Disconnects
    from llmqd.web.passage import Passage
    from llmqd.web.relay import Relay
    from llmqd.web.sender import Sender, Sent

logger = logging.getLogger(__name__)

_JUDGED, _JUDGED_DECODED = 64 * 1024, 512 * 1024
"""Bytes of an error answer that are read before it is decided what it means, and as many when decoded."""
_JUDGED_WITHIN = 5.0
"""Seconds that the body of an error answer may take to come."""
_BACK_OFF, _LONGEST_BACK_OFF = 0.5, 8.0
"""Seconds before the first repetition after a failure, doubled with each: what official SDKs do."""

_LONGEST_REASON = 300
"""Characters of what an upstream said that are kept of an attempt."""

_MOST_REFUSALS, _MOST_UNEXPLAINED = 8, 4
"""How often one call may be refused for want of quota before it gets the refusal itself: an upstream that refuses it
even after the waits that it has asked for, or without ever naming one, would refuse it for ever."""


_WORTH_WAITING = 5.0
"""Seconds for which a call waits until its lane does not pause any more; it goes past a longer pause, where its route
has an upstream that does not pause."""

_NO_TURN = (QueueFull, WouldExceedDeadline, DeadlineExceeded, TooLargeForLimit)
"""How a lane refuses a turn; another upstream may have one."""


@dataclass(slots=True)
class _Failed:
    """An attempt that is to be repeated, and what the upstream said. `at_once`: it never got there."""

    verdict: Verdict
    at_once: bool = False
    status: int | None = None


class _Tries(msgspec.Struct):
    """How one call has fared with the upstream where it is tried now."""

    failures: int = 0
    refusals: int = 0
    stale: bool = False
    """Whether it has met a kept connection just as the upstream closed it."""

    def may_fail(self, retries: int) -> bool:
        """Whether it is sent again after a failure."""
        return self.failures < retries

    def may_wait(self, verdict: Verdict) -> bool:
        """Whether it waits for another turn after this refusal."""
        return self.refusals < (_MOST_UNEXPLAINED if verdict.wait is None else _MOST_REFUSALS) - 1


class Attempts:
    """Calls that have to be answered. `noise` gives 0 to 1, `wall` Unix time."""

    def __init__(
        self,
        lanes: Lanes,
        sender: Sender,
        relay: Relay,
        recorder: Recorder,
        conversations: Conversations,
        disconnects: Disconnects,
        *,
        wall: Callable[[], float],
        noise: Callable[[], float],
    ) -> None:
        self._lanes = lanes
        self._sender = sender
        self._relay = relay
        self._recorder = recorder
        self._conversations = conversations
        self._disconnects = disconnects
        self._wall = wall
        self._noise = noise

    def stop(self) -> None:
        """A call that is cancelled from now on was interrupted by the shutdown, not by its client."""
        self._disconnects.stop()

    async def at_once(self, passage: Passage, instead: Callable[[Passage, int], bytes | None]) -> web.StreamResponse:
        """A call that waits for no turn and is sent once. `instead` says by the upstream's status what JSON the client
        gets in place of that answer; None: the answer."""
        record = Record(passage.call, Outcome(lane=passage.lane.name))
        try:
            self._open(passage, record)
            try:
                sent = await self._sender.send(passage)
            except StaleConnection:
                if not passage.repeatable:
                    raise
                sent = await self._sender.send(passage)
            try:
                if (body := instead(passage, sent.answer.status)) is not None:
                    return self._said(passage, record, body)
                return await self._relay.deliver(passage, record, sent, b"", {})
            finally:
                sent.answer.close()
        except BaseException as error:
            return refusal(self._ended(passage, record, error), passage.call.dialect, passage.headers())

    def _said(self, passage: Passage, record: Record, body: bytes) -> web.Response:
        """Answers with JSON of llmqd's own in the upstream's place."""
        outcome = record.outcome
        outcome.http_status, outcome.response_bytes = 200, len(body)
        outcome.first_byte_ms = self._recorder.since(passage.call)
        self._recorder.close(record, "done", None, provider=passage.upstream.price_provider)
        return web.Response(body=body, content_type="application/json", headers=passage.headers())

    async def in_turn(self, passage: Passage, demand: Demand) -> web.StreamResponse:
        """A call that waits for its turn, as often as it takes."""
        record = Record(passage.call, Outcome(lane=passage.lane.name))
        try:
            if passage.heartbeat.form is not None:
                passage.heartbeat.start(
                    passage.request,
                    lambda: passage.headers(self._recorder.since(passage.call)),
                    waited=self._recorder.since(passage.call) / 1000,
                )
            async with passage.admission(record):
                return await self._until_answered(passage, record, demand)
        except BaseException as error:
            return await self._refuse(passage, self._ended(passage, record, error))
        finally:
            passage.heartbeat.stop()

    async def _refuse(self, passage: Passage, error: CallRefused) -> web.StreamResponse:
        """Tells an error of llmqd's own, in the stream where that has begun."""
        early = passage.heartbeat.stop()
        if early is None:
            return refusal(error, passage.call.dialect, passage.headers())
        await early.write(late_error(passage.call, error.status, error.code, error.message))
        await early.write_eof()
        return early

    async def _until_answered(self, passage: Passage, record: Record, demand: Demand) -> web.StreamResponse:
        tries = _Tries()
        turn = Turn(passage.lane, passage.call, demand, passage.standing)
        past = len(passage.fallbacks)
        while True:
            if past and self._goes_past(passage, record):
                past -= 1
                turn = self._moved(passage, record, demand)
            began: float | None = None
            try:
                async with turn:
                    if turn.waited and passage.finish_by is None and has_left(passage.request):
                        raise ConnectionResetError("the client has left")
                    passage.still_allowed()
                    passage.heartbeat.hold()
                    began = self._recorder.since(passage.call)
                    if passage.queued_ms is None:
                        passage.queued_ms = record.outcome.queued_ms = began
                    self._open(passage, record)
                    result = await self._attempt(passage, record, turn, tries)
            except _NO_TURN as error:
                if not passage.fallbacks:
                    raise
                result = _Failed(Verdict(kind="permanent", reason=error.message))
            if not isinstance(result, _Failed):
                return result
            record.outcome.counted = False
            self._tried(passage, record, began, result)
            if passage.finish_by is not None:
                raise asyncio.CancelledError  # nobody is there who would want it to be tried again
            passage.heartbeat.release()
            if result.verdict.kind in ("wait", "slower") and tries.may_wait(result.verdict):
                tries.refusals += 1
                if (lane := self._lanes.pick(passage.upstream.name)) is not passage.lane and lane.paused is None:
                    turn = self._moved(passage, record, demand)
                continue
            if result.at_once:
                tries.stale = True
                continue
            if result.verdict.kind == "retry" and tries.may_fail(passage.upstream.retries):
                await asyncio.sleep(self._back_off(tries.failures, result.verdict.wait))
                tries.failures += 1
                continue
            passage.upstream, passage.call.sent_model = passage.fallbacks.pop(0)
            logger.warning("call %s goes on to %s: %s", passage.call.id, passage.upstream.name, result.verdict.reason)
            tries, turn = _Tries(), self._moved(passage, record, demand)

    def _goes_past(self, passage: Passage, record: Record) -> bool:
        """Whether the call goes on to an upstream of its route, as its own pauses for long and that one does not. The
        one that it goes past is tried when the others have failed."""
        lane, call = passage.lane, passage.call
        if call.no_queue or lane.pause_left(call.limited_as) <= _WORTH_WAITING:
            return False
        for number, hop in enumerate(passage.fallbacks):
            if self._lanes.pick(hop.upstream.name).pause_left(hop.model or call.model):
                continue
            failed = _Failed(Verdict(kind="wait", reason=f"lane {lane.name} pauses"))
            self._tried(passage, record, None, failed)
            passage.fallbacks[number] = Hop(passage.upstream, call.sent_model)
            passage.upstream, call.sent_model = hop
            passage.fallbacks.append(passage.fallbacks.pop(number))
            logger.info("call %s goes past the pause of lane %s to %s", call.id, lane.name, hop.upstream.name)
            return True
        return False

    async def _attempt(
        self, passage: Passage, record: Record, turn: Turn, tries: _Tries
    ) -> web.StreamResponse | _Failed:
        """Sends the call once; what may not be repeated is delivered whatever it is."""
        may_move, may_fail = bool(passage.fallbacks), tries.may_fail(passage.upstream.retries)
        try:
            poised = turn.poised if (metered := turn.metered) else None
            sending = self._sender.send(passage, poised, partial(self._leaves, record, turn, metered))
            sent = await (self._disconnects.outlast(passage, sending) if passage.finishes else sending)
        except UpstreamUnreachable as error:
            turn.failed()
            stale = isinstance(error, StaleConnection) and not tries.stale
            if passage.repeatable and (may_fail or may_move or stale):
                return _Failed(Verdict(kind="retry", reason=error.message), at_once=stale)
            raise
        except CallRefused:
            turn.failed()
            raise
        try:
            observed = read_limits(sent.answer.headers, passage.upstream.preset.name, self._wall())
            begun, verdict = b"", None
            if sent.answer.status >= 400:
                begun, verdict = await self._judged(passage, sent)
            if verdict is not None and verdict.kind in ("wait", "slower"):
                turn.refused(verdict, observed)
                if passage.repeatable and not passage.call.no_queue and (may_move or tries.may_wait(verdict)):
                    return _Failed(verdict, status=sent.answer.status)
            else:
                turn.answered(observed)
            if verdict is not None and verdict.kind in ("retry", "permanent"):
                turn.failed()
                if passage.repeatable and (may_move or (may_fail and verdict.kind == "retry")):
                    return _Failed(verdict, status=sent.answer.status)
            record.outcome.counted = turn.counted
            hopeless = {"x-should-retry": "false"} if verdict is not None and verdict.kind == "permanent" else {}
            try:
                return await self._relay.deliver(passage, record, sent, begun, hopeless)
            finally:
                turn.used(record.outcome.usage)
        finally:
            sent.answer.close()

    async def _judged(self, passage: Passage, sent: Sent) -> tuple[bytes, Verdict]:
        """What an error answer means, and as much of its body as was read to find out."""
        answer, pieces, size = sent.answer, list[bytes](), 0
        try:
            async with asyncio.timeout(_JUDGED_WITHIN):
                while size < _JUDGED and (piece := await answer.content.readany()):
                    pieces.append(piece)
                    size += len(piece)
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass  # the relay meets the same end and tells the client
        begun = b"".join(pieces)
        encoding = answer.headers.get("Content-Encoding", "")
        body = decode_all(begun, encoding, _JUDGED_DECODED) if encoding else begun
        preset = passage.upstream.preset.name
        return begun, judge(answer.status, answer.headers, body or b"", preset, self._wall())

    def _moved(self, passage: Passage, record: Record, demand: Demand) -> Turn:
        """A turn in the lane with the least to do of the upstream where the call is tried now."""
        passage.lane = self._lanes.pick(passage.upstream.name)
        passage.call.upstream = passage.upstream.name
        record.outcome.lane = passage.lane.name
        return Turn(passage.lane, passage.call, demand, passage.standing)

    def _leaves(self, record: Record, turn: Turn, metered: bool) -> None:
        """The request leaves now."""
        turn.sent()
        if metered:
            asyncio.get_running_loop().call_soon(turn.flushed)
        record.outcome.sent_ms, record.outcome.counted = self._recorder.since(record.call), True

    def _open(self, passage: Passage, record: Record) -> None:
        """An attempt begins."""
        passage.attempts += 1
        if passage.attempts == 1:
            self._recorder.open(record)
        record.outcome.attempts = passage.attempts

    def _tried(self, passage: Passage, record: Record, began: float | None, failed: _Failed) -> None:
        """Takes down an attempt after which the call is tried again."""
        attempt = Attempt(
            passage.upstream.name,
            passage.lane.name,
            failed.verdict.kind,
            failed.verdict.reason[:_LONGEST_REASON],
            began,
            self._recorder.since(passage.call),
            failed.status,
        )
        record.outcome.tried += (attempt,)

    def _back_off(self, failures: int, asked: float | None) -> float:
        """Seconds to stay away after a failure, with jitter so that calls that failed together do not return so."""
        wait: float = min(_BACK_OFF * 2**failures, _LONGEST_BACK_OFF) * (0.75 + 0.5 * self._noise())
        return max(wait, min(asked or 0.0, _LONGEST_BACK_OFF))

    def _ended(self, passage: Passage, record: Record, error: BaseException) -> CallRefused:
        """Closes the record of a call that got no answer from an upstream. Gives llmqd's own error, or raises on."""
        call, outcome = passage.call, record.outcome
        if (conversation := passage.leave_conversation()) is not None:
            self._conversations.end(conversation, record, None, "", complete=False)
        provider = passage.upstream.price_provider
        if isinstance(error, CallRefused):
            if not passage.attempts:
                self._recorder.refused(call, error, passage.lane.name)
                passage.queued_ms = self._recorder.since(call)
            else:
                outcome.error, outcome.http_status, outcome.counted = error.code, error.status, False
                failed = isinstance(error, UpstreamUnreachable) or error.status >= 500
                self._recorder.close(record, "failed" if failed else "refused", None, provider=provider)
            return error
        if isinstance(error, asyncio.CancelledError | ConnectionError):
            if not passage.attempts:
                self._recorder.abandoned(call, passage.lane.name)
            else:
                if (left := self._disconnects.left(passage)) == "cancelled" and outcome.status == "running":
                    outcome.on_disconnect = "finish" if passage.finishes else "cancel"
                self._recorder.close(record, left, None, provider=provider)
        elif passage.attempts:
            # Whatever it was, a record that was opened is closed; a second close is ignored.
            outcome.error = outcome.error or "internal_error"
            self._recorder.close(record, "failed", None, provider=provider)
        raise error
