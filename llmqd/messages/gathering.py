"""What the readers of all dialects' answers have in common: choices, the reason of the end, and tidy parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from llmqd.messages.lenient_json import sound
from llmqd.messages.message import Media, Part, Reasoning, Text, ToolCall, ToolResult
from llmqd.messages.runs import Shape

Raw = dict[str, Any]
"""A message as it stood on the wire, parsed."""

_LONGEST_NAME = 256


class Gathering(ABC):
    """Takes the messages of one answer, a body or the events of a stream, and has its parts at the end.

    Nothing that it is given makes it raise: what is of the wrong type is passed over.
    """

    shape: ClassVar[Shape | None] = None
    """How the dialect writes events of text, where runs of them may be taken as one."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.provider_id: str | None = None

    @property
    def item_id(self) -> str | None:
        """The id of its last item, where the dialect has items."""
        return None

    @abstractmethod
    def take(self, message: Raw) -> None:
        """The next message."""

    @abstractmethod
    def choices(self) -> list[list[Part]]:
        """The parts of each choice in their order; nothing where nobody spoke."""

    def says_all(self, last: Raw) -> bool:
        """Whether a stream's last message repeats everything that was said before."""
        return False

    def name(self, provider_id: object) -> None:
        """Keep the first id that is not empty."""
        if self.provider_id is None:
            self.provider_id = word(provider_id)

    def finish(self, reason: object) -> None:
        """Keep the latest reason why the answer ended."""
        self.finish_reason = word(reason) or self.finish_reason


def word(value: object) -> str | None:
    """A short text that is not empty; None for anything else."""
    return sound(value[:_LONGEST_NAME]) if isinstance(value, str) and value else None


def place(value: object, otherwise: int = 0) -> int:
    """A number that tells choices, items and blocks apart."""
    return value if isinstance(value, int) else otherwise


def tidy(parts: Iterable[Part], media_max: int) -> tuple[Part, ...]:
    """The parts with neighbouring words put together, texts that can be encoded, and media without their bytes where
    these are more than `media_max`.

    Providers cut words anywhere: at citations (Anthropic), at the chunks of a stream (Gemini).
    """
    tidied: list[Part] = []
    words: list[str] = []
    kind: type[Text] | type[Reasoning] = Text
    for part in parts:
        if isinstance(part, Text | Reasoning):
            if words and not isinstance(part, kind):
                tidied.append(kind(sound("".join(words))))
                words = []
            kind = type(part)
            words.append(part.text)
            continue
        if words:
            tidied.append(kind(sound("".join(words))))
            words = []
        tidied.append(_sound(part, media_max))
    if words:
        tidied.append(kind(sound("".join(words))))
    return tuple(tidied)


def _sound(part: Part, media_max: int) -> Part:
    if isinstance(part, ToolCall):
        return ToolCall(sound(part.name), sound(part.arguments), part.id and sound(part.id))
    if isinstance(part, ToolResult):
        media = tuple(_bounded(one, media_max) for one in part.media)
        return ToolResult(sound(part.text), part.id and sound(part.id), part.name and sound(part.name), media)
    return _bounded(part, media_max) if isinstance(part, Media) else part


def _bounded(media: Media, media_max: int) -> Media:
    data = media.data if media.size <= media_max else None
    return Media(
        sound(media.type[:_LONGEST_NAME]),
        media.url and sound(media.url),
        data and sound(data),
        media.size,
        media.name and sound(media.name),
    )
