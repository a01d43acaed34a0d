"""Reads the messages of one answer: recognises whose format each is, and passes over those that say nothing new.

Most events of a stream only carry a piece of text. They are recognised by a few byte searches and not parsed: an event
that holds the text member learned from the parsed ones, and neither a usage other than null, nor a finish reason, nor
a call of a tool. Only the size of its text is taken, between the member's quotes, as the base of an estimate should the
stream be cut.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
import orjson

from llmqd.call import Dialect
from llmqd.providers import anthropic, bedrock, cohere, gemini, llamacpp, ollama, openai
from llmqd.providers.facts import Facts, Message, error_kind
from llmqd.providers.plain_chat import PlainChat, plain_chat

_LARGE = 64 * 1024
"""Above this size of a message its large members (images, embeddings, long texts) are passed over unparsed."""

_DEPTH = 6
"""So deep large members are looked into: a chat's body, choice, message, call, function."""

_SPOKEN = frozenset({"choices", "output", "content", "candidates", "parts", "tool_calls"})
"""Lists that hold what a model said; other large ones (embeddings, images) are passed over whole."""

_PROBES = 8
"""So many events are parsed in search of the model's name before it is given up."""

_BACKSLASH = 0x5C

_TOGETHER = 4
"""So many messages that have come at once are searched as one piece; with fewer that is no gain."""

_STOPS = 4
"""So often the search of a piece may be stopped by a message that has to be looked at; then all behind it are."""

_BETWEEN = b"\0"
"""Stands in no mark and in no JSON."""

_USAGE = re.compile(rb'"usage(?!":null)')
_NOWHERE = b"\n"
"""Stands in no event but one whose data came in several lines; such a one is parsed."""

_NO_CALL = re.compile(rb'(?:tool_calls|function_call)"\s*+:\s*+(?:null|\[\s*+\])')


class _Format(Protocol):
    """A dialect's module in llmqd.providers."""

    def matches(self, message: Message, /) -> bool: ...

    def read(self, message: Message, facts: Facts, /) -> None: ...


_FORMATS: tuple[_Format, ...] = (anthropic, gemini, ollama, bedrock, cohere, llamacpp, openai)
_OWN_FORMAT: MappingProxyType[Dialect, _Format] = MappingProxyType(
    {"openai": openai, "anthropic": anthropic, "gemini": gemini, "ollama": ollama}
)


