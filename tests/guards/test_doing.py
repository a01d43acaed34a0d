"""What calls are about to do: the same is the same, whoever writes it how."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmqd.guards.doing import Doing, doing_of
from llmqd.messages.request import read_request


def chat(*messages: dict[str, Any]) -> Doing | None:
    return doing_of(read_request("openai", "chat", {"model": "m", "messages": list(messages)}))


def tool(
    name: str = "search", arguments: str = '{"q": "x", "n": 1}', result: str = "found", call_id: str = "c1"
) -> Any:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return (
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": result},
    )


USER = {"role": "user", "content": "do it"}


def test_the_same_call_of_a_tool_is_the_same_whatever_its_id_its_result_and_how_it_is_written() -> None:
    one = chat(USER, *tool())
    assert one is not None
    assert one.tools == ("search",)
    assert chat(USER, *tool(call_id="c2", result="found at 12:01", arguments='{"n":1,"q":"x"}')) == one
    assert chat({"role": "user", "content": "other"}, *tool()) == one
    assert chat(USER, *tool(arguments='{"q": "y", "n": 1}')) != one
    assert chat(USER, *tool(name="find")) != one


def test_the_same_message_is_the_same_whatever_was_said_before() -> None:
    one = chat(USER)
    assert one is not None
    assert one.tools == ()
    assert chat(USER, {"role": "assistant", "content": "done"}, USER) == one
    assert chat({"role": "user", "content": "do it!"}) != one


def test_the_dialects_agree() -> None:
    anthropic = read_request(
        "anthropic",
        "messages",
        {
            "messages": [
                USER,
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "t", "name": "search", "input": {"n": 1, "q": "x"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "found"}]},
            ]
        },
    )  # fmt: skip
    assert doing_of(anthropic) == chat(USER, *tool())


def test_results_without_their_calls_count_by_what_they_say() -> None:
    one = doing_of(
        read_request(
            "openai",
            "responses",
            {"previous_response_id": "r", "input": [{"type": "function_call_output", "call_id": "c", "output": "7"}]},
        )
    )
    assert one is not None
    assert one.tools == ()


def test_nothing_said_is_nothing() -> None:
    assert chat() is None


@given(
    st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool", "x"]), "content": st.text()}))
)
def test_any_conversation_can_be_read(messages: list[dict[str, Any]]) -> None:
    chat(*messages)
