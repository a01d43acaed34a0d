"""Made-up things that people and models say, and how each dialect writes them into a request."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from llmqd.messages.message import Message, Part, Text, ToolCall

_WORDS = """
the a of and to in for with on at from by about into over after river engine report window garden table system
market paper bridge signal winter coffee number station driver letter island doctor music summer forest camera
budget museum planet recipe ticket harbor lesson mirror pocket village compile deploy measure explain compare write
check repair cancel improve describe translate summarise find open close quick slow green silent broken modern
ancient heavy bright early late public private local remote simple careful
""".split()  # noqa: SIM905 - words are read more easily than a list of them

Fields = dict[str, Any]


def sentence(rng: random.Random, least: int = 5, most: int = 25) -> str:
    """Some words that hardly anybody else says."""
    return " ".join(rng.choice(_WORDS) for _ in range(rng.randint(least, most))).capitalize() + rng.choice(".?!")


def paragraphs(rng: random.Random, count: int) -> str:
    """Several of them, a line each."""
    return "\n\n".join(sentence(rng, 12, 30) for _ in range(count))


def call_id(rng: random.Random, prefix: str = "call_") -> str:
    """An id as providers make them."""
    return prefix + "".join(rng.choice("abcdefghijkmnpqrstuvwxyzABCDEFGH23456789") for _ in range(24))


def spoken(*parts: Part | str) -> Message:
    """What a model says: words and tool calls."""
    return Message("assistant", tuple(Text(part) if isinstance(part, str) else part for part in parts))


class OpenAiChat:
    """Writes history as OpenAI's chat does; so do most providers."""

    dialect, operation = "openai", "chat"

    def user(self, text: str) -> Fields:
        """A user's message."""
        return {"role": "user", "content": text}

    def answer(self, message: Message) -> list[Fields]:
        """An answer, as the SDK's object dumps itself."""
        calls = [
            {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
            for part in message.parts
            if isinstance(part, ToolCall)
        ]
        told: Fields = {"role": "assistant", "content": message.text or None, "refusal": None}
        return [told | {"tool_calls": calls} if calls else told]

    def results(self, calls: Sequence[ToolCall], outputs: Sequence[str]) -> list[Fields]:
        """What the tools gave back."""
        return [
            {"role": "tool", "tool_call_id": call.id, "content": output}
            for call, output in zip(calls, outputs, strict=True)
        ]

    def body(self, system: str | None, history: Sequence[Fields]) -> Fields:
        """The request."""
        head = [] if system is None else [{"role": "system", "content": system}]
        return {"model": "m", "messages": [*head, *history]}


class Anthropic(OpenAiChat):
    """Writes history as Anthropic's Messages do."""

    dialect, operation = "anthropic", "messages"

    def answer(self, message: Message) -> list[Fields]:
        """An answer's content blocks."""
        blocks: list[Fields] = []
        for part in message.parts:
            if isinstance(part, Text):
                blocks.append({"type": "text", "text": part.text})
            elif isinstance(part, ToolCall):
                blocks.append(
                    {"type": "tool_use", "id": part.id, "name": part.name, "input": orjson.loads(part.arguments)}
                )
        return [{"role": "assistant", "content": blocks}]

    def results(self, calls: Sequence[ToolCall], outputs: Sequence[str]) -> list[Fields]:
        """All results in one message."""
        pairs = zip(calls, outputs, strict=True)
        blocks = [{"type": "tool_result", "tool_use_id": call.id, "content": output} for call, output in pairs]
        return [{"role": "user", "content": blocks}]

    def body(self, system: str | None, history: Sequence[Fields]) -> Fields:
        """The request, with the cache mark on its last message as agents set it."""
        messages = [dict(message) for message in history]
        content: Any = messages[-1]["content"]
        blocks: list[Fields] = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        blocks[-1] = {**blocks[-1], "cache_control": {"type": "ephemeral"}}
        messages[-1]["content"] = blocks
        return {"model": "m", "max_tokens": 99, "messages": messages} | ({"system": system} if system else {})


class Gemini(OpenAiChat):
    """Writes history as Gemini's contents."""

    dialect, operation = "gemini", "generate_content"

    def user(self, text: str) -> Fields:
        """A user's content."""
        return {"role": "user", "parts": [{"text": text}]}

    def answer(self, message: Message) -> list[Fields]:
        """An answer as a stream's chunks leave it: several contents of the model."""
        contents: list[Fields] = []
        for part in message.parts:
            if isinstance(part, Text):
                half = len(part.text) // 2
                pieces = [piece for piece in (part.text[:half], part.text[half:]) if piece]
                contents += [{"role": "model", "parts": [{"text": piece}]} for piece in pieces]
            elif isinstance(part, ToolCall):
                called = {"name": part.name, "args": orjson.loads(part.arguments)}
                contents.append({"role": "model", "parts": [{"functionCall": called}]})
        return contents

    def results(self, calls: Sequence[ToolCall], outputs: Sequence[str]) -> list[Fields]:
        """All results in one content."""
        pairs = zip(calls, outputs, strict=True)
        parts = [{"functionResponse": {"name": call.name, "response": {"output": output}}} for call, output in pairs]
        return [{"role": "user", "parts": parts}]

    def body(self, system: str | None, history: Sequence[Fields]) -> Fields:
        """The request."""
        return {"contents": list(history)} | ({"systemInstruction": {"parts": [{"text": system}]}} if system else {})


class Responses(OpenAiChat):
    """Writes history as items of the Responses API."""

    dialect, operation = "openai", "responses"

    def answer(self, message: Message) -> list[Fields]:
        """The items of an output."""
        items: list[Fields] = [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}]
        for part in message.parts:
            if isinstance(part, Text):
                content = [{"type": "output_text", "text": part.text, "annotations": []}]
                items.append({"type": "message", "id": "msg_1", "role": "assistant", "content": content})
            elif isinstance(part, ToolCall):
                called = {"call_id": part.id, "name": part.name, "arguments": part.arguments}
                items.append({"type": "function_call", "id": "fc_1", **called})
        return items

    def results(self, calls: Sequence[ToolCall], outputs: Sequence[str]) -> list[Fields]:
        """An item for each result."""
        pairs = zip(calls, outputs, strict=True)
        return [{"type": "function_call_output", "call_id": call.id, "output": output} for call, output in pairs]

    def body(self, system: str | None, history: Sequence[Fields]) -> Fields:
        """The request."""
        return {"model": "m", "input": list(history)} | ({"instructions": system} if system else {})


WRITERS: Mapping[str, OpenAiChat] = {
    "chat": OpenAiChat(),
    "messages": Anthropic(),
    "gemini": Gemini(),
    "responses": Responses(),
}
