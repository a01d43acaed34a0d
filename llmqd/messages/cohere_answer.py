"""Answers of Cohere's chat API, version 2 and version 1."""

from __future__ import annotations

from typing import Any, ClassVar

from llmqd.messages.chat_request import chat_parts
from llmqd.messages.content import json_text, word
from llmqd.messages.gathering import Gathering, Raw, place
from llmqd.messages.message import Part, Reasoning
from llmqd.messages.runs import Shape, text_members
from llmqd.providers.facts import member, members


class CohereAnswer(Gathering):
    """Version 2 has a message with blocks and tool calls, whole or in deltas of the same shape; version 1 has text."""

    shape: ClassVar[Shape | None] = Shape(
        starts=(b'"type"',),
        close=b"}",
        keys=frozenset({"type", "delta"}),
        texts=text_members("text", "thinking", "arguments"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._began = False
        self._plan: list[str] = []
        self._blocks: dict[int, dict[str, list[str]]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._arguments: dict[int, list[str]] = {}

    def take(self, message: Raw) -> None:
        """A body or an event."""
        self._began = True
        if message.get("event_type") == "stream-end" or message.get("event_type") == "stream-start":
            self._end(message)
            return
        delta = member(message, "delta")
        self.name(message.get("id") or message.get("generation_id"))
        self.finish(message.get("finish_reason") or delta.get("finish_reason"))
        said = member(delta, "message") or member(message, "message") or message
        self._text(place(message.get("index")), "text", message.get("text"))
        plan = said.get("tool_plan")
        if isinstance(plan, str):
            self._plan.append(plan)
        self._content(place(message.get("index")), said.get("content"))
        calls = said.get("tool_calls")
        if isinstance(calls, dict):
            self._call(place(message.get("index")), calls)
        for position, call in enumerate(members(said, "tool_calls")):
            self._call(position, call)

    def choices(self) -> list[list[Part]]:
        """The one that there is; the plan for its tools counts as a thought."""
        if not self._began:
            return []
        content = [
            {"type": name, name: "".join(pieces)}
            for index in sorted(self._blocks)
            for name, pieces in self._blocks[index].items()
        ]
        for index, pieces in self._arguments.items():
            self._calls[index]["arguments"] = "".join(pieces)
        calls = [{"id": call.get("id"), "function": call} for _, call in sorted(self._calls.items())]
        plan = "".join(self._plan)
        parts: list[Part] = [Reasoning(plan)] if plan else []
        return [parts + chat_parts({"role": "assistant", "content": content, "tool_calls": calls})]

    def _end(self, message: dict[str, Any]) -> None:
        """The end of a stream of version 1 repeats the text and the calls."""
        self.name(member(message, "response").get("generation_id") or message.get("generation_id"))
        self.finish(message.get("finish_reason"))
        for position, call in enumerate(members(member(message, "response"), "tool_calls")):
            self._call(position, call)

    def _content(self, index: int, content: object) -> None:
        """A block of a delta, or a body's list of them."""
        listed = enumerate(content) if isinstance(content, list) else [(index, content)]
        for at, block in listed:
            if isinstance(block, dict):
                self._text(at, "text", block.get("text"))
                self._text(at, "thinking", block.get("thinking"))

    def _text(self, index: int, name: str, piece: object) -> None:
        if isinstance(piece, str) and piece:
            self._blocks.setdefault(index, {}).setdefault(name, []).append(piece)

    def _call(self, index: int, call: dict[str, Any]) -> None:
        function = member(call, "function") or call
        known = self._calls.setdefault(index, {})
        for name, value in (("id", call.get("id")), ("name", function.get("name"))):
            if word(value) is not None:
                known.setdefault(name, value)
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            self._arguments.setdefault(index, []).append(arguments)
        elif "parameters" in function:
            known["arguments"] = json_text(function["parameters"])
