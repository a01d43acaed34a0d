"""Answers of Amazon Bedrock's Converse API, whole and streamed."""

from __future__ import annotations

from typing import Any

from llmqd.messages.content import parts_of
from llmqd.messages.gathering import Gathering, Raw, place
from llmqd.messages.message import Part
from llmqd.providers.facts import member, members


class BedrockAnswer(Gathering):
    """`output.message` with its content, or events that each stand under their name (`contentBlockDelta`...)."""

    def __init__(self) -> None:
        super().__init__()
        self._began = False
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}

    def take(self, message: Raw) -> None:
        """A body or an event."""
        self._began = True
        self.finish(message.get("stopReason") or member(message, "messageStop").get("stopReason"))
        for block in members(member(member(message, "output"), "message"), "content"):
            self._blocks[len(self._blocks)] = _block(block)
        begun = member(message, "contentBlockStart")
        if begun:
            self._blocks[place(begun.get("contentBlockIndex"))] = dict(member(begun, "start"))
        event = member(message, "contentBlockDelta")
        delta = member(event, "delta")
        index = place(event.get("contentBlockIndex"))
        for name, piece in (
            ("text", delta.get("text")),
            ("thinking", member(delta, "reasoningContent").get("text")),
            ("input", member(delta, "toolUse").get("input")),
        ):
            if isinstance(piece, str) and piece:
                self._blocks.setdefault(index, {})
                self._pieces.setdefault((index, name), []).append(piece)

    def choices(self) -> list[list[Part]]:
        """The one that there is."""
        if not self._began:
            return []
        for (index, name), pieces in self._pieces.items():
            text = "".join(pieces)
            if name == "input":
                self._blocks[index] = {"toolUse": member(self._blocks[index], "toolUse") | {"input": text}}
            else:
                self._blocks[index] = {"type": name, name: text}
        self._pieces.clear()
        return [parts_of([self._blocks[index] for index in sorted(self._blocks)])]


def _block(block: dict[str, Any]) -> dict[str, Any]:
    thought = member(member(block, "reasoningContent"), "reasoningText")
    return {"type": "thinking", "thinking": thought.get("text")} if thought else block
