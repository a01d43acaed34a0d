"""The input of OpenAI's Responses API: a text, or a list of items that follow each other."""

from __future__ import annotations

from llmqd.messages.content import json_text, parts_of, tool_result, word
from llmqd.messages.message import Part, Reasoning, Role, Text, ToolCall
from llmqd.messages.turns import Raw, Turns, role_of
from llmqd.providers.facts import members

_PASSED_OVER = frozenset({"mcp_list_tools", "compaction", "compaction_trigger"})
_ARGUMENTS = ("arguments", "input", "action", "operation", "code", "queries", "prompt")
"""Where the items of the different tools have what the model asked for."""

_GIVEN_BACK = ("output", "outputs", "results", "error")
"""Where some of them have what came of it."""


def read_items(given: object) -> Turns:
    """The items of an input by who speaks: what the model said, reasoned and called is the assistant's."""
    turns = Turns()
    if isinstance(given, str):
        given = [{"role": "user", "content": given}] if given else []
    for item in given if isinstance(given, list) else []:
        if not isinstance(item, dict):
            continue
        role = _speaker(item)
        if role == "system":
            turns.system.append(item.get("content"))
        elif role is not None:
            turns.add(role, item)
    return turns


def last_reference(given: object) -> str | None:
    """The id of the last of its items that is named in place of what it says."""
    for item in reversed(given) if isinstance(given, list) else ():
        if isinstance(item, dict) and _is_reference(item):
            return word(item.get("id"))
    return None


def item_parts(item: Raw) -> list[Part]:
    """The parts of one item."""
    kind = item.get("type")
    if kind is None or kind == "message" or not isinstance(kind, str):
        return parts_of(item.get("content"))
    if kind == "reasoning":
        thoughts = [*parts_of(item.get("summary")), *parts_of(item.get("content"))]
        texts = [part.text for part in thoughts if isinstance(part, Text | Reasoning)]
        return [Reasoning("\n".join(texts))] if texts else []
    if _is_output(kind):
        return [tool_result(item.get("output", item.get("tools")), item.get("call_id"), item.get("name"))]
    if kind.endswith("_call"):
        call = _call(kind, item)
        return [call, *_given_back(item, call.id)]
    return parts_of(item.get("content"))


def _call(kind: str, item: Raw) -> ToolCall:
    """Calls of functions have a name; the provider's own tools go by the kind of their item."""
    asked = next((item[name] for name in _ARGUMENTS if item.get(name) is not None), None)
    return ToolCall(
        word(item.get("name")) or kind.removesuffix("_call"),
        json_text(asked),
        word(item.get("call_id")) or word(item.get("id")),
    )


def _given_back(item: Raw, call_id: str | None) -> list[Part]:
    """What a tool that runs at the provider gave back, in the item of its call: MCP, file search, code."""
    given = next((item[name] for name in _GIVEN_BACK if item.get(name)), None)
    if given is None:
        return []
    logs = [word(block.get("logs")) for block in members({"given": given}, "given")]
    return [tool_result("\n".join([text for text in logs if text]) or given, call_id)]


def _is_reference(item: Raw) -> bool:
    """The API also takes an id with neither type nor role for one."""
    return item.get("type") == "item_reference" or ("id" in item and not {"type", "role", "content"} & item.keys())


def _speaker(item: Raw) -> Role | None:
    kind = item.get("type")
    if _is_reference(item):
        return None
    if kind is None or kind == "message" or not isinstance(kind, str):
        return role_of(item.get("role", "user"))
    if kind in _PASSED_OVER:
        return None
    if _is_output(kind):
        return "tool"
    if kind == "reasoning" or kind.endswith(("_call", "_approval_request")):
        return "assistant"
    return role_of(item.get("role", "user"))


def _is_output(kind: str) -> bool:
    return kind.endswith(("_call_output", "_approval_response", "_search_output"))
