"""What Gemini answers to generateContent calls; shapes per ai.google.dev/api/generate-content."""

from __future__ import annotations

from typing import Any

import orjson

from tests.fake_upstream.openai_answers import TEXT, WORDS
from tests.fake_upstream.script import Answer, Step, json_answer, sse

USAGE: dict[str, Any] = {
    "promptTokenCount": 8,
    "cachedContentTokenCount": 2,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 30,
    "totalTokenCount": 58,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}],
}
HEADERS = (("Server-Timing", "gfet4t7; dur=512"), ("Vary", "Origin"), ("Vary", "X-Origin"), ("Vary", "Referer"))


def content(model: str = "gemini-2.5-flash") -> Answer:
    """One object."""
    return json_answer(_piece(model, TEXT, USAGE, "STOP"), 200, *HEADERS, indent=True)


def content_sse(model: str = "gemini-2.5-flash") -> Answer:
    """`alt=sse`: CRLF line ends, usage in every event, no terminator."""
    return sse((b"data: " + orjson.dumps(piece) for piece in _pieces(model)), *HEADERS, newline=b"\r\n")


def content_array(model: str = "gemini-2.5-flash") -> Answer:
    """Without `alt=sse`: one JSON array that grows."""
    body: list[Step] = []
    for index, piece in enumerate(_pieces(model)):
        text = orjson.dumps(piece, option=orjson.OPT_INDENT_2)
        body.append((b"[" if index == 0 else b",\r\n") + text)
    content_type = ("Content-Type", "application/json; charset=UTF-8")
    return Answer(headers=[content_type, *HEADERS], body=[*body, b"\n]\n"], framing="chunked")


def token_count() -> Answer:
    """The answer of `countTokens`."""
    return json_answer({"totalTokens": USAGE["promptTokenCount"]}, 200, *HEADERS)


def models(*names: str) -> Answer:
    """The list of models."""
    methods = ["generateContent", "countTokens"]
    listed = [{"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods} for name in names]
    return json_answer({"models": listed}, 200, *HEADERS)


def error(status: int, kind: str, text: str, details: list[dict[str, Any]] | None = None) -> Answer:
    """Google's error object."""
    body: dict[str, Any] = {"error": {"code": status, "message": text, "status": kind}}
    if details:
        body["error"]["details"] = details
    return json_answer(body, status, *HEADERS, indent=True)


def _pieces(model: str) -> list[dict[str, Any]]:
    pieces = []
    for index, word in enumerate(WORDS, 1):
        usage = USAGE if index == len(WORDS) else {"promptTokenCount": 8, "totalTokenCount": 8 + index}
        pieces.append(_piece(model, word, usage, "STOP" if index == len(WORDS) else None))
    return pieces


def _piece(model: str, text: str, usage: dict[str, Any], reason: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}}
    if reason:
        candidate["finishReason"] = reason
    candidate["index"] = 0
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": model,
        "responseId": "kE4gaZ2oLt-5jMcP1s6O8Ac",
    }
