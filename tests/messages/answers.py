"""Answers as the providers write them, built from what they are to say; and their reading in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from llmqd.call import Dialect
from llmqd.messages.answer import Answer, read_answer
from llmqd.messages.digest import Digests
from llmqd.messages.message import Message
from llmqd.messages.request import read_request
from tests.tap.recordings import chunk, sse

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"

OPERATIONS: Mapping[Dialect, str] = {
    "openai": "chat",
    "anthropic": "messages",
    "gemini": "generate_content",
    "ollama": "chat",
}


def read(
    body: object, *, dialect: Dialect = "openai", operation: str | None = None, content_type: str | None = None
) -> Answer:
    """The answer in a body (a value to be written as JSON) or a stream (bytes); there must be one."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    media_type = content_type if content_type is not None else SSE if isinstance(body, bytes) else JSON
    answer = read_answer(dialect, operation or OPERATIONS[dialect], media_type, raw)
    assert answer is not None
    return answer


def said(fields: Mapping[str, Any], *, dialect: Dialect = "openai", operation: str | None = None) -> list[Message]:
    """The messages of a request."""
    request = read_request(dialect, operation or OPERATIONS[dialect], fields)
    return [request.message(index) for index in range(len(request.turns))]


def same(answer: Message, sent_back: Message) -> bool:
    """Whether a message that came back with a later request counts as the answer that was given."""
    digests = Digests(b"0123456789abcdef", 8)
    return digests.key(answer) == digests.key(sent_back)


def chat_stream(deltas: Iterable[Mapping[str, Any]], reason: str | None = "stop") -> bytes:
    """A chat stream of these deltas, the first of which also names the speaker."""
    events = [chunk({"role": "assistant", "content": ""}), *[chunk(dict(delta)) for delta in deltas]]
    return sse(*events, chunk({}, reason), b"[DONE]")


def anthropic_stream(blocks: Iterable[tuple[Mapping[str, Any], Iterable[Mapping[str, Any]]]]) -> bytes:
    """A Messages stream: blocks as they begin, each with its deltas."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]
    return sse(*events, named=True)
