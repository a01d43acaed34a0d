"""Answers of Anthropic's Messages API, and of its older text completions."""

from __future__ import annotations

from typing import Any, ClassVar

from llmqd.messages.content import parts_of
from llmqd.messages.gathering import Gathering, Raw, place
from llmqd.messages.message import Part
from llmqd.messages.runs import Shape, text_members
from llmqd.providers.facts import member, members

_DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "compaction_delta": "content"}
"""Which member of a delta continues the member of its name in the block."""


class AnthropicAnswer(Gathering):
    """Content blocks, whole or in deltas: of text, of thoughts, and of the JSON that a tool is called with."""

    shape: ClassVar[Shape | None] = Shape(
        starts=(b'"type"',),
        close=b"}",
        keys=frozenset({"type", "index", "delta"}),
        texts=text_members("text", "partial_json", "thinking"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._began = False
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}

    def take(self, message: Raw) -> None:
        """A body or an event."""
        kind = message.get("type")
        index = place(message.get("index"))
        if kind == "content_block_delta":
            self._continue(index, member(message, "delta"))
        elif kind == "content_block_start":
            self._blocks[index] = dict(member(message, "content_block"))
        elif kind == "message_delta":
            self.finish(member(message, "delta").get("stop_reason"))
        elif kind == "message_start":
            self._message(member(message, "message"))
        elif kind == "message":
            self._message(message)
        elif kind == "completion":
            self._completion(message)

    def choices(self) -> list[list[Part]]:
        """The one that there is."""
        if not self._began and not self._blocks:
            return []
        for (index, name), pieces in self._pieces.items():
            block = self._blocks[index]
            begun = block.get(name)
            block[name] = (begun if isinstance(begun, str) else "") + "".join(pieces)
        self._pieces.clear()
        return [parts_of([_readable(self._blocks[index]) for index in sorted(self._blocks)])]

    def _message(self, message: dict[str, Any]) -> None:
        self._began = True
        self.name(message.get("id"))
        self.finish(message.get("stop_reason"))
        for block in members(message, "content"):
            self._blocks[len(self._blocks)] = dict(block)

    def _continue(self, index: int, delta: dict[str, Any]) -> None:
        kind = delta.get("type")
        piece: object = None
        if kind == "input_json_delta":
            name, piece = "input", delta.get("partial_json")
        elif isinstance(kind, str) and kind in _DELTAS:
            name = _DELTAS[kind]
            piece = delta.get(name)
        if isinstance(piece, str) and piece:
            self._blocks.setdefault(index, {"type": name if name == "thinking" else "text"})
            self._pieces.setdefault((index, name), []).append(piece)

    def _completion(self, message: Raw) -> None:
        self.name(message.get("id"))
        self.finish(message.get("stop_reason"))
        self._continue(0, {"type": "text_delta", "text": message.get("completion")})


def _readable(block: dict[str, Any]) -> dict[str, Any]:
    """A compaction is words: the summary that stands for what was said before."""
    if block.get("type") == "compaction":
        return {"type": "text", "text": block.get("content")}
    return block
