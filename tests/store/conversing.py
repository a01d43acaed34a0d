"""Calls that say something, made as the daemon makes them: read, assigned to a session, transcribed, recorded."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmqd.call import Record
from llmqd.config.sessions import Sessions
from llmqd.config.store import Store
from llmqd.detection.assignment import Question
from llmqd.detection.detector import Detector
from llmqd.messages.digest import Digests
from llmqd.messages.message import Message, Text
from llmqd.messages.request import read_request
from llmqd.store.ledger import Ledger
from llmqd.store.redaction import Redaction
from llmqd.store.transcripts import Transcripts
from tests.store.records import answer, make_record

SECRET = b"0123456789abcdef"


@dataclass
class Scribe:
    """Everything between a body and its record. `wall` tells the time."""

    settings: Store = field(default_factory=Store)
    redaction: Redaction = field(default_factory=Redaction)
    wall: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self.digests = Digests(SECRET, 10_000)
        self.detector = Detector(Sessions(), self.digests, lambda: secrets.token_hex(6))
        self.transcripts = Transcripts(self.settings, self.redaction, self.digests)

    def record(
        self,
        body: Mapping[str, Any],
        answers: Sequence[Message | str] = (),
        *,
        dialect: Any = "openai",
        operation: str = "chat",
        provider_id: str | None = None,
        **call: Any,
    ) -> Record:
        """The record of a call with this body, ended, with its transcript."""
        now = self.wall()
        said = read_request(dialect, operation, body)
        fields = {"dialect": dialect, "operation": operation, "received_at": now, **call}
        record = make_record(**fields)
        assignment = self.detector.assign(Question("key", said, record.call.session), now, look_up=False)
        if assignment.session is not None:
            record.call.session = type(record.call.session)(assignment.session, assignment.source)
        transcript = self.transcripts.asked(record.call, said, assignment, now)
        said_back = [Message("assistant", (Text(one),)) if isinstance(one, str) else one for one in answers]
        first, further = (said_back[0], said_back[1:]) if said_back else (None, [])
        learned = self.detector.answered(assignment, first, provider_id, now, others=further)
        if transcript is not None:
            self.transcripts.answered(transcript, assignment, learned, now, others=further, provider_id=provider_id)
            record.transcript = transcript
        return answer(record)

    def keep(self, ledger: Ledger, body: Mapping[str, Any], *answers: Message | str, **call: Any) -> Record:
        """The same, opened and closed in the ledger."""
        record = self.record(body, answers, **call)
        ledger.opened(record)
        ledger.closed(record)
        return record


@dataclass
class Talk:
    """A chat that sends its whole history each time."""

    scribe: Scribe
    ledger: Ledger
    history: list[dict[str, Any]] = field(default_factory=list)

    def say(self, question: str, reply: str, **call: Any) -> Record:
        """One turn."""
        self.history.append({"role": "user", "content": question})
        record = self.scribe.keep(self.ledger, {"messages": list(self.history)}, reply, **call)
        self.history.append({"role": "assistant", "content": reply})
        return record


def words(lines: Sequence[Any]) -> list[str | None]:
    """What lines say, None for those whose text is not there."""
    return [None if line.message is None else line.message.text for line in lines]
