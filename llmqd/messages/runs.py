"""Walks through the events of a stream, and takes runs of events that differ in nothing but a piece of text as one.

Most of a streamed answer is such a run: each event is the same JSON around another few characters. What stands between
two pieces of text is found once, and the bytes are cut there; the strings' bodies, joined, are the body of one string.
So a run costs a few passes over its bytes instead of a parse for each event. What the run's one message says is what
its events would have said one by one.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from llmqd.messages.lenient_json import STRING_BODY, loads

Message = dict[str, Any]

_WORTH = 1024
"""In fewer bytes there is no run that is worth the search for it."""

_TRIES = 16
"""So many searches for runs may fail before the rest is read event by event."""

_DEPTH = 4
"""Runs inside of interruptions of runs, and so on."""

_CLOSES = 6
"""So many brackets behind the text may close something inside of what counts."""

_BODY = re.compile(STRING_BODY)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a dialect writes the events that carry text.

    All that counts in such an event stands from its first member, one of `starts`, to a `close` that completes the
    members `keys`. `texts` are how the members that can hold the text are written, up to it: see `text_members`.
    """

    starts: tuple[bytes, ...]
    close: bytes
    keys: frozenset[str]
    texts: tuple[bytes, ...]


def text_members(*names: str) -> tuple[bytes, ...]:
    """How the members of these names begin where they hold text, in compact JSON and in JSON with spaces."""
    return tuple(b'"%b"%b"' % (name.encode(), colon) for name in names for colon in (b":", b": "))


class _Run(NamedTuple):
    """A run that begins with the event at `at`.

    `texts` finds an event's text between what else counts of the event, which is the same in the whole run: the text
    is its group 1. `before` and `after` are what stands around it; `lines` are the line ends of an event, `first_lines`
    those in front of the text.
    """

    at: int
    before: bytes
    after: bytes
    texts: re.Pattern[bytes]
    lines: int
    first_lines: int


