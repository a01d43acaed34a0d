"""OpenAI's Responses, simulated; shapes and event order per platform.openai.com/docs/api-reference/responses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from llmqd.sim.reply import Messages, Name, Pace, Positive, event, new_id, parse, send, stream
from llmqd.sim.speech import Speech, last_question, speak


class ResponseRequest(msgspec.Struct):
    model: Name
    input: str | Messages
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Positive | None = None
    previous_response_id: str | None = None
    metadata: dict[str, str] | None = None


class Responses:
    """The handler of `/v1/responses`. Nothing is stored, so an id cannot be asked for again."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    async def create(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/responses`"""
        asked = await parse(request, ResponseRequest)
        question = asked.input if isinstance(asked.input, str) else last_question(asked.input)
        speech = speak([asked.instructions, asked.input], question, asked.max_output_tokens)
        answer = _Answer(asked, speech)
        if asked.stream:
            return await stream(request, self._pace, answer.events())
        return await send(self._pace, answer.response(answer.ending))


class _Answer:
    """One response under its ids, whole or as events."""

    def __init__(self, asked: ResponseRequest, speech: Speech) -> None:
        self._asked = asked
        self._speech = speech
        self._id = new_id("resp")
        self._item_id = new_id("msg")
        self._created = int(time.time())
        self.ending = "incomplete" if speech.truncated else "completed"

    def events(self) -> Iterator[bytes]:
        """The server-sent events, numbered."""
        for number, body in enumerate(self._bodies()):
            yield event({"type": body["type"], "sequence_number": number, **body}, body["type"])

    def response(self, status: str) -> dict[str, Any]:
        """The response object; output and usage are there once it has ended."""
        ended = status != "in_progress"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": self._asked.instructions,
            "metadata": self._asked.metadata or {},
            "model": self._asked.model,
            "output": [self._item(status)] if ended else [],
            "parallel_tool_calls": True,
            "previous_response_id": self._asked.previous_response_id,
            "service_tier": "default",
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": self._usage() if ended else None,
        }

    def _bodies(self) -> Iterator[dict[str, Any]]:
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        text = self._speech.text
        yield {"type": "response.created", "response": self.response("in_progress")}
        yield {"type": "response.in_progress", "response": self.response("in_progress")}
        yield {"type": "response.output_item.added", "output_index": 0, "item": self._item("in_progress")}
        yield {"type": "response.content_part.added", **place, "part": _part("")}
        for piece in self._speech.pieces:
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": _part(text)}
        yield {"type": "response.output_item.done", "output_index": 0, "item": self._item(self.ending)}
        yield {"type": f"response.{self.ending}", "response": self.response(self.ending)}

    def _item(self, status: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [_part(self._speech.text)]
        return {"id": self._item_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def _usage(self) -> dict[str, Any]:
        return {
            "input_tokens": self._speech.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": self._speech.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self._speech.total_tokens,
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
