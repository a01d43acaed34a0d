"""Answers of Google's Gemini API: candidates, whole or in chunks that each bring more parts."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from llmqd.messages.gathering import Gathering, Raw, place
from llmqd.messages.gemini_request import gemini_parts
from llmqd.messages.message import Part
from llmqd.messages.runs import Shape, text_members
from llmqd.providers.facts import member, members

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,4})\]|\['([^']*)'\]")
_VALUES = ("stringValue", "numberValue", "boolValue")


class GeminiAnswer(Gathering):
    """`candidates` with a content each; the parts of later chunks follow those of the earlier ones."""

    shape: ClassVar[Shape | None] = Shape(
        starts=(b'"candidates"',),
        close=b"}]",
        keys=frozenset({"candidates"}),
        texts=text_members("text"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._candidates: dict[int, list[dict[str, Any]]] = {}

    def take(self, message: Raw) -> None:
        """A GenerateContentResponse."""
        self.name(message.get("responseId"))
        self.finish(member(message, "promptFeedback").get("blockReason"))
        for position, candidate in enumerate(members(message, "candidates")):
            index = place(candidate.get("index"), position)
            parts = self._candidates.setdefault(index, [])
            if index == min(self._candidates):
                self.finish(candidate.get("finishReason"))
            for part in members(member(candidate, "content"), "parts"):
                call = part.get("functionCall")
                if isinstance(call, dict) and ("partialArgs" in call or "willContinue" in call or not call):
                    _continue(parts, call)
                else:
                    parts.append(part)

    def choices(self) -> list[list[Part]]:
        """One list of parts for each candidate."""
        return [gemini_parts({"parts": self._candidates[index]}) for index in sorted(self._candidates)]


def _continue(parts: list[dict[str, Any]], call: dict[str, Any]) -> None:
    """A piece of a call that is streamed: first its name, then values and where in its arguments each belongs
    (Vertex AI, function calling, `stream_function_call_arguments`)."""
    if call.get("name") or not (parts and isinstance(parts[-1].get("functionCall"), dict)):
        parts.append({"functionCall": {"name": call.get("name"), "id": call.get("id"), "args": {}}})
    whole = parts[-1]["functionCall"]
    arguments = whole.get("args")
    if not isinstance(arguments, dict):
        arguments = whole["args"] = {}
    for piece in members(call, "partialArgs"):
        path = piece.get("jsonPath")
        name = next((name for name in _VALUES if name in piece), None)
        if isinstance(path, str) and path.startswith("$"):
            _set(arguments, path, piece[name] if name is not None else None)


def _set(arguments: dict[str, Any], path: str, value: object) -> None:
    """Puts a value at its JSONPath, lists as far as they have grown; text continues the text that is there."""
    steps = [name or quoted or int(number) for name, number, quoted in _STEP.findall(path)]
    place: Any = arguments
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(place, list) and isinstance(step, int):
            if step > len(place):
                return
            if step == len(place):
                place.append(None)
            known = place[step]
        elif isinstance(place, dict) and isinstance(step, str):
            known = place.get(step)
        else:
            return
        if following is None:
            place[step] = known + value if isinstance(known, str) and isinstance(value, str) else value
        elif not isinstance(known, dict | list):
            place[step] = [] if isinstance(following, int) else {}
        place = place[step]