class Walk:
    """The messages of a stream, in order. `separator` ends an event: a blank line, or a line end where each line is
    one. Lines must end with LF. `shape` may be set after the first messages have shown whose events these are."""

    def __init__(self, raw: bytes, separator: bytes, shape: Shape | None = None) -> None:
        self.shape = shape
        self._raw = raw
        self._separator = separator
        self._tries = _TRIES

    def messages(self) -> Iterator[Message]:
        """All of them; what is no JSON object is passed over."""
        return self._between(0, len(self._raw), 0)

    def last(self) -> Message:
        """The last message that can be read; an empty one where there is none."""
        stop = len(self._raw)
        while stop > 0:
            at = self._raw.rfind(self._separator, 0, stop)
            start = 0 if at < 0 else at + len(self._separator)
            for message in self._event(start, stop):
                return message
            stop = at
        return {}

    def _between(self, at: int, stop: int, depth: int) -> Iterator[Message]:
        raw, separator = self._raw, self._separator
        while at < stop:
            end = raw.find(separator, at, stop)
            end = stop if end < 0 else end
            run = None
            if self.shape is not None and depth < _DEPTH and stop - end > _WORTH and self._tries:
                run = self._run(self.shape, at, end, stop)
            if run is None:
                yield from self._event(at, end)
                at = end + len(separator)
            else:
                at = yield from self._taken(run, stop, depth)

    def _event(self, at: int, end: int) -> Iterator[Message]:
        data = self._raw[at:end]
        if self._separator == b"\n\n":
            data = _payload(data)
        if data.startswith((b"{", b"[{")):
            value = loads(data)
            for message in value if isinstance(value, list) else [value]:
                if isinstance(message, dict):
                    yield message

    def _run(self, shape: Shape, at: int, end: int, stop: int) -> _Run | None:
        """The run that begins with this event, if one does: with the two behind it, at least."""
        raw, separator = self._raw, self._separator
        start = next((place for name in shape.starts if (place := raw.find(name, at, end)) >= 0), -1)
        body = _text_start(raw, shape, start, end) if start >= 0 else -1
        if body < 0:
            return None
        self._tries -= 1
        found = _BODY.match(raw, body)
        assert found is not None
        close = found.end()
        before = raw[start:body]
        after = _after(shape, before, raw[body:close], raw[close:end])
        if after is None:
            return None
        texts = _texts(before, after)
        following = end + len(separator)
        for _ in range(2):
            following_end = raw.find(separator, following, stop)
            if following_end < 0 or texts.search(raw, following, following_end) is None:
                return None
            following = following_end + len(separator)
        self._tries += 1
        lines = raw.count(b"\n", at, end) + len(separator)
        return _Run(at, before, after, texts, lines, raw.count(b"\n", at, body))

    def _taken(self, run: _Run, stop: int, depth: int) -> Generator[Message, None, int]:
        """The messages from the run's first event on; returns where the walk goes on."""
        raw, separator = self._raw, self._separator
        last = raw.rfind(run.before, run.at, stop)
        bodies = run.texts.findall(raw, run.at, last)
        if raw.count(b"\n", run.at, last) == run.lines * len(bodies) + run.first_lines:
            message = _joined(bodies, run)
            if message is not None:
                yield message
                return raw.rfind(separator, 0, last) + len(separator)
        return (yield from self._interrupted(run, stop, depth))

    def _interrupted(self, run: _Run, stop: int, depth: int) -> Generator[Message, None, int]:
        """The same where other events stand between those of the run."""
        raw, separator = self._raw, self._separator
        bodies: list[bytes] = []
        at = run.at
        for found in run.texts.finditer(raw, run.at, stop):
            start = raw.rfind(separator, at, found.start())
            start = at if start < 0 else start + len(separator)
            for message in self._between(at, start, depth + 1):
                yield from self._flushed(bodies, run)
                yield message
            if found.start() >= at:
                bodies.append(found.group(1))
                end = raw.find(separator, found.end(), stop)
                at = stop if end < 0 else end + len(separator)
        yield from self._flushed(bodies, run)
        return at

    def _flushed(self, bodies: list[bytes], run: _Run) -> Iterator[Message]:
        if not bodies:
            return
        message = _joined(bodies, run)
        texts = [message] if message is not None else [_joined([body], run) for body in bodies]
        bodies.clear()
        for one in texts:
            if one is not None:
                yield one


def _payload(block: bytes) -> bytes:
    """The data of a server-sent event (WHATWG HTML §9.2.6)."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    return b"\n".join(line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:"))


def _text_start(raw: bytes, shape: Shape, start: int, end: int) -> int:
    """Where the event's text begins: behind the quote of the first member that can hold it and is not empty."""
    for mark in shape.texts:
        place = raw.find(mark, start, end)
        if place >= 0 and raw[place + len(mark)] != 0x22:
            return place + len(mark)
    return -1


@lru_cache(maxsize=64)
def _texts(before: bytes, after: bytes) -> re.Pattern[bytes]:
    """Finds a string's body between `before` and `after`, which are the same in many answers of a provider."""
    return re.compile(re.escape(before) + b"(" + _BODY.pattern + b")" + re.escape(after))


def _after(shape: Shape, before: bytes, text: bytes, rest: bytes) -> bytes | None:
    """The part behind the text that completes the members that count; None where there is none."""
    at = 0
    for _ in range(_CLOSES):
        at = rest.find(shape.close, at) + len(shape.close)
        if at < len(shape.close):
            return None
        try:
            span = orjson.loads(b"{" + before + text + rest[:at] + b"}")
        except ValueError:
            continue
        return rest[:at] if shape.keys <= span.keys() else None
    return None


def _joined(bodies: list[bytes], run: _Run) -> Message | None:
    """The run's one message; None where the texts do not make a string."""
    text = b"".join(bodies)
    if loads(b'"' + text + b'"') is None:
        return None
    message = loads(b"{" + run.before + text + run.after + b"}")
    return message if isinstance(message, dict) else None
