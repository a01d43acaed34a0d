"""Knows the events of a stream that differ in nothing but a piece of text: most of them, however many come at once."""

from __future__ import annotations

import re

_QUOTE, _BACKSLASH = 0x22, 0x5C
"""As numbers: see `sse`."""

_TEXT = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
"""What stands between the quotes of a JSON string (RFC 8259 §7)."""


class Alike:
    """The server-sent events that are as a given one, of this name and with these data, but for the text that stands in
    it from `start` to before `end`, between two quotes."""

    __slots__ = ("_end", "_fixed", "_head", "_tail")

    def __init__(self, name: bytes, data: bytes, start: int, end: int) -> None:
        self._head = (b"event: %b\ndata: %b" if name else b"%bdata: %b") % (name, data[:start])
        self._tail = data[end:]
        self._end = self._tail + b"\n\n"
        self._fixed = len(self._head) + len(self._end)

    def run(self, chunk: bytes) -> tuple[int, bytes]:
        """How many bytes of `chunk` are such events, from its beginning on, and the text in all of them; none where
        others stand between them."""
        head, tail, size = self._head, self._tail, len(chunk)
        if size >= self._fixed and chunk.startswith(head) and chunk.endswith(self._end):  # one, as most come
            text = chunk[len(head) : size - len(self._end)]
            if _QUOTE not in text:
                return size, text
        blocks = chunk.split(b"\n\n")
        size -= len(blocks.pop())  # the end of it has not come
        while blocks and not blocks[-1].startswith(head):
            size -= len(blocks.pop()) + 2
        texts = [block.removeprefix(head).removesuffix(tail) for block in blocks]
        text = b"".join(texts)
        if len(text) + len(blocks) * self._fixed != size or (_QUOTE in text and not _TEXT.fullmatch(text)):
            return 0, b""
        if _BACKSLASH in text and any((len(each) - len(each.rstrip(b"\\"))) % 2 for each in texts):
            return 0, b""  # a text goes on behind the quote
        return size, text

    def saying(self, text: bytes) -> bytes:
        """The one such event that says this: as much as all those do whose texts it is."""
        return self._head + text + self._end
