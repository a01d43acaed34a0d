"""What the simulated provider says: a labelled text that reflects the question, in pieces, with its token counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LABEL = "[simulated by llmqd, no provider was called]"
QUOTED = 200
"""Characters of the question that the answer repeats."""
BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Speech:
    """One answer. `pieces` joined are the text; `truncated` where `max_tokens` cut it short."""

    pieces: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int
    truncated: bool

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def total_tokens(self) -> int:
        """Prompt and completion."""
        return self.prompt_tokens + self.completion_tokens


def speak(prompt: object, question: str, max_tokens: int | None = None) -> Speech:
    """The same answer to the same question every time.

    `prompt` is everything the caller sent that holds text (see `texts`), counted as prompt tokens; `question` its last
    user message. `max_tokens` bounds the answer.
    """
    quoted = question if len(question) <= QUOTED else question[:QUOTED] + "…"
    text = f'{LABEL} You said: "{quoted}". Configure an upstream with a key and llmqd will ask the provider instead.'
    whole = text.encode("utf-8", "replace")
    limit = len(whole) if max_tokens is None else max_tokens * BYTES_PER_TOKEN
    said = whole[:limit].decode("utf-8", "ignore")
    pieces = tuple(re.findall(r"\s*\S+|\s+$", said))
    return Speech(pieces, count_tokens(prompt), _tokens(len(whole[:limit])), limit < len(whole))


def count_tokens(prompt: object) -> int:
    """About a token for four bytes of text; never 0, as no provider counts an empty prompt as nothing."""
    return _tokens(sum(len(text.encode("utf-8", "replace")) for text in texts(prompt)))


def texts(content: object) -> Iterator[str]:
    """All texts in a message, a list of content parts or a prompt, in any of the dialects."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            yield from texts(part)
    elif isinstance(content, dict):
        for key in ("text", "content", "parts"):
            yield from texts(content.get(key))


def last_question(messages: list[dict[str, object]]) -> str:
    """The text of the last message by the user; of the last message where none is."""
    asked = [message for message in messages if message.get("role", "user") == "user"] or messages
    return " ".join(texts(asked[-1])) if asked else ""


def _tokens(size: int) -> int:
    return max(1, -(-size // BYTES_PER_TOKEN))
