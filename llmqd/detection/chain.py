"""The arithmetic of evidence: keys of everything said so far, and the marks under which sessions are known."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from llmqd.messages.digest import NOTHING

_MODULUS = 2**59 - 55
"""The largest prime below 2 ** 59: with four bits for the kind, a mark fits the integers of every database."""
_FACTOR = 0x2C5F1B3E9D87A6B % _MODULUS
_KIND_BITS = 4


class Kind(IntEnum):
    """What a mark is evidence of. The numbers are kept in databases: they never change."""

    TIP = 1
    """This session's model answered exactly this conversation, and this is how it stands since."""
    EXCHANGE = 2
    """In this session, this message was answered by that one."""
    ANSWER = 3
    """This was said by the model."""
    LEFT = 4
    """This session has gone on from a tip that it shares with others."""
    ASKED = 5
    """This session has asked exactly this. Kept where its client sends histories that nobody has said as they are."""
    FAILED = 6
    """It has, and got no whole answer."""
    SETTLED = 7
    """It has asked again since, and got one."""
    TOOL_CALL = 8
    """A tool call of this id was made in this session."""
    RESPONSE = 9
    """The provider gave an answer in this session, or an item of one, this id."""
    ARGUMENT = 10
    """A tool was called with this long text."""
    LINE = 11
    """The model said this long line last, in a conversation that had gone on for a while: a summary, perhaps."""
    TASK = 12
    """A tool was called with these few words or with this long line, and may be running."""
    HEAD = 13
    """In this session, this message was answered by one that begins so."""


KIND = (1 << _KIND_BITS) - 1
"""The bits of a mark that tell its kind: `given & KIND` is quicker than `kind_of(given)`, and is in these sets."""

NOTES = frozenset(map(int, (Kind.LEFT, Kind.FAILED, Kind.SETTLED)))
"""Kinds that say how a session stands; nobody is found by them."""

PASSING = frozenset(map(int, (Kind.LINE, Kind.TASK)))
"""Kinds that are evidence as long as the session waits at the answer that they come from."""

_KINDS = {kind.value: kind for kind in Kind}


def root(key: int) -> int:
    """The node before anything was said, for a scope by its key."""
    return key % _MODULUS


def step(node: int, key: int) -> int:
    """The node after one more message: everything that was said before, and this."""
    return (node * _FACTOR + key) % _MODULUS if key != NOTHING else node


def nodes_of(start: int, keys: Iterable[int]) -> list[int]:
    """The node after each of these messages."""
    nodes: list[int] = []
    add, factor, modulus, nothing = nodes.append, _FACTOR, _MODULUS, NOTHING  # a third of the time is their names
    for key in keys:
        if key != nothing:
            start = (start * factor + key) % modulus
        add(start)
    return nodes


def mark(kind: Kind, node: int) -> int:
    """A mark of this kind, 0 to 2 ** 63 - 1."""
    return node << _KIND_BITS | kind


def kind_of(given: int) -> Kind | None:
    """The kind of a mark; None for one that a newer version has made."""
    return _KINDS.get(given & KIND)


def node_of(given: int) -> int:
    """The node of a mark."""
    return given >> _KIND_BITS
