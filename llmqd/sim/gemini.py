"""Gemini's generateContent, simulated, plain, as events and as an array; shapes per ai.google.dev/api."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
from aiohttp import web

from llmqd.sim.reply import Messages, Pace, Positive, new_id, parse, send, stream
from llmqd.sim.speech import Speech, count_tokens, last_question, speak


class GenerationConfig(msgspec.Struct, rename="camel"):
    max_output_tokens: Positive | None = None


class GenerateRequest(msgspec.Struct, rename="camel"):
    contents: Messages
    system_instruction: dict[str, Any] | None = None
    generation_config: GenerationConfig | None = None


class Gemini:
    """The handlers of Gemini's URLs; the model stands in the path."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """`POST /{version}/models/{model}:generateContent`"""
        speech = _speech(await parse(request, GenerateRequest))
        piece = _piece(speech.text, new_id("gemini"), request.match_info["model"])
        return await send(self._pace, {**piece, **_usage(speech, speech.completion_tokens), **_finished(piece, speech)})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """`POST /{version}/models/{model}:streamGenerateContent`: events with `alt=sse`, else one growing array."""
        speech = _speech(await parse(request, GenerateRequest))
        pieces = _pieces(speech, request.match_info["model"])
        if request.query.get("alt") == "sse":
            events = (b"data: " + orjson.dumps(piece) + b"\r\n\r\n" for piece in pieces)
            return await stream(request, self._pace, events)
        return await stream(request, self._pace, _array(pieces), "application/json")

    async def count_tokens(self, request: web.Request) -> web.StreamResponse:
        """`POST /{version}/models/{model}:countTokens`"""
        asked = await parse(request, GenerateRequest)
        return web.json_response({"totalTokens": count_tokens([asked.system_instruction, *asked.contents])})


def _speech(asked: GenerateRequest) -> Speech:
    limit = asked.generation_config.max_output_tokens if asked.generation_config else None
    return speak([asked.system_instruction, *asked.contents], last_question(asked.contents), limit)


def _pieces(speech: Speech, model: str) -> Iterator[dict[str, Any]]:
    """Each piece with the usage so far, as Gemini does; the last one says why it ended."""
    name = new_id("gemini")
    for index, text in enumerate(speech.pieces, 1):
        piece = _piece(text, name, model)
        last = index == len(speech.pieces)
        said = speech.completion_tokens if last else speech.completion_tokens * index // len(speech.pieces)
        yield {**piece, **_usage(speech, said), **(_finished(piece, speech) if last else {})}


def _array(pieces: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    for index, piece in enumerate(pieces):
        yield (b"," if index else b"[") + orjson.dumps(piece, option=orjson.OPT_INDENT_2) + b"\r\n"
    yield b"]\r\n"


def _piece(text: str, name: str, model: str) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    return {"candidates": [candidate], "modelVersion": model, "responseId": name}


def _finished(piece: dict[str, Any], speech: Speech) -> dict[str, Any]:
    reason = "MAX_TOKENS" if speech.truncated else "STOP"
    return {"candidates": [{**piece["candidates"][0], "finishReason": reason}]}


def _usage(speech: Speech, said: int) -> dict[str, Any]:
    prompt = speech.prompt_tokens
    return {
        "usageMetadata": {
            "promptTokenCount": prompt,
            "candidatesTokenCount": said,
            "totalTokenCount": prompt + said,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        }
    }
