"""What one daemon learns of a conversation, known to all: the next turn may come to any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmqd.detection.assignment import Evidence

if TYPE_CHECKING:
    from llmqd.cluster.telling import Telling
    from llmqd.conversations import Conversations
    from llmqd.messages.transcript import Mark


class SharedSessions:
    """Tells the marks by which a session is known. They say nothing to a daemon whose secret is another one."""

    def __init__(self, conversations: Conversations, telling: Telling) -> None:
        self._conversations = conversations
        self._telling = telling
        conversations.share(self._learned)
        telling.hears("learned", self._hear)

    def _learned(self, evidence: Sequence[Mark]) -> None:
        if self._telling.others:
            self._telling.tell("learned", [[*one] for one in evidence])

    def _hear(self, _: str, plain: list[list[Any]]) -> None:
        self._conversations.heard([Evidence(*one) for one in plain])
