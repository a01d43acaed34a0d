"""What Ollama answers natively: NDJSON that streams unless told otherwise; shapes per the Ollama API reference."""

from __future__ import annotations

from typing import Any

import orjson

from tests.fake_upstream.openai_answers import TEXT, WORDS
from tests.fake_upstream.script import Answer, Step, json_answer

USAGE: dict[str, Any] = {
    "total_duration": 5_043_500_667,
    "load_duration": 5_025_959,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 325_953_000,
    "eval_count": 290,
    "eval_duration": 4_709_213_000,
}


def chat(model: str = "llama3.2") -> Answer:
    """`"stream": false`: one object."""
    return json_answer({**_piece(model, TEXT), "done": True, "done_reason": "stop", **USAGE})


def chat_stream(model: str = "llama3.2") -> Answer:
    """One JSON object a line, the figures in the last."""
    pieces = [{**_piece(model, word), "done": False} for word in WORDS]
    pieces.append({**_piece(model, ""), "done": True, "done_reason": "stop", **USAGE})
    body: list[Step] = [orjson.dumps(piece) + b"\n" for piece in pieces]
    return Answer(headers=[("Content-Type", "application/x-ndjson")], body=body, framing="chunked")


def error(status: int, text: str) -> Answer:
    """Ollama's error object."""
    return json_answer({"error": text}, status)


def _piece(model: str, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"model": model, "created_at": "2026-11-21T10:00:00.123456Z", "message": message}
