"""Knows of each call which conversation it is part of and what is said in it, from its request to its answer's end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmqd.call import SessionRef
from llmqd.detection.assignment import Question
from llmqd.errors import StoreError
from llmqd.messages.answer import Answer, read_answer
from llmqd.messages.request import read_request

if TYPE_CHECKING:
    from llmqd.call import Call, Record
    from llmqd.config.model import Config
    from llmqd.detection.assignment import Assignment
    from llmqd.detection.detector import Detector
    from llmqd.messages.transcript import Transcript
    from llmqd.store.ledger import Ledger
    from llmqd.store.transcripts import Transcripts
    from llmqd.tap.capture import Captured

logger = logging.getLogger(__name__)

_PATIENCE = 0.1
"""Seconds that a call at most waits for what the database knows of its history; then memory alone decides."""
_RECALLED = 200_000
"""Marks that are read at the start: those of the conversations that were active last."""


@dataclass(slots=True)
class Conversation:
    """What one call takes along until its answer: the session that it was given, and what of its words is kept."""

    assignment: Assignment
    transcript: Transcript | None


class Conversations:
    """Owns detection and transcripts for the call path. `wall` is Unix time in seconds.

    A fault in here costs a call its session or its words, never the call.
    """

    def __init__(
        self, config: Config, detector: Detector, transcripts: Transcripts, ledger: Ledger, *, wall: Callable[[], float]
    ) -> None:
        self._detector = detector
        self._transcripts = transcripts
        self._ledger = ledger
        self._wall = wall
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

    async def recall(self) -> None:
        """Takes what the database knows of the conversations that were active last, before the first call."""
        now = self._wall()
        try:
            rows = await self._ledger.latest_marks(_RECALLED)
        except StoreError as error:
            logger.warning("conversations from before the start are not known yet: %s", error)
            return
        self._detector.recall([row for row in rows if row.at > now - self._ttl], now)

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
            return Conversation(assignment, self._transcripts.asked(call, said, assignment, self._wall()))
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
                body, media_max = captured.body, self._media_max
                answer = read_answer(call.dialect, call.operation, content_type, body, media_max=media_max)
            self._learn(conversation, record, answer, complete=complete)
        except Exception:
            logger.exception("what call %s was answered could not be taken down", call.id)

    def statistics(self) -> dict[str, float]:
        """Figures of detection by name."""
        return self._detector.statistics()

    def _learn(self, conversation: Conversation, record: Record, answer: Answer | None, *, complete: bool) -> None:
        now, assignment, transcript = self._wall(), conversation.assignment, conversation.transcript
        message = None if answer is None else answer.message
        others = () if answer is None else answer.others
        provider_id = record.outcome.provider_id if answer is None else answer.provider_id
        learned = self._detector.answered(
            assignment, message, provider_id, now, complete=complete and message is not None, others=others
        )
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
