"""What OpenAI answers: chat, completions, embeddings, Responses, models; shapes per its API reference."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import orjson

from tests.fake_upstream.script import Answer, json_answer, sse

WORDS = ("Hello", " from", " the", " fake", " upstream", ": ", "ü", "€", "😀", "\u2028", ".")
"""The pieces of every text answer; characters of two to four bytes, so that cuts fall inside them."""
TEXT = "".join(WORDS)

CHAT_USAGE: dict[str, Any] = {
    "prompt_tokens": 19,
    "completion_tokens": 11,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 3,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
RESPONSES_USAGE: dict[str, Any] = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 123,
}
EMBEDDING_USAGE = {"prompt_tokens": 8, "total_tokens": 8}

CREATED = 1741569952
HEADERS = (
    ("x-request-id", "req_0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
    ("openai-processing-ms", "127"),
    ("openai-version", "2020-10-01"),
    ("x-ratelimit-limit-requests", "5000"),
    ("x-ratelimit-remaining-requests", "4999"),
    ("x-ratelimit-reset-requests", "12ms"),
)


def chat(model: str = "gpt-4o", words: Sequence[str] = WORDS) -> Answer:
    """A chat completion in one piece, pretty-printed as OpenAI does."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(words), "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [choice],
        "usage": CHAT_USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_07871e2ad8",
    }
    return json_answer(body, 200, *HEADERS, indent=True)


def chat_stream(model: str = "gpt-4o", *, include_usage: bool = False, words: Sequence[str] = WORDS) -> Answer:
    """A chat stream. With `include_usage` every chunk has `"usage":null` and one more, without choices, comes last."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": word} for word in words]
    choices: list[list[dict[str, Any]]] = [[_choice(delta, None)] for delta in deltas] + [[_choice({}, "stop")]]
    events = []
    for number, listed in enumerate(choices):
        chunk = {**_chunk("chat.completion.chunk", model), "choices": listed}
        if include_usage:
            chunk["usage"] = None
        chunk["obfuscation"] = "aV3kq9Zs"[: number % 8 + 1]
        events.append(b"data: " + orjson.dumps(chunk))
    if include_usage:
        last = {**_chunk("chat.completion.chunk", model), "choices": [], "usage": CHAT_USAGE, "obfuscation": "kQ"}
        events.append(b"data: " + orjson.dumps(last))
    return sse([*events, b"data: [DONE]"], *HEADERS)


def completion(model: str = "gpt-3.5-turbo-instruct") -> Answer:
    """A legacy completion."""
    choice = {"text": TEXT, "index": 0, "logprobs": None, "finish_reason": "stop"}
    body = {"id": "cmpl-uqkvlQyYK7bGYrRHQ0eXlWi7", "object": "text_completion", "created": CREATED, "model": model}
    return json_answer({**body, "choices": [choice], "usage": CHAT_USAGE}, 200, *HEADERS, indent=True)


def completion_stream(model: str = "gpt-3.5-turbo-instruct", *, include_usage: bool = False) -> Answer:
    """A legacy completion as a stream."""
    events = []
    for index, word in enumerate(WORDS):
        reason = "stop" if index == len(WORDS) - 1 else None
        choice = {"text": word, "index": 0, "logprobs": None, "finish_reason": reason}
        chunk = {**_chunk("text_completion", model), "choices": [choice]}
        events.append(b"data: " + orjson.dumps({**chunk, "usage": None} if include_usage else chunk))
    if include_usage:
        last = {**_chunk("text_completion", model), "choices": [], "usage": CHAT_USAGE}
        events.append(b"data: " + orjson.dumps(last))
    return sse([*events, b"data: [DONE]"], *HEADERS)


def embeddings(model: str, count: int = 1, *, base64_floats: bool = False) -> Answer:
    """Vectors of three numbers."""
    vector = [0.25, -0.5, 0.125]
    value: Any = base64.b64encode(struct.pack("<3f", *vector)).decode() if base64_floats else vector
    data = [{"object": "embedding", "index": index, "embedding": value} for index in range(count)]
    return json_answer({"object": "list", "data": data, "model": model, "usage": EMBEDDING_USAGE}, 200, *HEADERS)


def response(model: str = "gpt-4o") -> Answer:
    """A Responses answer in one piece."""
    return json_answer(_response(model, "completed"), 200, *HEADERS, indent=True)


def response_stream(model: str = "gpt-4o") -> Answer:
    """A Responses stream: named events with sequence numbers, usage in the last, no `[DONE]`."""
    item = _message("in_progress", [])
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response(model, "in_progress")},
        {"type": "response.in_progress", "response": _response(model, "in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in WORDS),
        {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": _message("completed", [part])},
        {"type": "response.completed", "response": _response(model, "completed")},
    ]
    lines = []
    for number, event in enumerate(events):
        data = orjson.dumps({"type": event["type"], "sequence_number": number, **event})
        lines.append(b"event: %b\ndata: %b" % (event["type"].encode(), data))
    return sse(lines, *HEADERS)


def models(*names: str) -> Answer:
    """The list of models."""
    listed = [{"id": name, "object": "model", "created": CREATED, "owned_by": "openai"} for name in names]
    return json_answer({"object": "list", "data": listed}, 200, *HEADERS, indent=True)


def error(status: int, message: str, kind: str, code: str | None = None, param: str | None = None) -> Answer:
    """OpenAI's error object."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return json_answer(body, status, ("x-request-id", HEADERS[0][1]), indent=True)


def _choice(delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _chunk(kind: str, model: str) -> dict[str, Any]:
    head = {"id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": kind, "created": CREATED, "model": model}
    return {**head, "service_tier": "default", "system_fingerprint": "fp_07871e2ad8"}


def _message(status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "msg_67ccd2bf17f0819081ff3bb2cf6508e6",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def _response(model: str, status: str) -> dict[str, Any]:
    done = status == "completed"
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    return {
        "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": [_message("completed", [part])] if done else [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "service_tier": "default",
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": RESPONSES_USAGE if done else None,
    }
