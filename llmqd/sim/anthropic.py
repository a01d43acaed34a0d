"""Anthropic's Messages, simulated; shapes per platform.claude.com/docs/en/api/messages and its streaming page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from llmqd.sim.reply import Messages, Name, Pace, Positive, event, new_id, parse, send, stream
from llmqd.sim.speech import Speech, count_tokens, last_question, speak


class CountRequest(msgspec.Struct):
    model: Name
    messages: Messages
    system: str | list[Any] | None = None


class MessageRequest(msgspec.Struct):
    model: Name
    messages: Messages
    max_tokens: Positive
    system: str | list[Any] | None = None
    stream: bool | None = None


class Anthropic:
    """The handlers of Anthropic's URLs."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/messages`"""
        asked = await parse(request, MessageRequest)
        speech = speak([asked.system, *asked.messages], last_question(asked.messages), asked.max_tokens)
        if asked.stream:
            return await stream(request, self._pace, _events(asked.model, speech))
        content = [{"type": "text", "text": speech.text}]
        ending = {"stop_reason": _stop(speech), "stop_sequence": None, "usage": _usage(speech)}
        return await send(self._pace, {**_head(asked.model), "content": content, **ending})

    async def count_tokens(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/messages/count_tokens`"""
        asked = await parse(request, CountRequest)
        return web.json_response({"input_tokens": count_tokens([asked.system, *asked.messages])})


def _events(model: str, speech: Speech) -> Iterator[bytes]:
    usage = {**_usage(speech), "output_tokens": 1}
    start: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    bodies: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**_head(model), **start}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
    ]
    for piece in speech.pieces:
        bodies.append({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
    delta = {"stop_reason": _stop(speech), "stop_sequence": None}
    bodies += [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": speech.completion_tokens}},
        {"type": "message_stop"},
    ]
    return (event(body, body["type"]) for body in bodies)


def _head(model: str) -> dict[str, Any]:
    return {"id": new_id("msg"), "type": "message", "role": "assistant", "model": model}


def _stop(speech: Speech) -> str:
    return "max_tokens" if speech.truncated else "end_turn"


def _usage(speech: Speech) -> dict[str, Any]:
    return {
        "input_tokens": speech.prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": speech.completion_tokens,
        "service_tier": "standard",
    }