class MessageReader:
    """Gathers the facts of one answer. `dialect` is whose format is assumed where a message does not show its own."""

    def __init__(self, dialect: Dialect) -> None:
        self.facts = Facts()
        self.plain: PlainChat | None = None
        """A whole answer that is nothing but a text."""
        self._assumed = _OWN_FORMAT[dialect]
        self._parsed = 0
        self._text_mark = b""
        self._reason_mark = b""
        self._call_marks = (_NOWHERE, _NOWHERE)
        self._format = self._assumed

    def take(self, data: bytes) -> None:
        """One message as it stands on the wire. Never raises: what is no JSON is passed over."""
        mark = self._text_mark
        if mark and data.find(mark) >= 0 and self._is_plain(data):
            self._pass_over((data,))
        else:
            self._parse(data)

    def text_in(self, data: bytes) -> tuple[int, int] | None:
        """Where the text of a message stands that says nothing else; None where it may."""
        mark = self._text_mark
        start = data.find(mark) + len(mark)
        if not mark or start < len(mark) or not self._is_plain(data):
            return None
        end = self._text_end(data, start)
        return None if end < start else (start, end)

    def take_body(self, data: bytes) -> None:
        """A whole answer that is one message."""
        self.plain = plain_chat(data) if self._assumed is openai else None
        if self.plain is None:
            self.take(data)
        else:
            openai.read_plain(self.plain, self.facts)

    def take_end(self, data: bytes) -> None:
        """The end of a whole answer that is too large to be kept: its usage, where little stands behind that.

        Formats are told apart by other members. So it is read of OpenAI's alone, which has such answers.
        """
        start = data.rfind(b'"usage"')
        if start >= 0 and self._assumed is openai:
            self.take(b"{" + data[start:])

    def take_all(self, messages: Sequence[bytes]) -> None:
        """Messages that have come together: the same as each by itself, in a fraction of the time where most of them
        only carry text."""
        first, stops = 0, 0
        if len(messages) >= _TOGETHER:
            while first < len(messages) and not self._text_mark:
                self.take(messages[first])
                first += 1
            ends = list(accumulate(len(each) + 1 for each in messages))
            together = _BETWEEN.join(messages)
            while first < len(messages) and stops < _STOPS:
                stop = bisect_right(ends, self._first_to_look_at(together, ends[first - 1] if first else 0))
                self._pass_over(messages[first:stop])
                for each in messages[stop : stop + 1]:
                    self.take(each)
                first, stops = stop + 1, stops + 1
        for each in messages[first:]:
            self.take(each)

    def _first_to_look_at(self, together: bytes, start: int) -> int:
        """Where the first mark is that keeps a message from being plain; behind the end where there is none."""
        found = [together.find(mark, start) for mark in (self._reason_mark, *self._call_marks)]
        if together.count(b'"usage', start) != together.count(b'"usage":null', start) and (
            usage := _USAGE.search(together, start)
        ):
            found.append(usage.start())
        return min((at for at in found if at >= 0), default=len(together) + 1)

    def _pass_over(self, messages: Sequence[bytes]) -> None:
        """Messages without any such mark: those that hold a text bring nothing else."""
        mark, calls, size = self._text_mark, self._call_marks, 0
        width = len(mark)
        for number, each in enumerate(messages, 1):
            start = each.find(mark) + width
            if start < width:
                self._parse(each)
                if (self._text_mark, self._call_marks) != (
                    mark,
                    calls,
                ):  # judged by others from here on
                    for rest in messages[number:]:
                        self.take(rest)
                    break
                continue
            size += max(0, self._text_end(each, start) - start)
        self.facts.text_bytes += size

    def _text_end(self, data: bytes, start: int) -> int:
        end = data.find(b'"', start)
        while end > start and data[end - 1] == _BACKSLASH:
            end = data.find(b'"', end + 1)
        return end

    def _is_plain(self, data: bytes) -> bool:
        # Backwards, because usage and reason stand near the end: half the time of a forward search.
        usage = data.rfind(b'"usage')
        if usage >= 0 and not (data.startswith(b'":null', usage + 6) and data.find(b'"usage', 0, usage) < 0):
            return False
        if data.rfind(self._reason_mark) >= 0:
            return False
        mark, other = self._call_marks
        return (data.rfind(mark) < 0 and data.rfind(other) < 0) or _says_none(data)

    def _parse(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.facts.finished = True
            return
        message = parse(data)
        for part in message if isinstance(message, list) else [message]:
            if isinstance(part, dict):
                self._merge(part)
        self._parsed += 1
        key = self.facts.text_key
        # A chunk of Gemini's reports usage anyway, and may hold text and calls side by side: all of them are parsed.
        if key is not None and self._format is not gemini and (self.facts.model or self._parsed >= _PROBES):
            self._learn(data, key.encode())

    def _merge(self, message: Message) -> None:
        facts = self.facts
        facts.error = facts.error or error_kind(message)
        if "choices" in message:
            self._format = openai
        else:
            self._format = next((one for one in _FORMATS if one.matches(message)), self._assumed)
        self._format.read(message, facts)
        if bedrock.METRICS in message:
            bedrock.read_metrics(message, facts)

    def _learn(self, data: bytes, key: bytes) -> None:
        """Remember how this stream writes the member that holds its text, and so its finish reason."""
        for colon in (b'":', b'": '):
            mark = b'"' + key + colon + b'"'
            if mark in data:
                self._text_mark = mark
                self._reason_mark = _reason_mark(self._format, colon)
                self._call_marks = _call_marks(self._format, key, colon)


def _reason_mark(wire_format: _Format, colon: bytes) -> bytes:
    """What stands in the event that says how the answer ended. Ollama and llama.cpp say everything else there, too, and
    not all that speak as they do give a reason."""
    if wire_format is ollama:
        return b'"done' + colon + b"true"
    return b'"stop' + colon + b"true" if wire_format is llamacpp else b"eason" + colon + b'"'


def _call_marks(wire_format: _Format, key: bytes, colon: bytes) -> tuple[bytes, bytes]:
    """What stands in an event that begins a call of a tool, but not in those that only bring text under `key`."""
    if wire_format is anthropic:
        return b"tool_use", _NOWHERE
    if key == b"arguments":
        return b'"name' + colon + b'"', _NOWHERE
    return (_NOWHERE, _NOWHERE) if key == b"delta" else (b"tool_calls", b"function_call")


def _says_none(data: bytes) -> bool:
    """Whether the marks found are only the null or the empty list with which some servers fill up each event."""
    empty = len(_NO_CALL.findall(data))
    return empty > 0 and empty == data.count(b"tool_calls") + data.count(b"function_call")


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])


def parse(data: bytes) -> Any:
    """A JSON value; None when it is none. Of a large object only what is small: in itself, in its large members that
    are objects (`response` of a Responses event), and in the large lists of what a model said."""
    try:
        if len(data) <= _LARGE or not data.lstrip().startswith(b"{"):
            return orjson.loads(data)
        return _outline(data, _DEPTH)
    except (ValueError, RecursionError):
        return None


def _outline(data: bytes | memoryview, depth: int) -> Message:
    message: Message = {}
    for key, raw in _members.decode(data).items():
        view = memoryview(raw)
        if len(view) <= _LARGE:
            message[key] = orjson.loads(view)
        elif depth > 1 and view[0] == 0x7B:
            message[key] = _outline(view, depth - 1)
        elif depth > 1 and view[0] == 0x5B and key in _SPOKEN:
            message[key] = [_outlined(item, depth - 1) for item in _items.decode(view)]
        else:
            # Its presence tells the format (`choices`, `candidates`), its content nothing that is needed.
            message[key] = None
    return message


def _outlined(item: msgspec.Raw, depth: int) -> Any:
    view = memoryview(item)
    if len(view) <= _LARGE:
        return orjson.loads(view)
    return _outline(view, depth) if view[0] == 0x7B else None
