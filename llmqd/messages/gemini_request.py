"""The contents of a Gemini request; its JSON mapping takes camelCase and snake_case alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmqd.messages.content import json_text, media, word
from llmqd.messages.message import Media, Part, Reasoning, Text, ToolCall, ToolResult
from llmqd.messages.turns import Raw, Turns, role_of


def read_gemini(contents: object) -> Turns:
    """The contents by who speaks. One content may stand without its list, a text without its content."""
    turns = Turns()
    for content in contents if isinstance(contents, list) else [contents]:
        if isinstance(content, str):
            content = {"role": "user", "parts": [{"text": content}]}
        if not isinstance(content, dict):
            continue
        role = role_of(content.get("role", "user"))
        if role == "system":
            turns.system += system_of(content)
        else:
            turns.add(role, content)
    return turns


def system_of(instruction: object) -> list[Any]:
    """The texts of a system instruction: a text, a content, or a list of parts."""
    if isinstance(instruction, str):
        return [instruction]
    content = instruction if isinstance(instruction, dict) else {"parts": instruction}
    return ["\n".join(part.text for part in gemini_parts(content) if isinstance(part, Text))]


def gemini_parts(content: Raw) -> list[Part]:
    """The parts of one content."""
    listed = content.get("parts")
    if isinstance(listed, Mapping | str):
        listed = [listed]
    found = [_part(part) for part in listed] if isinstance(listed, list) else []
    return [part for part in found if part is not None]


def _part(part: object) -> Part | None:
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, Mapping):
        return None
    text = word(part.get("text"))
    if text is not None:
        return Reasoning(text) if part.get("thought") is True else Text(text)
    call = _member(part, "functionCall", "function_call")
    name = word(call.get("name"))
    if name is not None:
        return ToolCall(name, json_text(call.get("args")), word(call.get("id")))
    result = _member(part, "functionResponse", "function_response")
    if result:
        media = tuple(part for part in gemini_parts(dict(result)) if isinstance(part, Media))
        return ToolResult(json_text(result.get("response")), word(result.get("id")), word(result.get("name")), media)
    return _medium(part)


def _medium(part: Mapping[str, Any]) -> Part | None:
    inline = _member(part, "inlineData", "inline_data")
    if inline:
        kind = word(inline.get("mimeType")) or word(inline.get("mime_type")) or "file"
        return media(kind, None, inline.get("data"), inline.get("displayName"))
    file = _member(part, "fileData", "file_data")
    if file:
        kind = word(file.get("mimeType")) or word(file.get("mime_type")) or "file"
        return media(kind, file.get("fileUri", file.get("file_uri")))
    code = _member(part, "executableCode", "executable_code")
    if code:
        return ToolCall("code_execution", json_text(code.get("code")), word(code.get("id")))
    ran = _member(part, "codeExecutionResult", "code_execution_result")
    return ToolResult(json_text(ran.get("output")), word(ran.get("id"))) if ran else None


def _member(part: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        value = part.get(name)
        if isinstance(value, Mapping):
            return value
    return {}
