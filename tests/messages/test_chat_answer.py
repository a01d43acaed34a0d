"""Chat answers: whole and streamed alike, and equal to what clients send back as history."""

from __future__ import annotations

import pytest

from llmqd.messages.message import Media, Message, Reasoning, Text, ToolCall
from tests.messages.answers import chat_stream, read, said, same
from tests.tap.recordings import chunk, sse

ARGUMENTS = '{"city": "Z\u00fcrich", "days": 3}'


def whole(message: dict[str, object], reason: str = "stop") -> dict[str, object]:
    choice = {"index": 0, "message": {"role": "assistant"} | message, "logprobs": None, "finish_reason": reason}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]}


def call(call_id: str, arguments: str = ARGUMENTS, name: str = "weather") -> dict[str, object]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_whole_answer_comes_back_as_history() -> None:
    answer = read(whole({"content": " Hello\nthere. ", "refusal": None, "annotations": [], "tool_calls": None}))
    assert answer.message == Message("assistant", (Text(" Hello\nthere. "),))
    assert answer.function_calls == 0
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello\nthere."}]
    assert same(answer.message, said({"messages": history})[1])
    history[1] = {"role": "assistant", "content": [{"type": "text", "text": "Hello there."}]}  # type: ignore[dict-item]
    assert same(answer.message, said({"messages": history})[1])


def test_streamed_tool_calls_are_joined_by_index_and_come_back_as_history() -> None:
    pieces = [ARGUMENTS[:5], ARGUMENTS[5:9], ARGUMENTS[9:]]
    deltas: list[dict[str, object]] = [{"content": "Let me see."}]
    for index in (0, 1):
        begin = {"index": index, **call(f"call_{index}", "")}
        deltas.append({"tool_calls": [begin]})
    for piece in pieces:
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for index in (0, 1)]
    answer = read(chat_stream(deltas, "tool_calls"))
    expected = (
        Text("Let me see."),
        ToolCall("weather", ARGUMENTS, "call_0"),
        ToolCall("weather", ARGUMENTS, "call_1"),
    )
    assert answer.message.parts == expected
    assert (answer.function_calls, answer.finish_reason) == (2, "tool_calls")
    back: dict[str, object] = {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [call("call_0"), call("call_1")],
    }
    assert read(whole(back, "tool_calls")).message == answer.message
    (message,) = said({"messages": [back]})
    assert message.parts == expected
    assert same(answer.message, message)


def test_other_arguments_are_another_answer() -> None:
    answer = read(whole({"content": None, "tool_calls": [call("a")]}))
    other = call("a", '{"city": "Bern"}')
    assert not same(answer.message, said({"messages": [{"role": "assistant", "tool_calls": [other]}]})[0])


def test_calls_that_all_bear_the_index_0_are_told_apart_by_their_ids() -> None:
    deltas = [{"tool_calls": [{"index": 0, **call(f"call_{number}")}]} for number in range(3)]
    answer = read(chat_stream(deltas))
    assert [part.id for part in answer.message.parts if isinstance(part, ToolCall)] == ["call_0", "call_1", "call_2"]


def test_call_without_an_index_and_with_arguments_as_a_value() -> None:
    listed = [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}, {"id": "b", "function": {"name": "g"}}]
    answer = read(whole({"content": "", "tool_calls": listed}))
    assert answer.message.parts == (ToolCall("f", '{"x":1}', "a"), ToolCall("g", "", "b"))


def test_custom_tools_and_functions_of_the_first_kind() -> None:
    custom = [{"id": "c", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}]
    assert read(whole({"tool_calls": custom})).message.parts == (ToolCall("sql", "select 1", "c"),)
    function = {"name": "f", "arguments": "{}"}
    assert read(whole({"content": None, "function_call": function})).message.parts == (ToolCall("f", "{}"),)
    streamed = chat_stream([{"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}])
    assert read(streamed).message.parts == (ToolCall("f", "{}"),)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_stands_before_the_words_and_does_not_count(name: str) -> None:
    deltas = [{name: "Hm, "}, {name: "yes."}, {"content": "Yes"}, {"content": "."}]
    answer = read(chat_stream(deltas))
    assert answer.message.parts == (Reasoning("Hm, yes."), Text("Yes."))
    assert read(whole({"content": "Yes.", name: "Hm, yes."})).message == answer.message
    assert same(answer.message, said({"messages": [{"role": "assistant", "content": "Yes."}]})[0])


def test_refusal_is_what_was_said() -> None:
    answer = read(chat_stream([{"refusal": "I can't "}, {"refusal": "do that."}]))
    assert answer.message.text == "I can't do that."
    assert same(answer.message, said({"messages": [{"role": "assistant", "refusal": "I can't do that."}]})[0])


def test_content_in_blocks_is_read_whole_and_streamed() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    blocks = [thinking, {"type": "text", "text": "Hello "}, {"type": "text", "text": "you"}]
    assert read(whole({"content": blocks})).message.text == "Hello you"
    assert read(chat_stream([{"content": [block]} for block in blocks])).message.text == "Hello you"


def test_speech_is_its_words_and_a_medium_without_too_many_bytes() -> None:
    audio = {"id": "audio_1", "data": "QUJD", "transcript": "Hello.", "expires_at": 1}
    answer = read(whole({"content": None, "audio": audio}))
    assert answer.message.parts == (Text("Hello."), Media("audio", data="QUJD", size=3, name="audio_1"))
    large = read(whole({"content": None, "audio": audio | {"data": "Q" * 4_000_000}}))
    assert large.message.parts[1] == Media("audio", size=3_000_000, name="audio_1")


def test_pictures_in_an_answer_are_media() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
    answer = read(whole({"content": "Here.", "images": [image]}))
    assert answer.message.parts == (Text("Here."), Media("image/png", data="iVBO", size=3))


def test_legacy_completion_is_read_whole_and_streamed() -> None:
    body = {"id": "cmpl-1", "choices": [{"text": "once upon", "index": 0, "finish_reason": "length"}]}
    assert read(body, operation="completion").message.text == "once upon"
    events = [{"id": "cmpl-1", "choices": [{"text": word, "index": 0}]} for word in ("once ", "upon")]
    answer = read(sse(*events, b"[DONE]"), operation="completion")
    assert (answer.message.text, answer.provider_id) == ("once upon", "cmpl-1")


def test_empty_answer_is_an_answer() -> None:
    answer = read(whole({"content": ""}))
    assert answer.message == Message("assistant")
    assert same(answer.message, said({"messages": [{"role": "assistant", "content": ""}]})[0])


def test_first_chunk_without_choices_says_nothing() -> None:
    stream = sse({"choices": [], "id": "", "prompt_filter_results": []}, chunk({"content": "Hi"}), b"[DONE]")
    answer = read(stream)
    assert (answer.message.text, answer.provider_id) == ("Hi", "chatcmpl-1")


def test_words_that_follow_blocks_stand_behind_them() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    answer = read(
        chat_stream([{"content": [thought]}, {"content": [thought]}, {"content": "so"}, {"content": " be it"}])
    )
    assert answer.message.parts == (Reasoning("hmhm"), Text("so be it"))
    sent_back = {"role": "assistant", "content": [thought, thought, {"type": "text", "text": "so be it"}]}
    assert same(answer.message, said({"messages": [sent_back]})[0])
