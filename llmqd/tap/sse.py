"""Cuts a byte stream into messages, across any chunk borders: server-sent events, JSON lines, a streamed JSON array.

Each splitter is fed chunks as they come and gives back the messages that became complete. A message larger than
`max_event` is skipped and counted in `overflowed`; the ones behind it are found again.
"""

from __future__ import annotations

import re
from typing import Protocol

Event = tuple[bytes, bytes]
"""The event's name (empty where it has none) and its data."""

_CR, _LF = 0x0D, 0x0A
"""As numbers: looking for bytes in bytes raises and drops an error on the way, which is ten times as dear."""

_BOM = b"\xef\xbb\xbf"


class Splitter(Protocol):
    """What the splitters have in common."""

    overflowed: int

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; return the messages completed by them."""

    def flush(self) -> list[Event]:
        """The stream has ended: return the message that lacks its end, if there is one."""


class SseSplitter:
    """Server-sent events as the WHATWG HTML standard parses them (§9.2.6), on bytes and without reconnection fields.

    Two deviations, both in favour of metering: an event without its closing blank line is returned by `flush`, and
    bytes are not decoded, so that a broken character costs nothing.
    """

    def __init__(self, max_event: int) -> None:
        self.overflowed = 0
        self._max_event = max_event
        self._line = bytearray()
        self._data: list[bytes] = []
        self._name = b""
        self._size = 0
        self._skipping = False
        self._after_cr = False
        self._started = False
        self.between_events = False
        """Whether nothing but whole events has come so far, with their ends."""

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; return the events completed by them."""
        if self.between_events and chunk.endswith(b"\n\n") and _CR not in chunk:
            if chunk.find(b"\n") == len(chunk) - 2 < self._max_event and chunk.startswith(b"data: "):
                return [(b"", chunk[6:-2])]
            return self._whole_events(chunk)
        if not self._started:
            chunk = self._without_bom(chunk)
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if _CR in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[Event] = []
        if self._started and not self._within_event and (end := chunk.rfind(b"\n\n") + 2) > 2:
            events = self._whole_events(chunk[:end])
            chunk = chunk[end:]
        self._lines(chunk, events)
        self.between_events = self._started and not (self._within_event or self._after_cr)
        return events

    @property
    def _within_event(self) -> bool:
        return bool(self._line or self._data or self._name or self._skipping)

    def flush(self) -> list[Event]:
        """The stream has ended: return the event that lacks its blank line, if there is one."""
        events: list[Event] = []
        self._started = True
        self._lines(b"\n\n", events)
        return events

    def _whole_events(self, chunk: bytes) -> list[Event]:
        events: list[Event] = []
        blocks = chunk[:-2].split(b"\n\n")
        if (
            len(chunk) <= self._max_event
            and chunk.count(b"\n") == 2 * len(blocks)
            and chunk.startswith(b"data: ")
            and chunk.count(b"\n\ndata: ") == len(blocks) - 1
        ):
            return [(b"", block[6:]) for block in blocks]
        for block in blocks:
            head, newline, rest = block.partition(b"\n")
            if len(block) > self._max_event:
                self._lines(block + b"\n\n", events)
            elif not newline and head.startswith(b"data: "):
                events.append((b"", head[6:]))
            elif head.startswith(b"event: ") and rest.startswith(b"data: ") and _LF not in rest:
                events.append((head[7:], rest[6:]))
            else:
                self._lines(block + b"\n\n", events)
        return events

    def _without_bom(self, chunk: bytes) -> bytes:
        head = bytes(self._line) + chunk
        self._line.clear()
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._line += head
            return b""
        self._started = True
        return head.removeprefix(_BOM)

    def _lines(self, chunk: bytes, events: list[Event]) -> None:
        lines = chunk.split(b"\n")
        rest = lines.pop()
        for line in lines:
            if self._line:
                line = bytes(self._line) + line
                self._line.clear()
            self._take(line, events)
        if not rest:
            return
        if self._skipping or self._size + len(self._line) + len(rest) > self._max_event:
            self._skip()
            # Whether the line is blank is all that matters now, and it is not.
            self._line[:] = b":"
        else:
            self._line += rest

    def _take(self, line: bytes, events: list[Event]) -> None:
        if not line:
            self._dispatch(events)
        elif self._skipping:
            return
        elif self._size + len(line) > self._max_event:
            self._skip()
        elif line.startswith(b"data"):
            self._add_data(line)
        elif line.startswith(b"event:"):
            self._name = line[6:].removeprefix(b" ")

    def _add_data(self, line: bytes) -> None:
        if len(line) > 4 and line[4] != 0x3A:
            return
        self._size += len(line) + 1
        self._data.append(line[5:].removeprefix(b" "))

    def _skip(self) -> None:
        if not self._skipping:
            self.overflowed += 1
            self._skipping = True
            self._data.clear()

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            events.append((self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
            self._data.clear()
        self._name = b""
        self._size = 0
        self._skipping = False


class LineSplitter:
    """JSON lines (Ollama's `application/x-ndjson`): one message a line, blank lines ignored."""

    def __init__(self, max_event: int) -> None:
        self.overflowed = 0
        self._max_event = max_event
        self._line = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; return the lines completed by them."""
        lines = chunk.split(b"\n")
        rest = lines.pop()
        events: list[Event] = []
        for line in lines:
            self._add(line)
            self._end_line(events)
        self._add(rest)
        return events

    def flush(self) -> list[Event]:
        """The stream has ended: return the line that lacks its end, if there is one."""
        events: list[Event] = []
        self._end_line(events)
        return events

    def _add(self, part: bytes) -> None:
        if self._skipping:
            return
        if len(self._line) + len(part) > self._max_event:
            self.overflowed += 1
            self._skipping = True
            self._line.clear()
        else:
            self._line += part

    def _end_line(self, events: list[Event]) -> None:
        line = bytes(self._line).strip()
        if line:
            events.append((b"", line))
        self._line.clear()
        self._skipping = False


_OUTSIDE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')


class ArraySplitter:
    """The objects of one streamed JSON array, as Gemini's `streamGenerateContent` sends without `alt=sse`.

    A body that is a single object gives that object. Only brackets and strings are looked at: the caller's JSON parser
    judges the objects.
    """

    def __init__(self, max_event: int) -> None:
        self.overflowed = 0
        self._max_event = max_event
        self._object = bytearray()
        self._depth = 0
        self._base = 0
        self._inside = False
        self._skipping = False
        self._string = False
        self._escaped = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; return the objects completed by them."""
        events: list[Event] = []
        start = position = 0
        if self._escaped and chunk:
            self._escaped = False
            position = 1
        while found := (_IN_STRING if self._string else _OUTSIDE).search(chunk, position):
            position = found.end()
            mark = found.group()
            if mark == b'"':
                self._string = not self._string
            elif mark == b"\\":
                self._escaped = position == len(chunk)
                position += 1
            elif mark in b"{[":
                start = self._open(mark, position - 1, start)
            elif self._close():
                self._keep(chunk[start:position])
                self._complete(events)
        if self._inside:
            self._keep(chunk[start:])
        return events

    def flush(self) -> list[Event]:
        """The stream has ended: an object without its end cannot be read, so there is nothing to return."""
        return []

    def _open(self, mark: bytes, at: int, start: int) -> int:
        if self._depth == 0 and mark == b"[":
            self._base = 1
        elif self._depth == self._base and mark == b"{":
            self._inside = True
            start = at
        self._depth += 1
        return start

    def _close(self) -> bool:
        self._depth = max(0, self._depth - 1)
        return self._inside and self._depth == self._base

    def _keep(self, part: bytes) -> None:
        if self._skipping:
            return
        if len(self._object) + len(part) > self._max_event:
            self.overflowed += 1
            self._skipping = True
            self._object.clear()
        else:
            self._object += part

    def _complete(self, events: list[Event]) -> None:
        if not self._skipping:
            events.append((b"", bytes(self._object)))
        self._object.clear()
        self._inside = self._skipping = False
