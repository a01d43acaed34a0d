"""OpenAI's chat, completions and embeddings, simulated; shapes per platform.openai.com/docs/api-reference."""

from __future__ import annotations

import base64
import hashlib
import random
import struct
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from llmqd.sim.reply import Messages, Name, Pace, Positive, event, new_id, parse, refusal, send, stream
from llmqd.sim.speech import Speech, count_tokens, last_question, speak

DIMENSIONS = 1536
"""Of an embedding whose caller did not say; what text-embedding-3-small gives."""


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    model: Name
    messages: Messages
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None


class CompletionRequest(msgspec.Struct):
    model: Name
    prompt: str | list[Any]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Positive | None = None


class EmbeddingRequest(msgspec.Struct):
    model: Name
    input: str | Annotated[list[Any], msgspec.Meta(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] = DIMENSIONS


class OpenAI:
    """The handlers of OpenAI's URLs, Responses apart. One choice is returned whatever `n` asks for."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/chat/completions`"""
        asked = await parse(request, ChatRequest)
        usage = _wants_usage(asked)
        limit = asked.max_completion_tokens or asked.max_tokens
        speech = speak(asked.messages, last_question(asked.messages), limit)
        if asked.stream:
            return await stream(request, self._pace, _chat_events(asked.model, speech, usage))
        message = {"role": "assistant", "content": speech.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(speech)}
        body = {**_head("chatcmpl", "chat.completion", asked.model), "choices": [choice], "usage": _usage(speech)}
        return await send(self._pace, body)

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/completions`"""
        asked = await parse(request, CompletionRequest)
        usage = _wants_usage(asked)
        question = asked.prompt if isinstance(asked.prompt, str) else str(asked.prompt[-1] if asked.prompt else "")
        speech = speak(question, question, asked.max_tokens)
        if asked.stream:
            return await stream(request, self._pace, _completion_events(asked.model, speech, usage))
        choice = {"text": speech.text, "index": 0, "logprobs": None, "finish_reason": _finish(speech)}
        body = {**_head("cmpl", "text_completion", asked.model), "choices": [choice], "usage": _usage(speech)}
        return await send(self._pace, body)

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/embeddings`: vectors of length 1, the same for the same text."""
        asked = await parse(request, EmbeddingRequest)
        inputs: list[Any] = asked.input if isinstance(asked.input, list) else [asked.input]
        if all(isinstance(part, int) for part in inputs):
            inputs = [inputs]
        rows: list[dict[str, Any]] = []
        for index, part in enumerate(inputs):
            vector = _vector(str(part), asked.dimensions)
            value: Any = vector
            if asked.encoding_format == "base64":
                value = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            rows.append({"object": "embedding", "index": index, "embedding": value})
        tokens = sum(count_tokens(part) if isinstance(part, str) else len(part) for part in inputs)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return await send(self._pace, {"object": "list", "data": rows, "model": asked.model, "usage": usage})


def _wants_usage(asked: ChatRequest | CompletionRequest) -> bool:
    """Whether the stream reports usage. Raises OpenAI's 400 for options without a stream."""
    if asked.stream_options is None:
        return False
    if not asked.stream:
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise refusal("openai", 400, text)
    return asked.stream_options.include_usage is True


def _chat_events(model: str, speech: Speech, usage: bool) -> Iterator[bytes]:
    head = _head("chatcmpl", "chat.completion.chunk", model)
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": piece} for piece in speech.pieces]
    choices: list[dict[str, Any]] = [_chunk_choice(delta, None) for delta in deltas]
    yield from _chunks(head, [*choices, _chunk_choice({}, _finish(speech))], speech, usage)


def _completion_events(model: str, speech: Speech, usage: bool) -> Iterator[bytes]:
    choices: list[dict[str, Any]] = [
        {"text": piece, "index": 0, "logprobs": None, "finish_reason": None} for piece in speech.pieces
    ]
    choices.append({"text": "", "index": 0, "logprobs": None, "finish_reason": _finish(speech)})
    yield from _chunks(_head("cmpl", "text_completion", model), choices, speech, usage)


def _chunks(head: dict[str, Any], choices: list[dict[str, Any]], speech: Speech, usage: bool) -> Iterator[bytes]:
    """With `usage` every chunk carries `"usage": null` and one more, without choices, the figures, as OpenAI does."""
    empty: dict[str, Any] = {"usage": None} if usage else {}
    for choice in choices:
        yield event({**head, "choices": [choice], **empty})
    if usage:
        yield event({**head, "choices": [], "usage": _usage(speech)})
    yield b"data: [DONE]\n\n"


def _chunk_choice(delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _head(kind: str, name: str, model: str) -> dict[str, Any]:
    return {
        "id": new_id(kind),
        "object": name,
        "created": int(time.time()),
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "llmqd-sim",
    }


def _finish(speech: Speech) -> str:
    return "length" if speech.truncated else "stop"


def _usage(speech: Speech) -> dict[str, Any]:
    return {
        "prompt_tokens": speech.prompt_tokens,
        "completion_tokens": speech.completion_tokens,
        "total_tokens": speech.total_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _vector(text: str, dimensions: int) -> list[float]:
    seed = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    dice = random.Random(int.from_bytes(seed, "big"))
    numbers = [dice.gauss(0, 1) for _ in range(dimensions)]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]
