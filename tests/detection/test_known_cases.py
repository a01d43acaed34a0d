"""Cases on which other detectors are known to succeed or to fail: what is right in each."""

from __future__ import annotations

from typing import Any

import pytest

from llmqd.config.sessions import Sessions
from llmqd.messages.message import Message, ToolCall
from tests.detection.talking import Program, model, said, system, user


def talk(program: Program, history: list[Any], *turns: tuple[str, str]) -> list[str | None]:
    """Plays turns of a chat, growing its history; the session of each."""
    sessions = []
    for question, answer in turns:
        history.append(user(question))
        sessions.append(program.call(history, answer))
        history.append(model(answer))
    return sessions


TURNS = (("Hello", "Hi there!"), ("How are you?", "Fine, thanks."), ("What is 2+2?", "It is 4."), ("Bye", "Bye!"))


def test_a_growing_chat() -> None:
    assert talk(Program(), [], *TURNS) == ["s1"] * 4


def test_the_same_single_message_twice() -> None:
    program = Program()
    assert [program.call([user("Hello")], "Hi") for _ in range(2)] == ["s1", "s2"]


def test_two_users_with_the_same_opening() -> None:
    program = Program()
    program.call([user("Hello")], "Hi, I am A's.")
    program.call([user("Hello")], "Hi, I am B's.")
    assert program.call([user("Hello"), model("Hi, I am B's."), user("turn of B")]) == "s2"
    assert program.call([user("Hello"), model("Hi, I am A's."), user("turn of A")]) == "s1"


@pytest.mark.parametrize("answer", ["done", None])
def test_a_client_repeats_three_messages(answer: str | None) -> None:
    program, history = Program(), list[Any]()
    talk(program, history, TURNS[0])
    assert [program.call([*history, user("again")], answer) for _ in range(3)] == ["s1"] * 3


def test_a_word_about_resetting_is_no_reset() -> None:
    program, history = Program(), list[Any]()
    assert talk(program, history, *TURNS[:2], ("please reset", "Done.")) == ["s1"] * 3


def test_a_history_from_elsewhere_is_a_new_session_that_goes_on() -> None:
    program, history = Program(), [user("a"), model("b"), user("c"), model("d")]
    assert talk(program, history, ("e", "f"), ("g", "h")) == ["s1", "s1"]
    assert program.detector.statistics()["sessions_fragmented"] == 1


def test_a_window_that_slides() -> None:
    program, history = Program(), list[Any]()
    talk(program, history, *TURNS)
    assert program.call([*history[1:], user("more")]) == "s1"
    assert program.call([*history[3:], user("more")]) == "s1"


@pytest.mark.parametrize("at", [1, 3])
def test_a_client_edits_an_earlier_answer(at: int) -> None:
    program, history = Program(), list[Any]()
    talk(program, history, *TURNS)
    history[at] = model("Something else.")
    assert program.call([*history, user("more")]) == "s1"


def test_two_long_chats_with_the_same_letters() -> None:
    program = Program()
    one, two = list[Any](), list[Any]()
    assert talk(program, one, ("abc abc abc", "cba"), ("bca", "acb")) == ["s1", "s1"]
    assert talk(program, two, ("cab cab cab", "bac"), ("abc", "bca")) == ["s2", "s2"]


def test_prompts_that_differ_late() -> None:
    program = Program()
    one, two = [user("x" * 150 + "1")], [user("x" * 150 + "2")]
    assert (program.call(one, "y"), program.call(two, "y")) == ("s1", "s2")
    assert program.call([*two, model("y"), user("z")]) == "s2"
    assert program.call([*one, model("y"), user("z")]) == "s1"


def test_results_of_tools_count() -> None:
    program, histories = Program(), list[list[Any]]()
    for output in ("sunny", "rainy"):
        use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": output}
        history: list[Any] = [user("Weather?")]
        program.call(history, said(ToolCall("weather", "{}", "toolu_1")), operation="messages")
        history += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
        program.call(history, "I see.", operation="messages")
        histories.append([*history, model("I see."), user("Thanks")])
    assert [program.call(history) for history in histories] == ["s1", "s2"]


def test_two_sessions_that_say_the_same_may_both_expire() -> None:
    program = Program(Sessions(ttl=60.0))
    for _ in range(2):
        program.call([user("Hello")], "Hi")
    program.now += 120
    program.kept.clear()
    assert program.call([user("Hello"), model("Hi"), user("x")]) == "s3"
    assert program.detector.statistics()["sessions_expired"] == 2


def test_the_first_of_more_sessions_than_fit_goes_on() -> None:
    program = Program(Sessions(max=3))
    histories: list[list[Any]] = [[] for _ in range(5)]
    for number, history in enumerate(histories):
        talk(program, history, (f"conversation {number}", f"answer {number}"))
    assert talk(program, histories[0], ("more", "yes")) == ["s1"]


def test_equal_chats_one_after_another_differ() -> None:
    program = Program()
    assert talk(program, [], *TURNS) == ["s1"] * 4
    assert talk(program, [], *TURNS) == ["s2"] * 4


def test_interleaved_chats_stay_apart() -> None:
    program, histories = Program(), [list[Any](), list[Any](), list[Any]()]
    for turn in range(4):
        for number, history in enumerate(histories):
            [session] = talk(program, history, (f"{turn} of {number}", f"answer {turn}"))
            assert session == f"s{number + 1}"


def test_two_messages_of_the_user_in_a_row() -> None:
    program, history = Program(), [system("You are kind.")]
    talk(program, history, TURNS[0])
    history.append(user("One more thing."))
    assert talk(program, history, ("And another.", "Yes?"), ("That was it.", "Good.")) == ["s1", "s1"]


def test_equal_chats_at_the_same_time_keep_their_ids_through_three_turns() -> None:
    program, histories = Program(), [list[Any](), list[Any]()]
    for turn in TURNS[:3]:
        assert [talk(program, history, turn) for history in histories] == [["s1"], ["s2"]]
    assert program.detector.statistics()["sessions_created"] == 2
    assert program.detector.statistics()["sessions_fragmented"] == 0


def openai_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": call.id, "function": function}]}


def openai_result(call: ToolCall) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call.id, "content": "7"}


def responses_call(call: ToolCall) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def responses_result(call: ToolCall) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call.id, "output": "7"}


def anthropic_call(call: ToolCall) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": {"a": 1}}]}


def anthropic_result(call: ToolCall) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "7"}]}


@pytest.mark.parametrize(
    ("operation", "member", "write_call", "write_result"),
    [
        ("chat", "messages", openai_call, openai_result),
        ("responses", "input", responses_call, responses_result),
        ("messages", "messages", anthropic_call, anthropic_result),
    ],
)
def test_every_state_of_a_chat_with_tools(operation: str, member: str, write_call: Any, write_result: Any) -> None:
    program = Program()
    history: list[Any] = [user("What is 3 + 4, and then + 5?")]
    sessions = []

    def call(answer: Message) -> None:
        sessions.append(program.call({member: history}, answer, operation=operation))

    for number in range(2):
        for step in range(2):
            asked = ToolCall("add", '{"a":1}', f"call_{number}{step}")
            call(said(asked))
            history += [write_call(asked), write_result(asked)]
        call(said(f"It is {number}."))
        history += [model(f"It is {number}."), user("And now?")]
    call(said("12"))
    assert sessions == ["s1"] * 7
    assert program.detector.statistics()["sessions_fragmented"] == 0
