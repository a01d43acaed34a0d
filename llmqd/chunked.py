"""Takes the payload out of a body in chunks (RFC 9112 section 7.1), however its bytes come cut."""

from __future__ import annotations

import re

_NEXT = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})\r\n")
"""What nearly always stands between the data of two chunks."""
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
"""The line before a chunk. An end without CR and spaces before it are taken, as by the parser of the heads."""
_END = re.compile(rb"\r?\n")
_SIZES = 64
"""So many sizes of one body are remembered."""
_LONGEST = 16_384
"""Bytes of a line between chunks or behind them: where more come without an end, this is none."""


class Chunks:
    """The state of one body: feed it all bytes that come, in any pieces."""

    __slots__ = ("_after", "_held", "_known", "_left", "_trailing", "ended", "rest")

    def __init__(self) -> None:
        self.ended = False
        """Whether the last chunk and the trailers behind it have come."""
        self.rest = b""
        """What came behind the end of the body."""
        self._left = 0
        """Bytes of the present chunk that are still to come."""
        self._after = False
        """Whether the next thing is the line end behind a chunk's data."""
        self._trailing = False
        self._known: dict[bytes, int] = {}
        self._held = b""
        """The beginning of a line whose end has not come."""

    def feed(self, data: bytes) -> bytes:
        """The payload in these bytes. Raises ValueError for what is no chunk; nothing may be fed after that."""
        if self._held:
            data, self._held = self._held + data, b""
        found: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not self.ended:
            if self._left:
                at = self._data(data, at, found)
            elif (behind := self._line(data, at)) is not None:
                at = behind
            else:
                self._hold(data[at:])
                break
        if self.ended:
            self.rest = data[at:]
        return found[0] if len(found) == 1 else b"".join(found)

    def _data(self, data: bytes, at: int, found: list[bytes]) -> int:
        """Adds the data of this chunk, and of all behind it that follow as chunks usually do; where it stopped."""
        left = self._left
        while left:
            stop = at + left
            piece = data[at:stop]
            found.append(piece)
            at += len(piece)
            if at < stop:
                self._left = stop - at
                return at
            end = data.find(b"\r\n", at + 2)
            between = data[at : end + 2]
            left = self._known.get(between) or self._size(between)
            if left:
                at = end + 2
        self._left, self._after = 0, True
        return at

    def _size(self, between: bytes) -> int:
        """What a usual line between two chunks says, 0 for any other. Sizes recur, so they are remembered."""
        if (line := _NEXT.fullmatch(between)) is None:
            return 0
        if len(self._known) < _SIZES:
            self._known[between] = int(line[1], 16)
        return int(line[1], 16)

    def _line(self, data: bytes, at: int) -> int | None:
        """Takes one line that is no data; where it ends, None when its end has not come."""
        if self._after:
            if (line := _END.match(data, at)) is not None:
                self._after = False
                return line.end()
            if data[at:] == b"\r":
                return None
            raise ValueError("no line end behind a chunk")
        stop = data.find(b"\n", at) + 1
        if not stop:
            return None
        if self._trailing:
            self.ended = data[at:stop] in (b"\r\n", b"\n")
        elif (line := _SIZE.fullmatch(data, at, stop)) is None:
            raise ValueError("no size of a chunk")
        else:
            self._left = int(line[1], 16)
            self._trailing = not self._left
        return stop

    def _hold(self, line: bytes) -> None:
        if len(line) > _LONGEST:
            raise ValueError("a line without an end between chunks")
        self._held = line
