"""Reads the messages of one answer: recognises whose format each is, and passes over those that say nothing new.

Most events of a stream only carry a piece of text. They are recognised by a few byte searches and not parsed: an event
that holds the text member learned from the parsed ones, and neither a usage other than null nor a finish reason. Only
the size of its text is taken, between the member's quotes, as the base of an estimate should the stream be cut.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Protocol

import msgspec
import orjson

from llmqd.call import Dialect
from llmqd.providers import anthropic, bedrock, cohere, gemini, llamacpp, ollama, openai
from llmqd.providers.facts import Facts, Message, error_kind

_LARGE = 64 * 1024
"""Above this size of a message its large members (images, embeddings, long texts) are passed over unparsed."""

_PROBES = 8
"""So many events are parsed in search of the model's name before it is given up."""

_BACKSLASH = 0x5C


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
        self._assumed = _OWN_FORMAT[dialect]
        self._parsed = 0
        self._text_mark = b""
        self._reason_mark = b""

    def take(self, data: bytes) -> None:
        """One message as it stands on the wire. Never raises: what is no JSON is passed over."""
        mark = self._text_mark
        if mark:
            start = data.find(mark)
            if start >= 0 and self._is_plain(data):
                start += len(mark)
                end = data.find(b'"', start)
                while end > start and data[end - 1] == _BACKSLASH:
                    end = data.find(b'"', end + 1)
                self.facts.text_bytes += max(0, end - start)
                return
        self._parse(data)

    def _is_plain(self, data: bytes) -> bool:
        # Backwards, because usage and reason stand near the end: half the time of a forward search.
        usage = data.rfind(b'"usage')
        if usage >= 0 and not (data.startswith(b'":null', usage + 6) and data.find(b'"usage', 0, usage) < 0):
            return False
        return data.rfind(self._reason_mark) < 0

    def _parse(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.facts.finished = True
            return
        message = parse(data)
        for part in message if isinstance(message, list) else [message]:
            if isinstance(part, dict):
                self._merge(part)
        self._parsed += 1
        if self.facts.text_key is not None and (self.facts.model is not None or self._parsed >= _PROBES):
            self._learn(data, self.facts.text_key.encode())

    def _merge(self, message: Message) -> None:
        facts = self.facts
        facts.error = facts.error or error_kind(message)
        if "choices" in message:
            openai.read(message, facts)
            return
        for wire_format in _FORMATS:
            if wire_format.matches(message):
                wire_format.read(message, facts)
                return
        self._assumed.read(message, facts)

    def _learn(self, data: bytes, key: bytes) -> None:
        """Remember how this stream writes the member that holds its text, and so its finish reason."""
        for colon in (b'":', b'": '):
            mark = b'"' + key + colon + b'"'
            if mark in data:
                self._text_mark = mark
                self._reason_mark = b"eason" + colon + b'"'


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parse(data: bytes) -> Any:
    """A JSON value; None when it is none. Of a large object only the members that are small, and what is small in its
    large members that are objects themselves (`response` of a Responses event)."""
    try:
        if len(data) <= _LARGE or not data.lstrip().startswith(b"{"):
            return orjson.loads(data)
        return _outline(data, depth=2)
    except ValueError:
        return None


def _outline(data: bytes | memoryview, depth: int) -> Message:
    message: Message = {}
    for key, raw in _members.decode(data).items():
        view = memoryview(raw)
        if len(view) <= _LARGE:
            message[key] = orjson.loads(view)
        elif depth > 1 and view[0] == 0x7B:
            message[key] = _outline(view, depth - 1)
        else:
            # Its presence tells the format (`choices`, `candidates`), its content nothing that is needed.
            message[key] = None
    return message
