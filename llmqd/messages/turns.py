"""The messages of a request in the form they came in, gathered by who speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmqd.messages.message import Role

Raw = dict[str, Any]
"""A message, an item or a content as its dialect writes it."""

Turn = Raw | list[Raw]
"""What was said at once: one of them, or several of the assistant that follow each other."""

ROLES: Mapping[object, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "tool": "tool",
    "function": "tool",
}


def role_of(role: object) -> Role:
    """Who speaks under this name, in any case; one that nobody knows is a user's."""
    known = ROLES.get(role) if isinstance(role, str) else "user"
    return known or ROLES.get(str(role).lower(), "user")


@dataclass(slots=True)
class Turns:
    """Roles and what they say, and the contents of system messages, which stand apart."""

    roles: list[Role] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    system: list[Any] = field(default_factory=list)

    def add(self, role: Role, raw: Raw) -> None:
        """The next message; the assistant's go together while nobody else speaks."""
        if role == "assistant" and self.roles and self.roles[-1] == "assistant":
            last = self.turns[-1]
            if isinstance(last, list):
                last.append(raw)
            else:
                self.turns[-1] = [last, raw]
        else:
            self.roles.append(role)
            self.turns.append(raw)
