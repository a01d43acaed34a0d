"""The answers that a request's history carries, by the marks under which whoever gave them is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from llmqd.detection.assignment import Trail
from llmqd.detection.chain import Kind, mark
from llmqd.detection.marks import call_marks, exchange, head, is_telling, is_telling_answer, single
from llmqd.detection.memory import Memory
from llmqd.messages.digest import NOTHING, Digests, size_of
from llmqd.messages.message import ToolResult
from llmqd.messages.request import Said

_MOST = 8
"""Answers that are looked at, the latest first."""
_READ_IN_FULL = 3
"""Of how many of them the words and the ids of tool calls are looked at."""
_TIP_WEIGHT, _CALL_WEIGHT = 4, 12
_NOBODYS = frozenset[int]()


class Hint(NamedTuple):
    """A mark, and what it weighs: in bits of the sizes of the messages that agree where somebody is known by it."""

    mark: int
    weight: int


class Place(NamedTuple):
    """One answer: the key of what it says, NOTHING where only its tools' results are there, and its marks."""

    key: int
    hints: Sequence[Hint]


def places_of(said: Said, trail: Trail, digests: Digests) -> list[Place]:
    """The latest answers of a request's history, the last first; a history that begins with the results of tools has
    the answer that asked for them, too."""
    places: list[Place] = []
    roles, keys = said.roles, trail.keys
    for index in range(len(keys) - 1, -1, -1):
        if roles[index] == "assistant" and keys[index] != NOTHING:
            places.append(_hints(said, trail, index, digests, in_full=len(places) < _READ_IN_FULL))
            if len(places) == _MOST:
                return places
    if roles and roles[0] == "tool":
        orphans = _result_marks(said, trail.seed, 0, digests)
        if orphans:
            places.append(Place(NOTHING, [Hint(given, _CALL_WEIGHT) for given in orphans]))
    return places


def marks_of(places: Iterable[Place]) -> Iterator[int]:
    """Every mark that may tell whose history this is."""
    for place in places:
        for hint in place.hints:
            yield hint.mark


def unheard(places: Sequence[Place], memory: Memory) -> frozenset[int]:
    """The keys of those that no session is known to have given."""
    if not places:
        return _NOBODYS
    return frozenset(place.key for place in places if not any(memory.holders(hint.mark) for hint in place.hints)) - {
        NOTHING
    }


def _hints(said: Said, trail: Trail, index: int, digests: Digests, *, in_full: bool) -> Place:
    key = trail.keys[index]
    before = next((one for one in reversed(trail.keys[:index]) if one != NOTHING), None)
    pair = size_of(key) + (size_of(before) if before is not None else 0)
    hints = [Hint(mark(Kind.TIP, trail.nodes[index]), pair + _TIP_WEIGHT)]
    if before is not None:
        hints.append(Hint(exchange(trail.seed, before, key), pair))
    if is_telling_answer(key):
        hints.append(Hint(single(Kind.ANSWER, trail.seed, key), size_of(key)))
    if in_full:
        message = said.message(index)
        beginning = head(trail.seed, before, message, digests) if before is not None else None
        if beginning is not None:
            hints.append(Hint(beginning, pair))
        marks = call_marks(trail.seed, message, digests)
        if not marks and index + 1 < len(said.turns):
            marks = _result_marks(said, trail.seed, index + 1, digests)
        hints += [Hint(given, _CALL_WEIGHT) for given in marks]
    return Place(key, hints)


def _result_marks(said: Said, seed: int, index: int, digests: Digests) -> list[int]:
    """The ids of the calls whose results a message holds."""
    ids = [part.id for part in said.message(index).parts if isinstance(part, ToolResult)]
    return [single(Kind.TOOL_CALL, seed, digests.name_key(one)) for one in ids if one and is_telling(one)][:1]
