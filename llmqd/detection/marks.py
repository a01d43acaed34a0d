"""The marks that a call leaves behind when it was answered: by what its session will be known again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson

from llmqd.detection.chain import Kind, mark, step
from llmqd.messages.digest import Digests, bare, size_of
from llmqd.messages.message import Message, Text, ToolCall

TELLING_SIZE = 5
"""An answer of at least 2 ** 4 characters may stand for its session alone; "OK." may not."""
_HEAD = 24
_HEAD_LOOKED_AT = 3 * _HEAD, 16 * _HEAD
"""Characters among which those of a head are looked for, white space included: most texts have few of it."""
LINES_LOOKED_AT = 12
_LINES_KEPT = 2
LONG_LINE = 24
_SHORTEST_TASK, _WORDS_OF_A_TASK, _LONG_ARGUMENT = 12, 3, 48
"""Characters and words of an argument that may be a task for a sub-agent, and characters of one that is so even when
its tool has ended."""
_ARGUMENTS_KEPT, _TASKS_KEPT, _CALLS_KEPT = 4, 4, 8
_DEEPEST = 4
_LONG_TOKEN = 16
_END_OF_TRANSCRIPT = 16_384
_SPEAKER = re.compile(r"[^\W\d_]{1,16}:(?!//)")
_TOKEN = re.compile(r"[A-Za-z0-9]{8,}")


def exchange(seed: int, before: int, key: int) -> int:
    """The mark of a message and its answer, wherever in a conversation they stand."""
    return mark(Kind.EXCHANGE, step(step(seed, before), key))


def head(seed: int, before: int, answer: Message, digests: Digests) -> int | None:
    """The mark of a message and how its answer begins, which stays when the answer is cut; None for a short one."""
    said = answer.text
    for length in _HEAD_LOOKED_AT:
        text = bare(said[:length])[:_HEAD]
        if len(text) == _HEAD:
            return mark(Kind.HEAD, step(step(seed, before), digests.text_key("head", text)))
    return None


def single(kind: Kind, seed: int, key: int) -> int:
    """The mark of one thing said or named."""
    return mark(kind, step(seed, key))


def long_lines(text: str, least: int = LONG_LINE, most: int = _LINES_KEPT) -> list[str]:
    """The longest lines of a text, the longest first, of at least so many characters without white space."""
    lines = sorted(
        {line for line in map(bare, text.splitlines()) if len(line) >= least}, key=lambda one: (-len(one), one)
    )
    return lines[:most]


def told_lines(text: str) -> list[str]:
    """The lines of a message that may have been said elsewhere: the longest, and the last long ones, as a transcript of
    a conversation ends with what was said last; without the name of the speaker where one stands before them."""
    last = [line for line in map(bare, text[-_END_OF_TRANSCRIPT:].splitlines()) if len(line) >= LONG_LINE]
    lines = [*long_lines(text, LONG_LINE, LINES_LOOKED_AT), *last[-LINES_LOOKED_AT:]]
    spoken = [line[match.end() :] for line in lines if (match := _SPEAKER.match(line)) is not None]
    return list(dict.fromkeys([*lines, *(line for line in spoken if len(line) >= LONG_LINE)]))


def line_marks(seed: int, answer: Message, digests: Digests, is_known: Callable[[int], object]) -> list[int]:
    """The marks of an answer's longest lines: a summary is carried on inside of a message. Lines that are known
    already, since models say them often, come last."""
    new: list[int] = []
    known: list[int] = []
    for line in long_lines(answer.text, LONG_LINE, LINES_LOOKED_AT):
        given = single(Kind.LINE, seed, digests.text_key("line", line))
        (known if is_known(given) else new).append(given)
        if len(new) == _LINES_KEPT:
            break
    return [*new, *known][:_LINES_KEPT]


def call_marks(seed: int, message: Message, digests: Digests) -> list[int]:
    """The marks of the ids of its tool calls, as far as these cannot be met by chance."""
    ids = [part.id for part in message.parts if isinstance(part, ToolCall) and part.id and is_telling(part.id)]
    return [single(Kind.TOOL_CALL, seed, digests.name_key(call_id)) for call_id in ids[:_CALLS_KEPT]]


def is_telling(call_id: str) -> bool:
    """Whether an id looks random: `call_1` and `functions.search:0` come again in every conversation."""
    return any(_looks_random(token) for token in _TOKEN.findall(call_id))


def _looks_random(token: str) -> bool:
    letters = sum(letter.isalpha() for letter in token)
    capitals = sum(letter.isupper() for letter in token)
    return 0 < letters < len(token) or (len(token) >= _LONG_TOKEN and 2 < capitals < letters)


def argument_marks(seed: int, answer: Message, known: Iterable[int], digests: Digests) -> list[int]:
    """The marks of texts that tools were called with; one of them may be what a sub-agent is told.

    An argument that repeats what the user said (`known` keys) tells nothing.
    """
    long: list[int] = []
    short: list[int] = []
    said = frozenset(known)
    for text in _texts(answer):
        length = len(bare(text))
        key = digests.text_key("user", text)
        if length < _SHORTEST_TASK or key in said:
            continue
        if length >= _LONG_ARGUMENT:
            long.append(single(Kind.ARGUMENT, seed, key))
            short += [single(Kind.TASK, seed, digests.text_key("line", line)) for line in long_lines(text)]
        elif len(text.split(None, _WORDS_OF_A_TASK)) >= _WORDS_OF_A_TASK:
            short.append(single(Kind.TASK, seed, key))
    return long[:_ARGUMENTS_KEPT] + short[:_TASKS_KEPT]


def told_marks(seed: int, message: Message, whole: int, digests: Digests) -> Sequence[int]:
    """The marks that a first message bears if it is a task given to a sub-agent: the message, or one of its texts."""
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    keys = [whole, *(digests.text_key("user", text) for text in texts[:_ARGUMENTS_KEPT] if len(texts) > 1)]
    return [single(kind, seed, key) for key in keys for kind in (Kind.ARGUMENT, Kind.TASK)]


def _texts(answer: Message) -> Iterator[str]:
    for part in answer.parts:
        if isinstance(part, ToolCall) and part.arguments:
            try:
                yield from _strings(orjson.loads(part.arguments), _DEEPEST)
            except orjson.JSONDecodeError:
                yield part.arguments


def _strings(value: Any, deep: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif deep and isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner, deep - 1)


def is_telling_answer(key: int) -> bool:
    """Whether an answer is long enough to stand for its session alone."""
    return size_of(key) >= TELLING_SIZE
