"""Answers of OpenAI's Responses API: output items, whole, in the last event of a stream, or in deltas."""

from __future__ import annotations

from typing import Any

from llmqd.messages.content import media, parts_of, word
from llmqd.messages.gathering import Gathering, Raw, place
from llmqd.messages.message import Part
from llmqd.messages.responses_request import item_parts
from llmqd.providers.facts import member, members

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_RUNNING = frozenset({"queued", "in_progress"})
_PASSED_OVER = frozenset({"mcp_list_tools", "compaction", "mcp_approval_request"})

_DELTAS = {
    "response.output_text.delta": ("message", "output_text"),
    "response.refusal.delta": ("message", "refusal"),
    "response.audio.transcript.delta": ("message", "output_text"),
    "response.output_audio_transcript.delta": ("message", "output_text"),
    "response.reasoning_summary_text.delta": ("reasoning", "summary_text"),
    "response.reasoning_text.delta": ("reasoning", "reasoning_text"),
    "response.function_call_arguments.delta": ("function_call", "arguments"),
    "response.mcp_call_arguments.delta": ("mcp_call", "arguments"),
    "response.custom_tool_call_input.delta": ("custom_tool_call", "input"),
    "response.code_interpreter_call_code.delta": ("code_interpreter_call", "code"),
}
"""Of which kind of item an event brings a piece, and of which kind of content or which member."""


class ResponsesAnswer(Gathering):
    """A response's `output`. A stream's last event repeats it whole; of one that was cut, items and deltas count."""

    def __init__(self) -> None:
        super().__init__()
        self._began = False
        self._output: list[dict[str, Any]] = []
        self._done: dict[int, dict[str, Any]] = {}
        self._begun: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, int, str], list[str]] = {}

    def take(self, message: Raw) -> None:
        """A response, or an event."""
        kind = message.get("type")
        response = message if message.get("object") == "response" else message.get("response")
        if isinstance(response, dict):
            self._response(response)
        if not isinstance(kind, str):
            return
        index = place(message.get("output_index"))
        if kind in _DELTAS:
            self._delta(index, message, *_DELTAS[kind])
        elif kind in ("response.output_item.added", "response.output_item.done"):
            items = self._done if kind.endswith("done") else self._begun
            items[index] = member(message, "item")

    def says_all(self, last: Raw) -> bool:
        """Some servers end with a response whose output is empty: then the events count."""
        return last.get("type") in _ENDS and bool(members(member(last, "response"), "output"))

    def choices(self) -> list[list[Part]]:
        """The one that there is: all items one after the other."""
        items = self._items()
        if not self._began and not items:
            return []
        return [[part for item in items for part in _parts(item)]]

    @property
    def item_id(self) -> str | None:
        """That of the last item that is said."""
        items = self._items()
        return next((word(item.get("id")) for item in reversed(items) if item.get("type") not in _PASSED_OVER), None)

    def _response(self, response: dict[str, Any]) -> None:
        self._began = True
        self.name(response.get("id"))
        status = response.get("status")
        if status not in _RUNNING:
            self.finish(member(response, "incomplete_details").get("reason") or status)
        self._output = members(response, "output") or self._output

    def _delta(self, index: int, message: Raw, kind: str, name: str) -> None:
        piece = message.get("delta")
        if isinstance(piece, str):
            self._begun.setdefault(index, {"type": kind})
            at = place(message.get("content_index", message.get("summary_index")))
            self._pieces.setdefault((index, at, name), []).append(piece)

    def _items(self) -> list[dict[str, Any]]:
        return self._output or [self._item(index) for index in sorted(self._done.keys() | self._begun.keys())]

    def _item(self, index: int) -> dict[str, Any]:
        """An item as far as it is known."""
        if index in self._done:
            return self._done[index]
        item = dict(self._begun[index])
        blocks: list[dict[str, Any]] = []
        for (_, _, name), pieces in sorted(entry for entry in self._pieces.items() if entry[0][0] == index):
            text = "".join(pieces)
            if item.get("type") in ("message", "reasoning"):
                blocks.append({"type": name, "refusal" if name == "refusal" else "text": text})
            else:
                item[name] = text
        if blocks:
            item["content" if item.get("type") == "message" else "summary"] = blocks
        return item


def _parts(item: dict[str, Any]) -> list[Part]:
    kind = item.get("type")
    if kind in _PASSED_OVER:
        return []
    if kind == "image_generation_call" and isinstance(item.get("result"), str):
        form = word(item.get("output_format"))
        return [*item_parts(item), media(f"image/{form}" if form else "image", None, item["result"])]
    if kind == "message":
        return parts_of(item.get("content"))
    return item_parts(item)
