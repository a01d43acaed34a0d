"""Answers of Ollama's own API, and of llama.cpp's: lines or events that each bring more text, and a last one."""

from __future__ import annotations

from typing import Any, ClassVar

from llmqd.messages.chat_request import chat_parts
from llmqd.messages.gathering import Gathering, Raw
from llmqd.messages.message import Part
from llmqd.messages.runs import Shape, text_members
from llmqd.providers.facts import member, members


class OllamaAnswer(Gathering):
    """`message` (/api/chat), `response` and `thinking` (/api/generate), or `content` (llama.cpp's /completion)."""

    shape: ClassVar[Shape | None] = Shape(
        starts=(b'"message"', b'"response"'),
        close=b"false",
        keys=frozenset({"done"}),
        texts=text_members("content", "response", "thinking"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._began = False
        self._words: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []

    def take(self, message: Raw) -> None:
        """A body or one of its lines."""
        self._began = True
        self.finish(message.get("done_reason") or message.get("stop_type"))
        said = member(message, "message") or message
        for words, piece in (
            (self._words, said.get("content") or message.get("response")),
            (self._thoughts, said.get("thinking")),
        ):
            if isinstance(piece, str):
                words.append(piece)
        self._calls += members(said, "tool_calls")

    def choices(self) -> list[list[Part]]:
        """The one that there is."""
        if not self._began:
            return []
        said = {"role": "assistant", "content": "".join(self._words), "thinking": "".join(self._thoughts)}
        return [chat_parts(said | {"tool_calls": self._calls})]
