"""A conversation in the making, and the calls that it consists of."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from bench.session_words import Fields, OpenAiChat, paragraphs, spoken
from llmqd.messages.message import Message

SYSTEM = "You are a helpful assistant."


@dataclass(slots=True)
class Step:
    """One call: what it sends, what it is answered (None: it fails), and as which try of the client. `part` tells
    conversations apart that have to do with each other, `others` are further choices of the answer."""

    writer: OpenAiChat
    fields: Fields
    answer: Message | None
    retry: int = 0
    complete: bool = True
    scope: str = "key-1"
    response_id: str | None = None
    item_id: str | None = None
    part: int = 0
    others: tuple[Message, ...] = ()


@dataclass(slots=True)
class Talk:
    """A conversation in the making: its history as its client keeps it."""

    rng: random.Random
    writer: OpenAiChat
    system: str | None = SYSTEM
    scope: str = "key-1"
    history: list[Fields] = field(default_factory=list)

    def ask(self, text: str) -> None:
        """The user says something."""
        self.history.append(self.writer.user(text))

    def step(self, answer: Message | None, *, kept: bool = True, **more: object) -> Step:
        """A call with the history as it is; the answer is then part of it."""
        fields = self.writer.body(self.system, list(self.history))
        if answer is not None and kept:
            self.history += self.writer.answer(answer)
        return Step(self.writer, fields, answer, scope=self.scope, **more)  # type: ignore[arg-type]

    def said(self) -> Message:
        """Something a model says."""
        return spoken(paragraphs(self.rng, self.rng.randint(1, 3)))

    def turns(self, least: int = 3, most: int = 7) -> range:
        """As many turns as this conversation may have."""
        return range(self.rng.randint(least, most))
