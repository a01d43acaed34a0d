"""The nouns of what was said: a Message and its parts, the same for every dialect."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]
"""Who speaks. `system` also stands for developer messages and instructions, `assistant` for `model`; a message that
holds nothing but results of tools is of `tool`, whatever role its dialect gives it."""


class Text(msgspec.Struct, frozen=True, tag="text", tag_field="kind"):
    """Words, as they were written."""

    text: str


class Reasoning(msgspec.Struct, frozen=True, omit_defaults=True, tag="reasoning", tag_field="kind"):
    """What a model thought before it spoke. Clients may or may not send it back."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True, tag="tool_call", tag_field="kind"):
    """A model wants a tool to run. `arguments` is JSON text (any text for free-form tools); `id` ties the result to it.

    A tool that runs at the provider (web search, code execution) is one as well.
    """

    name: str
    arguments: str = ""
    id: str | None = None


class ToolResult(msgspec.Struct, frozen=True, omit_defaults=True, tag="tool_result", tag_field="kind"):
    """What a tool gave back, as text; `media` is what of it is no text. `id` is that of its call, if there is one."""

    text: str
    id: str | None = None
    name: str | None = None
    media: tuple[Media, ...] = ()


class Media(msgspec.Struct, frozen=True, omit_defaults=True, tag="media", tag_field="kind"):
    """An image, a sound, a film or a file. `url` is where it is, or None where its bytes came along: then `data` is
    their base64 text, or None where it was left out for its size, and `size` their number. In the ledger the bytes
    stand by themselves, under `digest`."""

    type: str
    """Its media type, such as image/png, or as much of it as is known: image, audio, video, file."""
    url: str | None = None
    data: str | None = None
    size: int = 0
    name: str | None = None
    digest: str | None = None


Part = Text | Reasoning | ToolCall | ToolResult | Media


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing said by one speaker."""

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None

    @property
    def text(self) -> str:
        """Its words without reasoning and tools, parts separated by a line break."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))
