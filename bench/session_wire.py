"""What clients and providers of four APIs put on the wire: requests from a history, answers whole or as a stream."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Use:
    """The model wants a tool to run."""

    id: str
    name: str
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing said. `results` are those of tools, in the order in which their client sends them; `id` is the
    provider's for what a model said."""

    role: str
    text: str = ""
    uses: tuple[Use, ...] = ()
    results: tuple[tuple[Use, str], ...] = ()
    thought: str = ""
    image: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a client writes: contents as strings or parts, cache marks, thoughts sent back, whether its JSON is in
    another order each time, and what else it asks for."""

    parts: bool = False
    marks: bool = False
    thoughts: bool = False
    shuffled: bool = False
    references: bool = False
    more: Mapping[str, Any] | None = None


def any_manner(rng: random.Random) -> Manner:
    """One of them all."""
    parts, marks, thoughts, shuffled = (rng.random() < chance for chance in (0.4, 0.5, 0.3, 0.3))
    return Manner(parts, marks, thoughts, shuffled)


class Chat:
    """OpenAI's chat completions."""

    dialect, operation = "openai", "chat"

    def request(self, system: str | None, turns: Sequence[Turn], manner: Manner) -> Fields:
        """The body."""
        messages: list[Fields] = [] if system is None else [{"role": "system", "content": system}]
        for turn in turns:
            messages += self._messages(turn, manner)
        return {"model": "gpt-4o", "messages": messages, "stream": True}

    def _messages(self, turn: Turn, manner: Manner) -> list[Fields]:
        if turn.role == "tool":
            return [{"role": "tool", "tool_call_id": use.id, "content": text} for use, text in turn.results]
        content: Any = turn.text
        if manner.parts or turn.image:
            content = [{"type": "text", "text": turn.text}] if turn.text else []
        if turn.image:
            content = [*content, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{turn.image}"}}]
        if not turn.uses:
            return [{"role": turn.role, "content": content}]
        calls = [
            {"id": use.id, "type": "function", "function": {"name": use.name, "arguments": _json(use.input)}}
            for use in turn.uses
        ]
        return [{"role": turn.role, "content": content or None, "tool_calls": calls}]

    def whole(self, turn: Turn) -> bytes:
        """The answer in one piece."""
        message = self._messages(turn, Manner())[0] | {"refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return orjson.dumps({"id": f"chatcmpl-{turn.id}", "object": "chat.completion", "choices": [choice]})

    def stream(self, turn: Turn) -> Iterator[bytes]:
        """The answer's events."""
        deltas: list[Fields] = [{"role": "assistant", "content": ""}, *({"content": bit} for bit in _bits(turn.text))]
        for index, use in enumerate(turn.uses):
            begun = {"index": index, "id": use.id, "type": "function", "function": {"name": use.name, "arguments": ""}}
            deltas.append({"tool_calls": [begun]})
            for bit in _bits(_json(use.input)):
                deltas.append({"tool_calls": [{"index": index, "function": {"arguments": bit}}]})
        for delta in deltas:
            yield self._event(turn, {"index": 0, "delta": delta, "finish_reason": None})
        yield self._event(turn, {"index": 0, "delta": {}, "finish_reason": "stop"})
        yield b"data: [DONE]\n\n"

    def _event(self, turn: Turn, choice: Fields) -> bytes:
        return _event({"id": f"chatcmpl-{turn.id}", "object": "chat.completion.chunk", "choices": [choice]})


class Messages(Chat):
    """Anthropic's Messages."""

    dialect, operation = "anthropic", "messages"

    def request(self, system: str | None, turns: Sequence[Turn], manner: Manner) -> Fields:
        """The body; cache marks stand on the last two messages of the user and on the system text."""
        messages = [message for turn in turns for message in self._messages(turn, manner)]
        body: Fields = {"model": "claude-sonnet-4-5", "max_tokens": 8192, "messages": messages}
        if manner.marks:
            for message in [one for one in messages if one["role"] == "user"][-2:]:
                blocks = message["content"]
                blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
                message["content"] = [*blocks[:-1], {**blocks[-1], "cache_control": {"type": "ephemeral"}}]
        if system is not None and manner.parts:
            body["system"] = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
        elif system is not None:
            body["system"] = system
        return body

    def _messages(self, turn: Turn, manner: Manner) -> list[Fields]:
        blocks: list[Fields] = []
        if turn.thought and manner.thoughts:
            blocks.append({"type": "thinking", "thinking": turn.thought, "signature": "EqQB"})
        for use, text in turn.results:
            content: Any = [{"type": "text", "text": text}] if manner.parts else text
            blocks.append({"type": "tool_result", "tool_use_id": use.id, "content": content})
        if turn.image:
            source = {"type": "base64", "media_type": "image/png", "data": turn.image}
            blocks.append({"type": "image", "source": source})
        if turn.text:
            blocks.append({"type": "text", "text": turn.text})
        blocks += [{"type": "tool_use", "id": use.id, "name": use.name, "input": use.input} for use in turn.uses]
        plain = not manner.parts and len(blocks) == 1 and blocks[0]["type"] == "text"
        role = "assistant" if turn.role == "assistant" else "user"
        return [{"role": role, "content": blocks[0]["text"] if plain else blocks}]

    def whole(self, turn: Turn) -> bytes:
        """The answer in one piece."""
        content = self._messages(turn, Manner(parts=True, thoughts=True))[0]["content"]
        return orjson.dumps({"id": f"msg_{turn.id}", "type": "message", "role": "assistant", "content": content})

    def stream(self, turn: Turn) -> Iterator[bytes]:
        """The answer's events."""
        message = {"id": f"msg_{turn.id}", "type": "message", "role": "assistant", "content": []}
        yield _named("message_start", message=message)
        for index, block in enumerate(self._messages(turn, Manner(parts=True, thoughts=True))[0]["content"]):
            kind = block["type"]
            name, empty = {
                "thinking": ("thinking", {"thinking": "", "signature": ""}),
                "text": ("text", {"text": ""}),
                "tool_use": ("partial_json", {"input": {}}),
            }[kind]
            yield _named("content_block_start", index=index, content_block=block | empty)
            yield _named("ping")
            text = _json(block["input"]) if kind == "tool_use" else block[name]
            delta = "input_json_delta" if kind == "tool_use" else f"{kind}_delta"
            for bit in _bits(text):
                yield _named("content_block_delta", index=index, delta={"type": delta, name: bit})
            yield _named("content_block_stop", index=index)
        yield _named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
        yield _named("message_stop")


class Responses(Chat):
    """OpenAI's Responses."""

    dialect, operation = "openai", "responses"

    def request(self, system: str | None, turns: Sequence[Turn], manner: Manner) -> Fields:
        """The body."""
        items = [item for turn in turns for item in self._items(turn, manner, asked=True)]
        body: Fields = {"model": "gpt-5-codex", "input": items, "store": manner.references, "stream": True}
        return body if system is None else body | {"instructions": system}

    def _items(self, turn: Turn, manner: Manner, *, asked: bool) -> list[Fields]:
        if turn.role == "tool":
            return [{"type": "function_call_output", "call_id": use.id, "output": text} for use, text in turn.results]
        if turn.role != "assistant":
            content: list[Fields] = [{"type": "input_text", "text": turn.text}]
            if turn.image:
                content.append({"type": "input_image", "image_url": f"data:image/png;base64,{turn.image}"})
            if manner.parts or turn.image:
                return [{"type": "message", "role": turn.role, "content": content}]
            return [{"role": turn.role, "content": turn.text}]
        items: list[Fields] = []
        if not asked or manner.thoughts:
            items.append({"type": "reasoning", "id": f"rs_{turn.id}", "summary": [], "encrypted_content": "gAAA"})
        if turn.text:
            told = [{"type": "output_text", "text": turn.text, "annotations": []}]
            items.append({"type": "message", "id": f"msg_{turn.id}", "role": "assistant", "content": told})
        for use in turn.uses:
            called = {"call_id": use.id, "name": use.name, "arguments": _json(use.input)}
            items.append({"type": "function_call", "id": f"fc_{use.id}", **called})
        if asked and manner.references:
            return [{"type": "item_reference", "id": item["id"]} for item in items]
        return items

    def whole(self, turn: Turn) -> bytes:
        """The answer in one piece."""
        output = self._items(turn, Manner(), asked=False)
        return orjson.dumps({"id": f"resp_{turn.id}", "object": "response", "status": "completed", "output": output})

    def stream(self, turn: Turn) -> Iterator[bytes]:
        """The answer's events."""
        response: Fields = {"id": f"resp_{turn.id}", "object": "response", "status": "in_progress", "output": []}
        yield _named("response.created", response=response)
        output = self._items(turn, Manner(), asked=False)
        for index, item in enumerate(output):
            begun = item | ({"content": []} if "content" in item else {})
            begun |= {"arguments": ""} if "arguments" in item else {}
            yield _named("response.output_item.added", output_index=index, item=begun)
            where = {"item_id": item["id"], "output_index": index}
            for bit in _bits(item["content"][0]["text"] if "content" in item else ""):
                yield _named("response.output_text.delta", **where, content_index=0, delta=bit)
            for bit in _bits(item.get("arguments", "")):
                yield _named("response.function_call_arguments.delta", **where, delta=bit)
            yield _named("response.output_item.done", output_index=index, item=item)
        yield _named("response.completed", response=response | {"status": "completed", "output": output})


class Gemini(Chat):
    """Gemini's generateContent."""

    dialect, operation = "gemini", "generate_content"

    def request(self, system: str | None, turns: Sequence[Turn], manner: Manner) -> Fields:
        """The body."""
        body: Fields = {"contents": [self._content(turn, manner) for turn in turns]}
        return body if system is None else body | {"systemInstruction": {"role": "user", "parts": [{"text": system}]}}

    def _content(self, turn: Turn, manner: Manner) -> Fields:
        parts: list[Fields] = []
        if turn.thought and manner.thoughts:
            parts.append({"text": turn.thought, "thought": True})
        if turn.text:
            cut = len(turn.text) // 2 if manner.parts and turn.role == "assistant" else 0
            parts += [{"text": bit} for bit in (turn.text[:cut], turn.text[cut:]) if bit]
        if turn.image:
            parts.append({"inlineData": {"mimeType": "image/png", "data": turn.image}})
        for use in turn.uses:
            parts.append({"functionCall": {"name": use.name, "args": use.input}, "thoughtSignature": "Eg=="})
        for use, text in turn.results:
            parts.append({"functionResponse": {"name": use.name, "response": {"output": text}}})
        return {"role": "model" if turn.role == "assistant" else "user", "parts": parts}

    def whole(self, turn: Turn) -> bytes:
        """The answer in one piece."""
        content = self._content(turn, Manner(thoughts=True))
        candidate = {"content": content, "finishReason": "STOP", "index": 0}
        return orjson.dumps({"candidates": [candidate], "responseId": turn.id})

    def stream(self, turn: Turn) -> Iterator[bytes]:
        """The answer's events."""
        for part in self._content(turn, Manner(thoughts=True))["parts"]:
            for piece in [part] if "text" not in part else [part | {"text": bit} for bit in _bits(part["text"])]:
                content = {"role": "model", "parts": [piece]}
                yield _event({"candidates": [{"content": content, "index": 0}], "responseId": turn.id})
        content = {"role": "model", "parts": [{"text": ""}]}
        yield _event({"candidates": [{"content": content, "finishReason": "STOP"}], "responseId": turn.id})


WIRES: Mapping[str, Chat] = {"chat": Chat(), "messages": Messages(), "responses": Responses(), "gemini": Gemini()}


def shuffled(rng: random.Random, value: Any) -> Any:
    """The same JSON with its members in another order."""
    if isinstance(value, Mapping):
        names = list(value)
        rng.shuffle(names)
        return {name: shuffled(rng, value[name]) for name in names}
    return [shuffled(rng, one) for one in value] if isinstance(value, list) else value


def renamed(turns: Sequence[Turn], prefix: str) -> list[Turn]:
    """The same with other ids of tool calls."""

    def use(one: Use) -> Use:
        return replace(one, id=prefix + one.id[-6:])

    return [
        replace(
            turn,
            uses=tuple(use(one) for one in turn.uses),
            results=tuple((use(one), text) for one, text in turn.results),
        )
        for turn in turns
    ]


def _bits(text: str) -> Iterator[str]:
    for at in range(0, len(text), 7):
        yield text[at : at + 7]


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value).decode()


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _named(kind: str, **value: Any) -> bytes:
    return f"event: {kind}\n".encode() + _event({"type": kind, **value})
