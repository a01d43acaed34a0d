"""Reads what a request says, from its parsed JSON body, whatever dialect it is written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from llmqd.call import Dialect
from llmqd.messages.chat_request import chat_parts, read_chat
from llmqd.messages.content import parts_of, word
from llmqd.messages.gemini_request import gemini_parts, read_gemini, system_of
from llmqd.messages.message import Message, Part, Role, Text, ToolResult
from llmqd.messages.responses_request import item_parts, last_reference, read_items
from llmqd.messages.turns import Raw, Turn, Turns

_CONVERSING = frozenset({"chat", "messages", "generate_content", "responses", "completion", "complete", "other"})
"""Operations whose body is something said; the rest embeds, counts, lists or draws."""


class Said(msgspec.Struct):
    """What a request says, its messages still in the form they came in: most of them were read with an earlier request.

    `roles` and `turns` go together, one for each message that is not a system's; consecutive ones of the assistant are
    one, since some clients split what the model said (Responses items, the chunks of a Gemini stream, a prefilled
    answer). `system` holds the contents of system, developer and instruction texts, in their order.
    """

    roles: list[Role] = []
    turns: list[Turn] = []
    system: list[Any] = []
    previous_response: str | None = None
    by_response: bool = False
    """Whether its answer's id may be named by a later request instead of the history (Responses API)."""
    reference: str | None = None
    """The id of an item that stands in the history in place of what it says, the last of them."""
    keeps_items: bool = False
    """Whether the items of its answer may be named so."""
    read_parts: Callable[[Raw], list[Part]] = chat_parts
    _read: dict[int, Message] = {}

    def message(self, index: int) -> Message:
        """One of its messages, read in full; once, however often it is asked for."""
        message = self._read.get(index)
        if message is None:
            message = self._read[index] = self._message(index)
        return message

    def _message(self, index: int) -> Message:
        turn, role = self.turns[index], self.roles[index]
        if turn.__class__ is dict and len(turn) == 2 and role != "tool" and self.read_parts is chat_parts:
            text = turn.get("content")
            if text.__class__ is str and text and "role" in turn:
                return Message(role, (Text(text),))
        parts: list[Part] = []
        for raw in turn if isinstance(turn, list) else (turn,):
            parts += self.read_parts(raw)
        if role == "user" and parts and all(isinstance(part, ToolResult) for part in parts):
            role = "tool"
        return Message(role, tuple(parts))

    def system_message(self, index: int) -> Message:
        """One of its system texts."""
        return Message("system", tuple(part for part in parts_of(self.system[index]) if isinstance(part, Text)))


def read_request(dialect: Dialect, operation: str, fields: Mapping[str, Any]) -> Said:
    """What a body says. Never raises: an odd shape says less, and what is no conversation says nothing.

    `dialect` and `operation` are those of the route, `fields` the JSON object of the body. The members decide, not the
    dialect: an OpenAI-style upstream may well be sent Anthropic's blocks.
    """
    if operation not in _CONVERSING:
        return Said()
    messages = fields.get("messages")
    if isinstance(messages, list):
        return _said(read_chat(messages), _instructions(fields, "system"))
    contents = fields.get("contents")
    if contents is not None or dialect == "gemini":
        instruction = fields.get("systemInstruction", fields.get("system_instruction"))
        system = [] if instruction is None else system_of(instruction)
        return _said(read_gemini(contents), system, gemini_parts)
    if "input" in fields and operation in ("responses", "other"):
        said = _said(read_items(fields["input"]), _instructions(fields, "instructions"), item_parts)
        said.by_response = True
        said.previous_response = word(fields.get("previous_response_id"))
        said.reference = last_reference(fields["input"])
        said.keeps_items = fields.get("store") is not False
        return said
    return _said(_prompted(fields.get("prompt"), fields.get("images")), _instructions(fields, "system"))


def _said(turns: Turns, system: list[Any], read_parts: Callable[[Raw], list[Part]] = chat_parts) -> Said:
    return Said(turns.roles, turns.turns, system + turns.system, read_parts=read_parts)


def _instructions(fields: Mapping[str, Any], name: str) -> list[Any]:
    """The content of a member that holds a system text of its own."""
    content = fields.get(name)
    return [content] if content else []


def _prompted(prompt: object, images: object) -> Turns:
    """A prompt of text, or several; lists of token numbers say nothing that can be read. Ollama's may show `images`."""
    turns = Turns()
    for text in prompt if isinstance(prompt, list) else [prompt]:
        if isinstance(text, str) and text:
            turns.add("user", {"role": "user", "content": text} | ({"images": images} if images else {}))
    return turns
