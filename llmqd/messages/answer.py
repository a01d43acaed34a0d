"""Reads what a model said from the bytes of its answer, whatever dialect and framing they are in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from llmqd.call import Dialect
from llmqd.messages.anthropic_answer import AnthropicAnswer
from llmqd.messages.bedrock_answer import BedrockAnswer
from llmqd.messages.chat_answer import ChatAnswer
from llmqd.messages.cohere_answer import CohereAnswer
from llmqd.messages.eventstream import CONVERSE_EVENTS, EVENTSTREAM, frames, message_in
from llmqd.messages.gathering import Gathering, tidy
from llmqd.messages.gemini_answer import GeminiAnswer
from llmqd.messages.lenient_json import loads, mended
from llmqd.messages.message import Message, Text, ToolCall
from llmqd.messages.ollama_answer import OllamaAnswer
from llmqd.messages.responses_answer import ResponsesAnswer
from llmqd.messages.runs import Walk
from llmqd.providers.plain_chat import PlainChat, plain_chat

MEDIA_MAX = 1024 * 1024
"""Of larger pictures, sounds and files only what they are and their size is read."""

_SPEAKING = frozenset({"chat", "messages", "generate_content", "responses", "completion", "complete", "other"})
"""Operations whose answer is something said; the rest embeds, counts, lists, draws or transcribes."""

_LINE_END = re.compile(rb"\r\n?")
_LONE_CR = re.compile(rb"\r(?!\n)")
_BOM = b"\xef\xbb\xbf"
_SAID_IN_EVENTS = CONVERSE_EVENTS - {"metadata"}
"""Other answers have a member `metadata`, too."""
_ANTHROPIC_TYPES = frozenset({"message", "message_start", "content_block_start", "content_block_delta", "completion"})
_COHERE_TYPES = frozenset({"message-start", "content-start", "content-delta", "tool-plan-delta", "tool-call-start"})


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model said: `message` is the first choice, `others` are the further ones of a call that asked for several.

    `finish_reason` and `provider_id` are the provider's words, None where the answer was cut before they came. Where an
    answer has items with ids of their own, `item_id` is that of the last: a later request may name it instead.
    """

    message: Message
    others: tuple[Message, ...] = ()
    finish_reason: str | None = None
    provider_id: str | None = None
    item_id: str | None = None

    @property
    def function_calls(self) -> int:
        """How many calls of tools it holds, over all choices."""
        said = (self.message, *self.others)
        return sum(isinstance(part, ToolCall) for message in said for part in message.parts)


def read_answer(
    dialect: Dialect,
    operation: str,
    content_type: str,
    raw: bytes,
    *,
    media_max: int = MEDIA_MAX,
    plain: PlainChat | None = None,
) -> Answer | None:
    """What a model said; None where nobody speaks: embeddings, lists, sounds, errors, what is no answer at all.

    `dialect` and `operation` are those of the route, `content_type` the answer's header and `raw` its decoded body as
    far as it came: of one that was cut off, what was said so far. The members decide on the format, not the dialect,
    which is only asked where they leave it open. Media of more than `media_max` bytes come without them. `plain` is
    what `plain_chat` has made of `raw`, where somebody has asked it already. A pure function that never raises and
    takes time in proportion to `raw`; it may run in any thread.
    """
    if plain is not None:
        return _plain_answer(plain) if operation in _SPEAKING else None
    gathering = _gathered(dialect, operation, content_type, raw)
    if gathering is None or isinstance(gathering, Answer):
        return gathering
    choices = gathering.choices()
    if not choices:
        return None
    first, *others = [Message("assistant", tidy(parts, media_max)) for parts in choices]
    return Answer(first, tuple(others), gathering.finish_reason, gathering.provider_id, gathering.item_id)


def _gathered(dialect: Dialect, operation: str, content_type: str, raw: bytes) -> Gathering | Answer | None:
    if operation not in _SPEAKING:
        return None
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == EVENTSTREAM:
        return _collected(_unframed(raw), dialect)
    raw = raw.lstrip().removeprefix(_BOM).lstrip()
    if not raw.startswith((b"{", b"[")):
        events = media_type == "text/event-stream" or raw.startswith((b"data:", b"event:", b":"))
        return _streamed(raw, b"\n\n", dialect) if events else None
    if (plain := plain_chat(raw)) is not None:
        return _plain_answer(plain)
    body = loads(raw)
    if body is None:
        gathering = _streamed(raw, b"\n", dialect) if raw.startswith(b"{") else None
        if gathering is not None:
            return gathering
        body = mended(raw)
    return _collected(body if isinstance(body, list) else [body], dialect)


def _plain_answer(plain: PlainChat) -> Answer:
    return Answer(Message("assistant", (Text(plain.text),)), (), plain.finish_reason, plain.id)


def _streamed(raw: bytes, separator: bytes, dialect: Dialect) -> Gathering | None:
    if b"\r" in raw:
        # Taking all CR out is many times quicker than replacing CRLF, and lone ones are as good as unheard of.
        raw = _LINE_END.sub(b"\n", raw) if _LONE_CR.search(raw) else raw.replace(b"\r", b"")
    walk = Walk(raw, separator)
    gathering: Gathering | None = None
    for message in walk.messages():
        if gathering is None:
            gathering = _format(message, dialect)
            if gathering is None:
                continue
            walk.shape = gathering.shape
            if isinstance(gathering, ResponsesAnswer):
                last = walk.last()
                if gathering.says_all(last):
                    gathering.take(last)
                    break
        gathering.take(message)
    return gathering


def _collected(messages: Iterable[Any], dialect: Dialect) -> Gathering | None:
    gathering: Gathering | None = None
    for message in messages:
        if isinstance(message, dict):
            gathering = gathering or _format(message, dialect)
            if gathering is not None:
                gathering.take(message)
    return gathering


def _format(message: dict[str, Any], dialect: Dialect) -> Gathering | None:
    """Whose format this is; None where it shows none, as keep-alives, errors and lists do."""
    kind = message.get("type")
    kind = kind if isinstance(kind, str) else ""
    if "choices" in message:
        return ChatAnswer()
    if kind in _ANTHROPIC_TYPES:
        return AnthropicAnswer()
    if kind.startswith("response.") or message.get("object") == "response":
        return ResponsesAnswer()
    if "candidates" in message or "promptFeedback" in message:
        return GeminiAnswer()
    if "stopReason" in message or not _SAID_IN_EVENTS.isdisjoint(message):
        return BedrockAnswer()
    if kind in _COHERE_TYPES or "event_type" in message or "generation_id" in message:
        return CohereAnswer()
    said = message.get("message")
    if isinstance(message.get("done"), bool):
        return OllamaAnswer() if isinstance(said, dict) or "response" in message else None
    if isinstance(said, dict) and "finish_reason" in message:
        return CohereAnswer()
    if isinstance(message.get("content"), str) and "stop" in message:
        return OllamaAnswer()
    if dialect == "ollama" and isinstance(said, dict):
        return OllamaAnswer()
    return None


def _unframed(raw: bytes) -> Iterator[Any]:
    return (loads(message_in(kind, payload)) for kind, payload in frames(raw))
