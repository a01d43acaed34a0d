"""What the official SDKs make of an answer and send back as history is recognised as that answer."""

from __future__ import annotations

from typing import Any

import anthropic.types
import openai.types.chat
import openai.types.responses
import pytest
from google.genai import types as gemini

from tests.messages import test_anthropic_answer, test_chat_answer, test_gemini_answer, test_responses_answer
from tests.messages.answers import chat_stream, read, said, same


@pytest.mark.parametrize("dump", [{}, {"exclude_none": True}, {"exclude_unset": True}])
def test_openai_chat_message(dump: dict[str, Any]) -> None:
    calls = [test_chat_answer.call("call_1")]
    said_so: list[dict[str, object]] = [{"content": "Hello  there.\n"}, {"content": None, "tool_calls": calls}]
    for message in said_so:
        body = test_chat_answer.whole(message)
        body |= {"created": 1, "model": "gpt-4o"}
        sent_back = openai.types.chat.ChatCompletion.model_validate(body).choices[0].message.model_dump(**dump)
        assert same(read(body).message, said({"messages": [sent_back]})[0])


def test_openai_chat_words_gathered_from_a_stream() -> None:
    words = ["Hello", " \u00fcber", " all", "\n"]
    answer = read(chat_stream([{"content": word} for word in words]))
    for text in ("".join(words), "".join(words).strip()):
        assert same(answer.message, said({"messages": [{"role": "assistant", "content": text}]})[0])


@pytest.mark.parametrize("dump", [{}, {"exclude_none": True}, {"exclude_unset": True}])
def test_openai_response_output(dump: dict[str, Any]) -> None:
    body = test_responses_answer.response(test_responses_answer.OUTPUT)
    body |= {"created_at": 1, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    output = openai.types.responses.Response.model_validate(body).output
    items = [item.model_dump(**dump) for item in output]
    answer = read(body, operation="responses")
    assert same(answer.message, said({"input": items}, operation="responses")[0])


@pytest.mark.parametrize("dump", [{}, {"exclude_none": True}, {"exclude_unset": True}])
def test_anthropic_content(dump: dict[str, Any]) -> None:
    body = test_anthropic_answer.whole(test_anthropic_answer.BLOCKS)
    body |= {"usage": {"input_tokens": 1, "output_tokens": 1}}
    content = [block.model_dump(**dump) for block in anthropic.types.Message.model_validate(body).content]
    answer = read(test_anthropic_answer.streamed(), dialect="anthropic")
    (sent_back,) = said({"messages": [{"role": "assistant", "content": content}]}, dialect="anthropic")
    assert same(answer.message, sent_back)


def test_gemini_content() -> None:
    body: dict[str, Any] = test_gemini_answer.body(test_gemini_answer.PARTS)
    candidates = gemini.GenerateContentResponse.model_validate(body).candidates
    assert candidates is not None
    assert candidates[0].content is not None
    content = candidates[0].content.model_dump(by_alias=True, exclude_none=True, mode="json")
    answer = read(body, dialect="gemini")
    assert same(answer.message, said({"contents": [content]}, dialect="gemini")[0])
