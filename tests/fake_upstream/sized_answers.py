"""Answers of any length with usage to match, produced over time: what a load test needs of a provider."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import orjson

from tests.fake_upstream.limiters import Tokens
from tests.fake_upstream.script import Answer, Step, json_answer, sse

DEFAULT_MAX_OUTPUT = 1000
"""What a call may produce that does not say it."""
PIECES = 10
"""Into so many events the text of a stream is cut."""


class Lengths:
    """Draws the lengths of answers: evenly on a logarithmic scale, so that short ones are as common as long ones."""

    def __init__(self, shortest: int, longest: int, seed: int) -> None:
        self._logs = math.log(shortest), math.log(longest)
        self._random = random.Random(seed)

    def draw(self) -> int:
        """Tokens of the next answer."""
        return round(math.exp(self._random.uniform(*self._logs)))


def tokens_of(body: dict[str, Any], size: int, wanted: int) -> Tokens:
    """What a call of `size` body bytes costs: a token for four bytes in, at most `max_tokens` out."""
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_MAX_OUTPUT
    return Tokens(math.ceil(size / 4), min(wanted, limit), limit)


def sized(spoken: str, body: dict[str, Any], tokens: Tokens, seconds: float, *headers: tuple[str, str]) -> Answer:
    """The provider's answer, whose last byte comes after `seconds`."""
    model = str(body.get("model"))
    if body.get("stream") is not True:
        make = _message if spoken == "anthropic" else _completion
        whole = json_answer(make(model, tokens), 200, *headers)
        return whole.but(before=[seconds])
    if spoken == "anthropic":
        events = [_named(event) for event in _message_events(model, tokens)]
    else:
        usage = (body.get("stream_options") or {}).get("include_usage") is True
        events = [b"data: " + orjson.dumps(event) for event in _chunks(model, tokens, usage=usage)]
        events.append(b"data: [DONE]")
    return _spread(sse(events, *headers), seconds)


def _spread(answer: Answer, seconds: float) -> Answer:
    pause = seconds / len(answer.body)
    steps: list[Step] = []
    for step in answer.body:
        steps += [pause, step]
    return answer.but(body=steps)


def _texts(tokens: Tokens) -> Sequence[str]:
    """As many words as tokens, in a few pieces."""
    each, rest = divmod(tokens.output, PIECES)
    return [" word" * (each + (1 if number < rest else 0)) for number in range(PIECES)]


def _completion(model: str, tokens: Tokens) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(_texts(tokens))}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-sized",
        "object": "chat.completion",
        "created": 1741569952,
        "model": model,
        "choices": [choice],
        "usage": _openai_usage(tokens),
    }


def _openai_usage(tokens: Tokens) -> dict[str, int]:
    total = tokens.input + tokens.output
    return {"prompt_tokens": tokens.input, "completion_tokens": tokens.output, "total_tokens": total}


def _chunks(model: str, tokens: Tokens, *, usage: bool) -> list[dict[str, Any]]:
    frame = {"id": "chatcmpl-sized", "object": "chat.completion.chunk", "created": 1741569952, "model": model}
    chunks: list[dict[str, Any]] = [
        {**frame, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        for text in _texts(tokens)
    ]
    chunks.append({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage:
        chunks.append({**frame, "choices": [], "usage": _openai_usage(tokens)})
    return chunks


def _anthropic_usage(tokens: Tokens) -> dict[str, int]:
    return {
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": tokens.output,
    }


def _message(model: str, tokens: Tokens) -> dict[str, Any]:
    return {
        "id": "msg_sized",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "".join(_texts(tokens))}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _anthropic_usage(tokens),
    }


def _message_events(model: str, tokens: Tokens) -> list[dict[str, Any]]:
    start = _message(model, tokens) | {
        "content": [],
        "stop_reason": None,
        "usage": {**_anthropic_usage(tokens), "output_tokens": 1},
    }
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        for text in _texts(tokens)
    ]
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": tokens.output},
    }
    stop = {"type": "content_block_stop", "index": 0}
    return [{"type": "message_start", "message": start}, block, *deltas, stop, end, {"type": "message_stop"}]


def _named(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b" % (str(event["type"]).encode(), orjson.dumps(event))
