"""What makes two messages the same, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.messages.digest import NOTHING, Digests, bare, size_of
from llmqd.messages.message import Media, Message, Reasoning, Text, ToolCall, ToolResult
from llmqd.messages.request import read_request

SECRET = b"the tests' own secret"


def keys(*messages: dict[str, Any]) -> list[int]:
    return Digests(SECRET, 100).keys(read_request("openai", "chat", {"messages": list(messages)}))


def key(*parts: Any, role: Any = "assistant") -> int:
    return Digests(SECRET, 100).key(Message(role, parts))


@pytest.mark.parametrize(
    "same",
    [
        {"role": "user", "content": "two  words"},
        {"role": "user", "content": "\ttwo\r\nwords ", "name": "anna"},
        {"role": "user", "content": [{"type": "text", "text": "two words"}]},
        {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "input_text", "text": "words"}]},
        {"role": "user", "content": [{"type": "text", "text": "two words", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": ["two words"], "id": "msg_1"},
        {"role": "USER", "content": "two\u00a0words"},
        {"content": "two words"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>\nIt is 10:01.\n</system-reminder>"},
                {"type": "text", "text": "two words"},
            ],
        },
    ],
)
def test_how_it_is_written_does_not_count(same: dict[str, Any]) -> None:
    assert keys(same) == keys({"role": "user", "content": "two words"})


@pytest.mark.parametrize(
    "other",
    [
        {"role": "assistant", "content": "two words"},
        {"role": "tool", "content": "two words"},
        {"role": "user", "content": "Two words"},
        {"role": "user", "content": "two words."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "two words"},
                {"type": "image_url", "image_url": {"url": "http://a/b"}},
            ],
        },
    ],
)
def test_what_is_said_counts(other: dict[str, Any]) -> None:
    assert keys(other) != keys({"role": "user", "content": "two words"})


def test_arguments_count_as_json() -> None:
    assert key(ToolCall("f", '{"a": 1, "b": [2]}', "x")) == key(ToolCall("f", '{"b":[2],"a":1}', "y"))
    assert key(ToolCall("f", "")) == key(ToolCall("f", "{}"))
    assert key(ToolCall("f", '{"a": [1.0, 2.5], "b": 1e3}')) == key(ToolCall("f", '{"b":1000,"a":[1,2.5]}'))
    assert key(ToolCall("f", '{"a": "1.0"}')) != key(ToolCall("f", '{"a": "1"}'))
    assert key(ToolCall("f", '{"a": 1e21}')) == key(ToolCall("f", '{"a": 1e+21}'))
    assert key(ToolCall("f", "{}")) != key(ToolCall("g", "{}"))
    assert key(ToolCall("f", "cut {")) != key(ToolCall("f", "{}"))


def test_reasoning_ids_and_an_answers_pictures_do_not_count() -> None:
    plain = key(Text("x"), ToolCall("f", "{}", "1"))
    assert plain == key(Reasoning("hm"), Text("x"), Media("image/png", data="AAAA"), ToolCall("f", "{}", "2"))


def test_results_count_by_their_text_and_pictures() -> None:
    assert key(ToolResult("a b", "1"), role="tool") == key(ToolResult("ab", "2"), role="tool")
    assert key(ToolResult("a"), role="tool") != key(ToolResult("b"), role="tool")
    assert key(ToolResult("a", media=(Media("image", "u"),)), role="tool") != key(ToolResult("a"), role="tool")


def test_thoughts_that_a_model_writes_into_its_text_do_not_count() -> None:
    assert key(Text("<think>hm</think>\nYes.")) == key(Text("Yes."))
    assert key(Text("<think>hm</think> Yes."), role="user") != key(Text("Yes."), role="user")


def test_a_message_with_nothing_but_a_clients_remark_says_nothing() -> None:
    remark = "<environment_context>\n<cwd>/tmp</cwd>\n</environment_context>"
    assert keys({"role": "user", "content": remark}) == [NOTHING]
    assert keys({"role": "user", "content": [{"type": "text", "text": remark}]}) == [NOTHING]
    assert keys({"role": "assistant", "content": None}) != [NOTHING]


def test_consecutive_answers_are_one() -> None:
    pieces = [{"role": "assistant", "content": "a b"}, {"role": "assistant", "content": "c"}]
    assert keys(*pieces) == keys({"role": "assistant", "content": "abc"})


def test_another_secret_makes_other_keys() -> None:
    assert Digests(b"one" * 8, 10).text_key("user", "x") != Digests(b"two" * 8, 10).text_key("user", "x")


def test_the_size_is_that_of_the_words() -> None:
    sizes = [size_of(keys({"role": "user", "content": text})[0]) for text in ("x", "OK.", "a b " * 50, "x" * 10**6)]
    assert sizes == [1, 2, 7, 15]
    assert size_of(NOTHING) == 0


def test_an_expected_answer_is_known_when_it_comes_back() -> None:
    digests = Digests(SECRET, 10)
    answer = Message("assistant", (Text("hello  there"),))
    digests.expect(answer, digests.key(answer))
    before = len(digests)
    [again] = digests.keys(
        read_request("openai", "chat", {"messages": [{"role": "assistant", "content": "hello  there"}]})
    )
    assert (again, len(digests)) == (digests.key(answer), before)


def test_the_memo_is_bounded() -> None:
    digests = Digests(SECRET, 10)
    for number in range(100):
        digests.keys(read_request("openai", "chat", {"messages": [{"role": "user", "content": str(number)}]}))
    assert len(digests) <= 10


@given(st.text())
def test_bare_is_idempotent_and_knows_every_white_space(text: str) -> None:
    assert bare(bare(text)) == bare(text) == "".join(letter for letter in text if not letter.isspace())


@given(st.text(max_size=40), st.sampled_from(["user", "assistant"]), st.integers(0, 40))
def test_cutting_a_text_into_parts_changes_nothing(text: str, role: str, at: int) -> None:
    whole = {"role": role, "content": text}
    parts = [{"type": "text", "text": piece} for piece in (text[:at], text[at:])]
    assert keys(whole) == keys({"role": role, "content": parts}) == keys({"role": role, "content": f" {text}\n"})
