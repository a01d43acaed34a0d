"""Lists of messages with roles: OpenAI chat, Anthropic Messages, Ollama, Cohere v2, Bedrock Converse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmqd.messages.content import json_text, media, parts_of, tool_result, word
from llmqd.messages.message import Part, Reasoning, Text, ToolCall
from llmqd.messages.turns import ROLES, Raw, Turns, role_of


def read_chat(messages: list[Any]) -> Turns:
    """The messages of a chat by who speaks."""
    read = Turns()
    roles, turns = read.roles, read.turns
    last = None
    for raw in messages:
        if raw.__class__ is not dict:
            continue
        try:
            role = ROLES[raw["role"]]
        except (KeyError, TypeError):  # none, an unknown one, or no text
            role = role_of(raw.get("role", "user"))
        if role == "system":
            read.system.append(raw.get("content"))
        elif role == last == "assistant":
            read.add(role, raw)
        else:
            roles.append(role)
            turns.append(raw)
            last = role
    return read


def chat_parts(raw: Raw) -> list[Part]:
    """The parts of one message of a chat."""
    role = role_of(raw.get("role", "user"))
    if role == "tool":
        return [tool_result(raw.get("content"), raw.get("tool_call_id"), raw.get("name") or raw.get("tool_name"))]
    thought = word(raw.get("reasoning_content")) or word(raw.get("reasoning")) or word(raw.get("thinking"))
    parts: list[Part] = [] if thought is None else [Reasoning(thought)]
    parts += parts_of(raw.get("content"))
    refusal = word(raw.get("refusal"))
    if refusal is not None:
        parts.append(Text(refusal))
    images = raw.get("images")
    if isinstance(images, list):  # Ollama
        parts += [media("image", None, image) for image in images if isinstance(image, str)]
    return parts + _calls(raw)


def _calls(raw: Raw) -> list[Part]:
    """The tool calls of a message; `function_call` is what OpenAI's chat had before it had tools."""
    listed = raw.get("tool_calls")
    calls = [_call(call) for call in listed] if isinstance(listed, list) else []
    calls.append(_function(raw.get("function_call"), None))
    return [call for call in calls if call is not None]


def _call(call: object) -> ToolCall | None:
    if not isinstance(call, Mapping):
        return None
    return _function(call.get("function") or call.get("custom"), call.get("id"))


def _function(function: object, call_id: object) -> ToolCall | None:
    if not isinstance(function, Mapping):
        return None
    name = word(function.get("name"))
    if name is None:
        return None
    return ToolCall(name, json_text(function.get("arguments", function.get("input"))), word(call_id))
