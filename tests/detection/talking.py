"""Programs that talk through a Detector, with a dict for a database: what the tests of detection share."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from llmqd.call import Dialect, SessionRef
from llmqd.config.sessions import Sessions
from llmqd.detection.assignment import Assignment, Evidence, Learned, Question
from llmqd.detection.detector import Detector
from llmqd.messages.digest import Digests
from llmqd.messages.message import Message, Text, ToolCall
from llmqd.messages.request import read_request

SECRET = b"the tests' own secret"
START = 1_700_000_000.0


def user(text: str) -> dict[str, Any]:
    """A user's message as OpenAI's chat and Anthropic's Messages have it."""
    return {"role": "user", "content": text}


def model(text: str) -> dict[str, Any]:
    """An answer in the history."""
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, Any]:
    """A system prompt."""
    return {"role": "system", "content": text}


def said(*parts: str | ToolCall) -> Message:
    """What a model answers."""
    return Message("assistant", tuple(Text(part) if isinstance(part, str) else part for part in parts))


@dataclass
class Program:
    """Sends calls and tells the session that each was given; `restart` begins anew with what the database has."""

    settings: Sessions = field(default_factory=Sessions)
    now: float = START

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self.kept: dict[tuple[int, str], Evidence] = {}
        self.detector = self._detector()

    def restart(self, *, told: bool = True) -> None:
        """Another process: `told` everything that was kept, or left to look it up."""
        self.detector = self._detector()
        if told:
            self.detector.recall(self.kept.values(), self.now)

    def begin(self, body: Sequence[Any] | dict[str, Any], scope: str = "key", **more: Any) -> Assignment:
        """A call that is not answered yet. A list is the messages of a chat; `dialect` and `operation` tell others."""
        self.now += 1
        dialect: Dialect = more.pop("dialect", "openai")
        operation = more.pop("operation", "chat")
        fields = orjson.loads(orjson.dumps(body if isinstance(body, dict) else {"messages": body}))
        if "session" in more:
            more["explicit"] = SessionRef(more.pop("session"), "header")
        question = Question(scope, read_request(dialect, operation, fields), **more)
        assignment = self.detector.assign(question, self.now)
        if assignment.unsure:
            self.detector.recall(self.known_by(assignment.unsure), self.now, assignment.unsure)
            assignment = self.detector.assign(question, self.now, look_up=False)
        assert not assignment.unsure
        return assignment

    def end(
        self, assignment: Assignment, answer: str | Message | None, provider_id: str | None = None, **more: Any
    ) -> Learned:
        """Its answer; None where it fails."""
        self.now += 1
        message = said(answer) if isinstance(answer, str) else answer
        learned = self.detector.answered(assignment, message, provider_id, self.now, **more)
        self.kept |= {(given, session): Evidence(given, session, at) for given, session, at in learned.evidence}
        return learned

    def call(
        self, body: Sequence[Any] | dict[str, Any], answer: str | Message | None = "OK.", **more: Any
    ) -> str | None:
        """Both at once: the session of the call."""
        provider_id = more.pop("provider_id", None)
        complete = more.pop("complete", True)
        assignment = self.begin(body, **more)
        self.end(assignment, answer, provider_id, complete=complete)
        return assignment.session

    def known_by(self, marks: Iterable[int]) -> list[Evidence]:
        """What a database answers."""
        wanted = set(marks)
        return [row for row in self.kept.values() if row.mark in wanted]

    def _detector(self) -> Detector:
        return Detector(self.settings, Digests(SECRET, 1000), lambda: f"s{next(self._ids)}")
