"""Answers of OpenAI's chat and legacy completions, and of all those made after them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from llmqd.messages.chat_request import chat_parts
from llmqd.messages.content import json_text, media
from llmqd.messages.gathering import Gathering, Raw, place
from llmqd.messages.message import Part, Text
from llmqd.messages.runs import Shape, text_members
from llmqd.providers.facts import member, members


class ChatAnswer(Gathering):
    """`choices` with a `message`, a `delta` or a `text`. A whole message is read like one of a request."""

    shape: ClassVar[Shape | None] = Shape(
        starts=(b'"choices"',),
        close=b"}]",
        keys=frozenset({"choices"}),
        texts=text_members("content", "arguments", "reasoning_content", "reasoning", "text", "refusal", "input"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, _Choice] = {}

    def take(self, message: Raw) -> None:
        """A body or a chunk."""
        self.name(message.get("id"))
        for position, choice in enumerate(members(message, "choices")):
            index = place(choice.get("index"), position)
            said = self._choices.get(index)
            if said is None:
                said = self._choices[index] = _Choice()
            if index == min(self._choices):
                self.finish(choice.get("finish_reason"))
            said.words("content", choice.get("text"))
            said.add(member(choice, "delta", "message"))

    def choices(self) -> list[list[Part]]:
        """One list of parts for each `index`."""
        return [self._choices[index].parts() for index in sorted(self._choices)]


@dataclass(slots=True)
class _Call:
    """A tool call in the making; `members` is it without what it is called with, `asked` are the pieces of that."""

    members: dict[str, Any]
    asked: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Choice:
    """One choice in the making: the members of its message in pieces."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    blocks: list[Any] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)
    by_index: dict[int, _Call] = field(default_factory=dict)
    function: _Call | None = None
    media: list[Part] = field(default_factory=list)

    def words(self, name: str, piece: object) -> None:
        if isinstance(piece, str) and piece:
            self.texts.setdefault(name, []).append(piece)

    def add(self, said: dict[str, Any]) -> None:
        """A delta, or a whole message."""
        content = said.get("content")
        if isinstance(content, list):
            self.blocks += content
        elif self.blocks and isinstance(content, str) and content:
            self.blocks.append(content)  # Mistral's models think in blocks and then speak in words
        else:
            self.words("content", content)
        # Some servers say the same under both names while their clients move from one to the other.
        self.words("reasoning_content", said.get("reasoning_content") or said.get("reasoning"))
        self.words("refusal", said.get("refusal"))
        for position, call in enumerate(members(said, "tool_calls")):
            self._call(place(call.get("index"), position), call)
        function = said.get("function_call")
        if isinstance(function, dict):
            self.function = self.function or _Call({})
            _merge(self.function, function)
        if "audio" in said or "images" in said:
            self._media(said)

    def _call(self, index: int, call: dict[str, Any]) -> None:
        """Another id at the same index is another call: some servers number all of theirs 0."""
        known = self.by_index.get(index)
        call_id = call.get("id")
        if known is None or (call_id and known.members.get("id") not in (None, "", call_id)):
            known = self.by_index[index] = _Call({})
            self.calls.append(known)
        if call_id and not known.members.get("id"):
            known.members["id"] = call_id
        _merge(known, member(call, "function", "custom"))

    def _media(self, said: dict[str, Any]) -> None:
        """Speech with its words (OpenAI), and pictures (OpenRouter)."""
        audio = member(said, "audio")
        self.words("transcript", audio.get("transcript"))
        if isinstance(audio.get("data"), str):
            self.media.append(media("audio", None, audio["data"], audio.get("id")))
        for image in members(said, "images"):
            self.media.append(media("image", member(image, "image_url").get("url")))

    def parts(self) -> list[Part]:
        raw: dict[str, Any] = {name: "".join(pieces) for name, pieces in self.texts.items()}
        raw["role"] = "assistant"
        if self.blocks:
            words = raw.get("content")
            raw["content"] = [words, *self.blocks] if words else self.blocks
        raw["tool_calls"] = [
            {"id": call.members.get("id"), "function": call.members | {"arguments": "".join(call.asked)}}
            for call in self.calls
        ]
        if self.function is not None:
            raw["function_call"] = self.function.members | {"arguments": "".join(self.function.asked)}
        spoken = [Text(raw["transcript"])] if "transcript" in raw else []
        return [*spoken, *chat_parts(raw), *self.media]


def _merge(call: _Call, piece: dict[str, Any]) -> None:
    """Calls of functions come with `arguments` (a value in some servers' JSON), those of custom tools with `input`."""
    if piece.get("name") and not call.members.get("name"):
        call.members["name"] = piece["name"]
    asked = piece.get("arguments", piece.get("input"))
    if asked is not None:
        call.asked.append(json_text(asked))
