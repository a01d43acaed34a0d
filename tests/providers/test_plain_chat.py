"""A chat's answer that is nothing but a text says the same whether it is read in one step or in full."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.messages.answer import Answer, read_answer
from llmqd.messages.message import Message, Text
from llmqd.providers import openai
from llmqd.providers.facts import Facts
from llmqd.providers.plain_chat import plain_chat
from llmqd.tap.reader import MessageReader

PLAIN: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "héllo", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 20,
        "completion_tokens": 60,
        "total_tokens": 80,
        "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 1},
        "completion_tokens_details": {
            "reasoning_tokens": 7,
            "audio_tokens": 2,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
    "service_tier": "default",
    "system_fingerprint": "fp_1",
}


def in_full(body: bytes) -> Facts:
    facts = Facts()
    openai.read(orjson.loads(body), facts)
    return facts


def at_once(body: bytes) -> Facts:
    reader = MessageReader("openai")
    reader.take_body(body)
    return reader.facts


def test_what_openai_answers_is_read_in_one_step() -> None:
    body = orjson.dumps(PLAIN)
    assert plain_chat(body) is not None
    assert at_once(body) == in_full(body)
    said = Message("assistant", (Text("héllo"),))
    assert read_answer("openai", "chat", "application/json", body) == Answer(said, (), "stop", "chatcmpl-1")


ODD = st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.integers(-9, 10**13), st.text(max_size=9))


NAMES = (
    *("id", "model", "content", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "error"),
    *("finish_reason", "service_tier", "tool_calls", "cost", "x_groq", "timings", "annotations", "function_call"),
)


@given(
    st.sampled_from(
        (
            (),
            ("usage",),
            ("usage", "prompt_tokens_details"),
            ("usage", "completion_tokens_details"),
            ("choices", 0),
            ("choices", 0, "message"),
        )
    ),
    st.sampled_from(NAMES),
    st.one_of(ODD, st.lists(ODD, max_size=2), st.dictionaries(st.text(max_size=5), ODD, max_size=2)),
)
def test_whatever_else_stands_there_both_ways_say_the_same(place: tuple[Any, ...], name: str, value: object) -> None:
    body = orjson.loads(orjson.dumps(PLAIN))
    inner = body
    for step in place:
        inner = inner[step]
    inner[name] = value
    raw = orjson.dumps(body)
    full = in_full(raw) if "error" not in body else None
    if plain_chat(raw) is not None:
        assert at_once(raw) == full


@pytest.mark.parametrize("more", [{"tool_calls": [{"id": "call_1"}]}, {"reasoning_content": "hm"}, {"audio": {}}])
def test_an_answer_that_is_more_than_a_text_is_read_in_full(more: dict[str, Any]) -> None:
    body = orjson.loads(orjson.dumps(PLAIN))
    body["choices"][0]["message"] |= more
    assert plain_chat(orjson.dumps(body)) is None
