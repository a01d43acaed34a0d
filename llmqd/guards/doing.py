"""What a call is about to do, as a short digest: by it a session is seen to do the same again and again. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
import orjson

from llmqd.messages.message import Media, Text, ToolCall, ToolResult

if TYPE_CHECKING:
    from llmqd.messages.message import Message, Part
    from llmqd.messages.request import Said

_MEDIA_READ = 4096
_NOTHING = blake2b(digest_size=8)
"""A copy of it is quicker made than another."""


class Doing(msgspec.Struct, frozen=True):
    """`tools` are the names of the tools whose results a call brings; none where it brings a message."""

    digest: int
    tools: tuple[str, ...] = ()


def doing_of(said: Said) -> Doing | None:
    """The calls of tools that a request answers, by names and arguments; without any, its last message. None where it
    says nothing."""
    last = len(said.roles) - 1
    if last < 0:
        return None
    at, message = last, said.message(last)
    if message.role != "tool":
        return Doing(_digest(*[_words(part) for part in message.parts]))
    while at >= 0 and message.role == "tool":
        at -= 1
        message = said.message(at) if at >= 0 else message
    calls = [part for part in message.parts if isinstance(part, ToolCall)] if at < last and at >= 0 else []
    if calls:
        return Doing(_digest(*[_written(call) for call in calls]), tuple(call.name for call in calls))
    return Doing(_digest(*[_words(part) for part in _parts(said, at + 1 if at < last else last)]))


def _parts(said: Said, first: int) -> list[Part]:
    messages: list[Message] = [said.message(index) for index in range(first, len(said.roles))]
    return [part for message in messages for part in message.parts]


def _written(call: ToolCall) -> bytes:
    """Arguments count by what they say, not by the order or the spaces in which they are written."""
    try:
        arguments = orjson.dumps(orjson.loads(call.arguments), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        arguments = call.arguments.encode("utf-8", "surrogatepass")
    return call.name.encode("utf-8", "surrogatepass") + b"\0" + arguments


def _words(part: Part) -> bytes:
    if isinstance(part, Text | ToolResult):
        return part.text.encode("utf-8", "surrogatepass")
    if isinstance(part, Media):
        shown = part.type, part.url, str(part.size), (part.data or "")[:_MEDIA_READ]
        return "\0".join(map(str, shown)).encode("utf-8", "surrogatepass")
    return b""


def _digest(*pieces: bytes) -> int:
    digest = _NOTHING.copy()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return int.from_bytes(digest.digest(), "big")
