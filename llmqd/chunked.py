"""Takes the payload out of a body in chunks (RFC 9112 section 7.1), however its bytes come cut."""

from __future__ import annotations

import re

_KNOWN = {text: size for size in range(1, 1024) for text in (b"%x" % size, b"%X" % size)}
"""What a size up to a kilobyte looks like, as nearly all are in a stream. The last chunk's is not in it."""
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
"""The line before a chunk. An end without CR and spaces before it are taken, as by the parser of the heads."""
_END = re.compile(rb"\r?\n")
_MANY = 2048
"""Where more bytes than these are left, they are taken to hold several chunks."""
_LONGEST = 16_384
"""Bytes of a line between chunks or behind them: where more come without an end, this is none."""


class Chunks:
    """The state of one body: feed it all bytes that come, in any pieces."""

    __slots__ = ("_after", "_apart", "_held", "_left", "_trailing", "ended", "rest")

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
        self._apart = True
        """Whether line ends may be what tells the chunks apart; not where a chunk's data hold some."""
        self._held = b""
        """The beginning of a line whose end has not come."""

    def feed(self, data: bytes) -> bytes:
        """The payload in these bytes. Raises ValueError for what is no chunk; nothing may be fed after that."""
        if not (self._left or self._held or self._after or self._trailing):
            stop = data.find(b"\r\n")  # most come as one whole chunk
            if stop > 0 and _KNOWN.get(data[:stop]) == len(data) - stop - 4 and data.endswith(b"\r\n"):
                return data[stop + 2 : -2]
        if self._held:
            data, self._held = self._held + data, b""
        found: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not self.ended:
            if self._left:
                at = self._data(data, at, found)
            elif self._between(end - at) and (taken := self._together(data[at:], found)):
                at += taken
            elif (behind := self._line(data, at)) is not None:
                at = behind
            else:
                self._hold(data[at:])
                break
        if self.ended:
            self.rest = data[at:]
        return found[0] if len(found) == 1 else b"".join(found)

    def _between(self, size: int) -> bool:
        """Whether a chunk's size comes next, and so many bytes that whole chunks are likely to be among them."""
        return size > _MANY and self._apart and not (self._after or self._trailing)

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
            left = 0
            if data.startswith(b"\r\n", at):
                if self._apart and len(data) - at > _MANY:
                    self._left = 0
                    return at + 2
                end = data.find(b"\r\n", at + 2)
                if end > 0 and (left := _KNOWN.get(data[at + 2 : end], 0)):
                    at = end + 2
        self._left, self._after = 0, True
        return at

    def _together(self, data: bytes, found: list[bytes]) -> int:
        """Adds the data of all chunks that are whole in this, which begins with a size; how many bytes they take.

        Where no chunk's data hold a line end, line ends tell the chunks apart. Whether that is so their sizes say.
        """
        parts = data.split(b"\r\n")
        lines, whole = parts[:-2:2], parts[1:-1:2]
        if lines and not lines[-1].strip(b"0"):
            del lines[-1], whole[-1]  # the last chunk: what is behind it may be trailers
        sizes = list(map(_KNOWN.get, lines))
        if None in sizes:
            sizes = [int(line, 16) if _HEX.fullmatch(line) else None for line in lines]
        lengths = list(map(len, whole))
        if sizes != lengths:
            self._apart = False
            return 0
        found += whole
        return sum(lengths) + sum(map(len, lines)) + 4 * len(lines)

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
