"""Knows the events of a stream that differ in nothing but a piece of text: most of them, however many come at once."""

from __future__ import annotations

import re
from io import BytesIO
from operator import itemgetter
from typing import NamedTuple

from llmqd.messages.lenient_json import STRING_BODY

_QUOTE, _BACKSLASH = 0x22, 0x5C
"""As numbers: see `sse`."""

_TEXT = re.compile(STRING_BODY, re.DOTALL)
_VARYING = (
    (re.compile(rb'"obfuscation":"[^"\\\n]*+'), b'"obfuscation":"'),
    (re.compile(rb'"p":"[^"\\\n]*+'), b'"p":"'),
    (re.compile(rb'"sequence_number":[0-9]++'), b'"sequence_number":0'),
)
"""What else differs from event to event, and what stands for it: the padding of OpenAI and of Mistral against guessing
texts by the sizes of packets, and the numbers of the Responses API (OpenAI API reference, "Streaming")."""
_LEARNS = 16
"""So often an event of a stream is taken for one that others may be as, before it is given up."""
_WORTH = 1024
"""Bytes that have come behind an event, of which it is worth while to see whether they are as it is."""


class Alike:
    """The server-sent events that are as a given one, of this name and with these data, but for the text that stands in
    it from `start` to before `end`, between two quotes, and for padding and for a number that counts them."""

    __slots__ = ("_between", "_end", "_fixed", "_head", "_lead", "_lines", "_number", "_text", "_varying")

    def __init__(self, name: bytes, data: bytes, start: int, end: int) -> None:
        self._varying = [(pattern, steady) for pattern, steady in _VARYING if pattern.search(data)]
        self._head = (b"event: %b\ndata: %b" if name else b"%bdata: %b") % (name, self._steadied(data[:start]))
        self._end = self._steadied(data[end:]) + b"\n\n"
        self._fixed = len(self._head) + len(self._end)
        self._between = self._end + self._head
        self._lead = self._head.rpartition(b"\n")[2]
        self._number, self._lines = self._head.count(b"\n"), self._between.count(b"\n")
        """Which line of an event the text is in, and how many lines an event has, its empty one counted."""
        self._text = itemgetter(slice(len(self._lead), 1 - len(self._end)))

    def run(self, chunk: bytes) -> tuple[int, bytes]:
        """How many bytes of `chunk` are such events, from its beginning on, and the text in all of them; none where
        others stand between them."""
        head, came = self._head, chunk
        if self._varying:
            chunk = self._steadied(chunk)
        size = len(chunk)
        if size >= self._fixed and chunk.startswith(head) and chunk.endswith(self._end):  # one, as most come
            text = chunk[len(head) : size - len(self._end)]
            if _QUOTE not in text:
                return len(came), text
        lines = BytesIO(chunk).readlines()[self._number :: self._lines]
        while lines and not (lines[-1].startswith(self._lead) and lines[-1].endswith(self._end[:-1])):
            lines.pop()  # the end of it has not come, or it is another
        texts = list(map(self._text, lines))
        events = head + self._between.join(texts) + self._end
        text = b"".join(texts)
        if not texts or not chunk.startswith(events) or not _are_bodies(texts, text):
            return 0, b""
        more = chunk.find(head, len(events))
        if more >= 0 and chunk.find(b"\n\n", more) >= 0:
            return 0, b""
        return (len(events) if chunk is came else len(came) - len(came.split(b"\n\n", len(texts))[-1])), text

    def _steadied(self, data: bytes) -> bytes:
        for pattern, steady in self._varying:
            data = pattern.sub(steady, data)
        return data

    def saying(self, text: bytes) -> bytes:
        """The one such event that says this: as much as all those do whose texts it is."""
        return self._head + text + self._end


class Cut(NamedTuple):
    """The bytes that have come, cut apart: so many that are alike at their beginning and the `text` in them, what is to
    be looked at behind these, and the rest."""

    alike: int
    text: bytes
    look: bytes
    rest: bytes


class Familiar:
    """Of one stream, the event that others are like. In pieces of more than `most` bytes it is not looked for."""

    __slots__ = ("_alike", "_learns", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._alike: Alike | None = None
        self._learns = _LEARNS

    @property
    def learns(self) -> bool:
        """Whether `learn` is to be told of events that were looked at."""
        return self._learns > 0

    def learn(self, alike: Alike | None) -> None:
        """An event was looked at that others may be like; None: that none can be like."""
        self._learns -= 1
        self._alike = alike or self._alike

    def saying(self, text: bytes) -> bytes:
        """As `Alike.saying`, where events alike have been found."""
        assert self._alike is not None
        return self._alike.saying(text)

    def cut(self, chunk: bytes, *, between: bool) -> Cut:
        """Cuts the next bytes apart; `between` says that they begin with an event. A single event is to be looked at
        first where many that may be like it have come with it."""
        alike, text, rest = 0, b"", b""
        if self._alike is not None and between and len(chunk) <= self._most:
            alike, text = self._alike.run(chunk)
            chunk = chunk[alike:]
        if self._learns and (end := chunk.find(b"\n\n") + 2) > 1 and len(chunk) - end > _WORTH:
            chunk, rest = chunk[:end], chunk[end:]
        return Cut(alike, text, chunk, rest)


def _are_bodies(texts: list[bytes], together: bytes) -> bool:
    """Whether each of these can stand between the quotes of a string."""
    if _QUOTE in together and not _TEXT.fullmatch(together):
        return False
    return _BACKSLASH not in together or not any((len(each) - len(each.rstrip(b"\\"))) % 2 for each in texts)
