"""The nouns of detection: the Question that a call asks, the Trail of what it says, the Assignment to a session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from llmqd.call import NO_SESSION, SessionRef, SessionSource
from llmqd.messages.digest import NOTHING
from llmqd.messages.message import Message, Part
from llmqd.messages.request import Said
from llmqd.messages.transcript import Mark

Match = Literal["explicit", "exact", "retry", "fuzzy", "new", "none"]
"""How a call came to its session: it named it; it carries on from what was answered there; it asks again what got no
whole answer; it resembles what was said there; none was found, so this one is new; or it says nothing at all."""


class Evidence(NamedTuple):
    """What is kept of a session: it is known by this mark since that time (Unix seconds)."""

    mark: int
    session: str
    at: float


class Node(NamedTuple):
    """A place in the tree of everything that was said: the conversation up to and with the message `content`.

    `key` and `parent` are nodes; a parent that is no other's key is the root of its scope (or, where a request names a
    previous response, of what follows it). `content` is the key of the message, `position` its place in the request.
    """

    key: int
    parent: int
    content: int
    position: int


class Question(msgspec.Struct, frozen=True):
    """What a call asks, as far as detection is concerned.

    `scope` is whose call it is: sessions of different scopes have nothing to do with each other. `explicit` is the
    session that the call names itself. `client_retry` counts how often the client has sent it before. `traits` are
    circumstances that tell two equal conversations apart when nothing else does (the model, the client's address).
    """

    scope: str
    said: Said
    explicit: SessionRef = NO_SESSION
    client_retry: int = 0
    traits: tuple[object, ...] = ()


class Trail(msgspec.Struct, frozen=True):
    """What a request says, in keys: what of it has to be remembered until it is answered.

    `seed` is the scope's node, `start` the one before its first message and `end` that of the whole request; `keys` and
    `nodes` have one entry for each of its messages, `system` one for each system text. `begun` is what the client has
    begun to say for the model at its end, `has_history` whether it carries answers, `by_response` whether its own may
    be referred to by the id of its response, `by_item` by that of an item.
    """

    seed: int
    start: int
    keys: list[int]
    nodes: list[int]
    end: int
    system: tuple[int, ...]
    begun: tuple[Part, ...] = ()
    has_history: bool = False
    by_response: bool = False
    by_item: bool = False

    def before(self, index: int) -> int:
        """The node before this message."""
        return self.nodes[index - 1] if index else self.start


class Assignment(msgspec.Struct, frozen=True):
    """The session of a call. `confidence` is 0 to 1: how likely it is the right one.

    Where `unsure` is not empty nothing is decided yet and nothing has changed: these marks have to be looked up.
    `left` is the node at which the session waited for this call, with the time since when.
    """

    trail: Trail
    session: str | None = None
    source: SessionSource = "none"
    match: Match = "none"
    confidence: float = 0.0
    unsure: tuple[int, ...] = ()
    left: tuple[int, float] | None = None

    @property
    def nodes(self) -> list[Node]:
        """The messages of the request as places in the tree, in their order."""
        trail = self.trail
        return [
            Node(node, trail.before(index), key, index)
            for index, (node, key) in enumerate(zip(trail.nodes, trail.keys, strict=True))
            if key != NOTHING
        ]


class Learned(msgspec.Struct, frozen=True):
    """What came of an answer: the `evidence` that is to be kept, and the answer's own places in the tree.

    `message` is the answer with what the client had begun for the model, which is one message with it; `node` is its
    place, None where nothing was said. `others` are the places of the further choices.
    """

    evidence: Sequence[Mark] = ()
    message: Message | None = None
    node: Node | None = None
    others: tuple[Node, ...] = ()
