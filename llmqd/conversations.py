"""Knows of each call which conversation it is part of and what is said in it, from its request to its answer's end."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from llmqd.call import SessionRef, new_call_id
from llmqd.detection.assignment import Question
from llmqd.errors import StoreError
from llmqd.guards.doing import doing_of
from llmqd.messages.answer import Answer, read_answer
from llmqd.messages.request import read_request
from llmqd.store.entries import Regrouped

if TYPE_CHECKING:
    from llmqd.call import Call, Record
    from llmqd.config.model import Config
    from llmqd.detection.assignment import Assignment, Evidence
    from llmqd.detection.detector import Detector
    from llmqd.guards.doing import Doing
    from llmqd.messages.transcript import Mark, Transcript
    from llmqd.store.ledger import Ledger
    from llmqd.store.transcripts import Transcripts
    from llmqd.tap.capture import Captured

logger = logging.getLogger(__name__)

_PATIENCE = 0.5
"""Seconds that a call at most waits for what the database knows of its history; then memory alone decides. On a busy
machine the answer takes a tenth of that, and what comes too late costs the call its session."""
_CAUGHT_UP = 1.5
"""Seconds that the start at most waits for the database to take what a killed daemon has left in the journal."""
_RECALLED = 200_000
"""Marks that are read at the start, at most: those of the conversations that were active last."""
_MERGED = 10_000
"""Merges that are read at the start, the latest."""
_SETTLE = 5.0
"""Seconds that a correction at most waits for the database to follow the journal."""


class Conversation(msgspec.Struct, eq=False, weakref=True):
    """What one call takes along until its answer: the session that it was given, what of its words is kept, and what
    it is about to do.
    """

    call: Call
    assignment: Assignment
    transcript: Transcript | None
    doing: Doing | None = None


class Conversations:
    """Owns detection and transcripts for the call path. `wall` is Unix time in seconds. `regrouped` hears when calls
    belong to other sessions than was thought.

    A fault in here costs a call its session or its words, never the call.
    """

    def __init__(
        self,
        config: Config,
        detector: Detector,
        transcripts: Transcripts,
        ledger: Ledger,
        *,
        wall: Callable[[], float],
        regrouped: Callable[[], object] = lambda: None,
    ) -> None:
        self._new_id = detector.new_id
        self._detector = detector
        self._transcripts = transcripts
        self._ledger = ledger
        self._wall = wall
        self._regrouped = regrouped
        self._tell: Callable[[Sequence[Mark]], object] = lambda _: None
        self._running: weakref.WeakSet[Conversation] = weakref.WeakSet()
        self._apply(config)

    def replace(self, config: Config) -> None:
        """Puts other settings in force."""
        self._detector.replace(config.sessions)
        self._apply(config)

    def _apply(self, config: Config) -> None:
        self.capture_max = config.store.capture_max
        """Bytes of an answer that have to be kept until its end."""
        self._media_max = config.store.media_max
        self._ttl = config.sessions.ttl

    def share(self, tell: Callable[[Sequence[Mark]], object]) -> None:
        """From now on this is told what is learned of sessions, for other daemons that they call through."""
        self._tell = tell

    def heard(self, evidence: Sequence[Evidence]) -> None:
        """Another daemon has learned this."""
        self._detector.heard(evidence, self._wall())

    async def recall(self) -> None:
        """Takes what the database knows of the conversations that were active last, before the first call."""
        await self._ledger.caught_up(_CAUGHT_UP)
        now = self._wall()
        try:
            for gone, kept in await self._ledger.merged_sessions(_MERGED):
                self._detector.merge(kept, gone, now)
            rows = await self._ledger.latest_marks(_RECALLED, now - self._ttl)
        except StoreError as error:
            logger.warning("conversations from before the start are not known yet: %s", error)
            return
        self._detector.recall(rows, now)

    async def begin(self, call: Call, fields: Mapping[str, Any], scope: str) -> Conversation | None:
        """Gives a call its session and takes down what its request says. `fields` is its JSON body.

        `scope` is whose call it is: conversations of different callers have nothing to do with each other.
        """
        try:
            said = read_request(call.dialect, call.operation, fields)
            traits = (call.model, call.client)
            question = Question(scope, said, call.session, call.client_retry, traits)
            assignment = await self._assign(question)
            if assignment.session is not None:
                call.session = SessionRef(assignment.session, assignment.source)
            transcript = self._transcripts.asked(call, said, assignment, self._wall())
            conversation = Conversation(call, assignment, transcript, doing_of(said))
            self._running.add(conversation)
            return conversation
        except Exception:
            logger.exception("the conversation of call %s could not be found", call.id)
            return None

    def end(
        self,
        conversation: Conversation,
        record: Record,
        captured: Captured | None,
        content_type: str,
        *,
        complete: bool,
    ) -> None:
        """A call has ended with what was `captured` of its answer, `complete` or not: its record gets its transcript.

        Must be called before the client has the last bytes: its next call may come at once.
        """
        call, answer = record.call, None
        try:
            if captured is not None and captured.body:
                answer = read_answer(
                    call.dialect,
                    call.operation,
                    content_type,
                    captured.body,
                    media_max=self._media_max,
                    plain=captured.plain,
                )
            self._learn(conversation, record, answer, complete=complete)
        except Exception:
            logger.exception("what call %s was answered could not be taken down", call.id)

    async def merge(self, session_id: str, others: Sequence[str]) -> None:
        """The calls of `others`, those that run or are yet to come too, belong to `session_id` from now on.

        Returns when the database has it, or soon after; the journal has it at once.
        """
        now, gone = self._wall(), frozenset(others)
        self._ledger.regrouped(Regrouped(tuple(others), session_id, now))
        for other in others:
            self._detector.merge(session_id, other, now)
        self._lead(session_id, lambda call: call.session.id in gone)
        await self._kept()

    async def split(self, session_id: str, request_id: str, since: float) -> str:
        """The call `request_id` of a session, received at `since` (Unix seconds), and all that have come to it after
        that belong to a new session, whose id this is. What is yet to come goes where its history is.

        Returns as `merge` does.
        """
        now = self._wall()
        new_id, until = self._new_id(), new_call_id(now + 0.001)[:10]
        self._ledger.regrouped(Regrouped((session_id,), new_id, now, request_id, until))
        self._detector.split(session_id, new_id, since, now)
        self._lead(new_id, lambda call: call.session.id == session_id and request_id <= call.id < until)
        await self._kept()
        return new_id

    def _lead(self, into: str, wanted: Callable[[Call], bool]) -> None:
        """Gives calls that wait or run another session."""
        for one in [one for one in self._running if wanted(one.call)]:
            one.call.session = SessionRef(into, one.call.session.source)
            one.assignment = msgspec.structs.replace(one.assignment, session=into)
            if one.transcript is not None and one.transcript.session is not None:
                one.transcript.session = into

    async def _kept(self) -> None:
        self._regrouped()
        await self._ledger.durable()
        await self._ledger.settled(_SETTLE)

    def statistics(self) -> dict[str, float]:
        """Figures of detection by name."""
        return self._detector.statistics()

    def _learn(self, conversation: Conversation, record: Record, answer: Answer | None, *, complete: bool) -> None:
        now, assignment, transcript = self._wall(), conversation.assignment, conversation.transcript
        message = None if answer is None else answer.message
        others = () if answer is None else answer.others
        provider_id = record.outcome.provider_id if answer is None else answer.provider_id
        learned = self._detector.answered(
            assignment,
            message,
            provider_id,
            now,
            complete=complete and message is not None,
            others=others,
            item_id=None if answer is None else answer.item_id,
        )
        if learned.evidence:
            self._tell(learned.evidence)
        if transcript is not None:
            self._transcripts.answered(transcript, assignment, learned, now, others=others, provider_id=provider_id)
            record.transcript = transcript

    async def _assign(self, question: Question) -> Assignment:
        now = self._wall()
        assignment = self._detector.assign(question, now)
        if not assignment.unsure:
            return assignment
        try:
            async with asyncio.timeout(_PATIENCE):
                rows = await self._ledger.marks_of(assignment.unsure)
            self._detector.recall(rows, now, assignment.unsure)
        except (StoreError, TimeoutError) as error:
            logger.debug("the database did not say what it knows of a history: %r", error)
        return self._detector.assign(question, now, look_up=False)
