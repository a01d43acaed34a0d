"""Answers as the providers send them, byte for byte in form, with what must be read from each."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from llmqd.call import Dialect
from llmqd.tap.tap import Reading
from llmqd.usage import Usage


@dataclass(frozen=True)
class Recording:
    """One answer: headers that matter, body, and the reading it must give. `ends` says whether it has an end marker."""

    name: str
    dialect: Dialect
    content_type: str
    body: bytes
    reading: Reading
    ends: bool = True


def sse(*messages: object, named: bool = False) -> bytes:
    """Server-sent events; with `named` each bears its type as its name."""
    events = []
    for message in messages:
        data = message if isinstance(message, bytes) else orjson.dumps(message)
        name = b"event: %s\n" % str(message["type"]).encode() if named and isinstance(message, dict) else b""
        events.append(name + b"data: " + data + b"\n\n")
    return b"".join(events)


def chunk(delta: object, reason: str | None = None, **more: object) -> dict[str, object]:
    """A chunk of an OpenAI chat stream."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1741570283,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "choices": [choice],
    } | more


def padding(word: str) -> str:
    """What OpenAI adds to an event, so that its size does not tell that of the text."""
    return "aB3dE6gH"[len(word) % 9 :]


WORDS = ("Hello", " wörld", ' "quoted" \n', "こんにちは\u2028", ' {"usage":{"prompt_tokens":1}}', "!")

CHAT_USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 2},
}

OPENAI_CHAT = Recording(
    "openai chat",
    "openai",
    "text/event-stream; charset=utf-8",
    sse(
        chunk({"role": "assistant", "content": "", "refusal": None}, usage=None),
        *[chunk({"content": word}, usage=None, obfuscation=padding(word)) for word in WORDS],
        chunk({}, "stop", usage=None, obfuscation="Zy"),
        chunk({}, usage=CHAT_USAGE) | {"choices": []},
        b"[DONE]",
    ),
    Reading(
        Usage(19, 10, cached=4, input_audio=1, reasoning=3, output_audio=2, service_tier="default", source="exact"),
        "gpt-4o-2024-08-06",
        "chatcmpl-1",
        "stop",
    ),
)

AZURE_CHAT = Recording(
    "azure chat",
    "openai",
    "text/event-stream",
    sse(
        {
            "choices": [],
            "created": 0,
            "id": "",
            "model": "",
            "object": "",
            "prompt_filter_results": [{"prompt_index": 0}],
        },
        *[chunk({"content": word}) for word in WORDS],
        chunk({}, "stop"),
        chunk({}, usage=CHAT_USAGE) | {"choices": []},
        b"[DONE]",
    ),
    OPENAI_CHAT.reading,
)

OPENAI_RESPONSES = Recording(
    "openai responses",
    "openai",
    "text/event-stream; charset=utf-8",
    sse(
        {
            "type": "response.created",
            "sequence_number": 0,
            "response": {
                "id": "resp_1",
                "object": "response",
                "status": "in_progress",
                "model": "gpt-5",
                "usage": None,
            },
        },
        *[
            {
                "type": "response.output_text.delta",
                "sequence_number": number,
                "item_id": "msg_1",
                "delta": word,
                "obfuscation": padding(word),
            }
            for number, word in enumerate(WORDS, 1)
        ],
        {"type": "response.output_text.done", "sequence_number": 8, "text": "".join(WORDS)},
        {
            "type": "response.completed",
            "sequence_number": 9,
            "response": {
                "id": "resp_1",
                "object": "response",
                "status": "completed",
                "error": None,
                "model": "gpt-5",
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "".join(WORDS)}]}],
                "service_tier": "flex",
                "tool_usage": {"web_search": {"num_requests": 2}},
                "usage": {
                    "input_tokens": 36,
                    "input_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 5},
                    "output_tokens": 87,
                    "output_tokens_details": {"reasoning_tokens": 64},
                    "total_tokens": 123,
                },
            },
        },
        named=True,
    ),
    Reading(
        Usage(36, 87, cached=6, cache_write_5m=5, reasoning=64, web_searches=2, service_tier="flex", source="exact"),
        "gpt-5",
        "resp_1",
        "completed",
    ),
)

ANTHROPIC_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [],
        "stop_reason": None,
        "usage": {
            "input_tokens": 25,
            "cache_creation_input_tokens": 70,
            "cache_read_input_tokens": 1000,
            "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 20},
            "output_tokens": 1,
            "service_tier": "standard",
        },
    },
}

ANTHROPIC = Recording(
    "anthropic messages",
    "anthropic",
    "text/event-stream; charset=utf-8",
    sse(
        ANTHROPIC_START,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *[{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS],
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {
                "output_tokens": 15,
                "cache_read_input_tokens": None,
                "server_tool_use": {"web_search_requests": 1},
            },
        },
        {"type": "message_stop"},
        named=True,
    ),
    Reading(
        Usage(
            25 + 70 + 1000,
            15,
            cached=1000,
            cache_write_5m=50,
            cache_write_1h=20,
            web_searches=1,
            service_tier="standard",
            source="exact",
        ),
        "claude-sonnet-4-5-20250929",
        "msg_1",
        "end_turn",
    ),
)


def gemini_chunk(word: str, made: int | None, reason: str | None = None, **figures: int) -> dict[str, object]:
    """A chunk of a Gemini stream."""
    candidate: dict[str, object] = {"content": {"parts": [{"text": word}], "role": "model"}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    usage = {"promptTokenCount": 8, "totalTokenCount": 58} | figures
    if made is not None:
        usage["candidatesTokenCount"] = made
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-pro", "responseId": "g1"}


_GEMINI_CHUNKS = [
    *[gemini_chunk(word, number or None) for number, word in enumerate(WORDS)],
    gemini_chunk("", 20, "STOP", thoughtsTokenCount=30, toolUsePromptTokenCount=7, cachedContentTokenCount=3),
]
_GEMINI_READING = Reading(Usage(15, 50, cached=3, reasoning=30, source="exact"), "gemini-2.5-pro", "g1", "STOP")
_SPACED = [orjson.dumps(part).replace(b'":', b'": ') for part in _GEMINI_CHUNKS]

GEMINI_SSE = Recording(
    "gemini sse",
    "gemini",
    "text/event-stream",
    sse(*_SPACED).replace(b"\n", b"\r\n"),
    _GEMINI_READING,
    ends=False,
)

GEMINI_ARRAY = Recording(
    "gemini array",
    "gemini",
    "application/json; charset=UTF-8",
    b"[" + b"\r\n,\r\n".join(_SPACED) + b"\r\n]",
    _GEMINI_READING,
    ends=False,
)

OLLAMA = Recording(
    "ollama chat",
    "ollama",
    "application/x-ndjson",
    b"".join(
        orjson.dumps(line) + b"\n"
        for line in (
            *[
                {"model": "llama3.2", "message": {"role": "assistant", "content": word}, "done": False}
                for word in WORDS
            ],
            {
                "model": "llama3.2",
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 26,
                "eval_count": 298,
            },
        )
    ),
    Reading(Usage(26, 298, source="exact"), "llama3.2", None, "stop"),
)

STREAMS = (OPENAI_CHAT, AZURE_CHAT, OPENAI_RESPONSES, ANTHROPIC, GEMINI_SSE, GEMINI_ARRAY, OLLAMA)
