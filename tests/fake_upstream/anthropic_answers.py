"""What Anthropic answers to Messages calls; shapes per platform.claude.com/docs (Messages, streaming, errors)."""

from __future__ import annotations

from typing import Any

import orjson

from tests.fake_upstream.openai_answers import TEXT, WORDS
from tests.fake_upstream.script import Answer, json_answer, sse

USAGE: dict[str, Any] = {
    "input_tokens": 15,
    "cache_creation_input_tokens": 6,
    "cache_read_input_tokens": 20,
    "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 2},
    "output_tokens": 87,
    "service_tier": "standard",
}
HEADERS = (
    ("request-id", "req_018EeWyXxfu5pfWkrYcMdjWG"),
    ("anthropic-organization-id", "9f1c0f0e-0000-4000-8000-000000000000"),
    ("anthropic-ratelimit-requests-limit", "4000"),
    ("anthropic-ratelimit-requests-remaining", "3999"),
    ("anthropic-ratelimit-requests-reset", "2026-11-21T10:00:00Z"),
)


def message(model: str = "claude-sonnet-4-6") -> Answer:
    """A message in one piece."""
    done = {"stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE}
    body = {**_message(model), "content": [{"type": "text", "text": TEXT}], **done}
    return json_answer(body, 200, *HEADERS)


def message_stream(model: str = "claude-sonnet-4-6") -> Answer:
    """A message stream: input usage in `message_start`, cumulative output in `message_delta`."""
    start = {"stop_reason": None, "stop_sequence": None, "usage": {**USAGE, "output_tokens": 1}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**_message(model), "content": [], **start}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
    ]
    for word in WORDS:
        delta = {"type": "text_delta", "text": word}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events += [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": USAGE["output_tokens"]},
        },
        {"type": "message_stop"},
    ]
    lines = [b"event: %b\ndata: %b" % (event["type"].encode(), orjson.dumps(event)) for event in events]
    return sse(lines, *HEADERS)


def token_count() -> Answer:
    """The answer of `count_tokens`."""
    return json_answer({"input_tokens": USAGE["input_tokens"]}, 200, *HEADERS)


def models(*names: str) -> Answer:
    """The list of models."""
    listed = [{"type": "model", "id": n, "display_name": n, "created_at": "2026-01-01T00:00:00Z"} for n in names]
    body = {"data": listed, "has_more": False, "first_id": names[0], "last_id": names[-1]}
    return json_answer(body, 200, *HEADERS)


def error(status: int, kind: str, text: str) -> Answer:
    """Anthropic's error object."""
    request_id = HEADERS[0][1]
    body = {"type": "error", "error": {"type": kind, "message": text}, "request_id": request_id}
    return json_answer(body, status, HEADERS[0])


def _message(model: str) -> dict[str, Any]:
    return {"id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "model": model}
