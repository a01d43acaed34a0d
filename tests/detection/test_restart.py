"""What the database keeps is enough to go on, told at the start or looked up when needed; and memory is bounded."""

from __future__ import annotations

import orjson
import pytest

from llmqd.config.sessions import Sessions
from llmqd.detection.assignment import Question
from llmqd.messages.message import ToolCall
from llmqd.messages.request import read_request
from tests.detection.talking import Program, model, said, user

HELLO, HI = user("Hello"), "Hello! How can I help you today?"
LONG = "The harbour was empty when the first ships came back from the north, and nobody knew what they had seen."

told = pytest.mark.parametrize("told", [True, False], ids=["told", "looked up"])


@told
def test_a_conversation_goes_on(told: bool) -> None:
    program = Program()
    program.call([HELLO], HI)
    program.restart(told=told)
    assert program.call([HELLO, model(HI), user("x")]) == "s1"


@told
def test_who_had_gone_on_does_not_wait_any_more(told: bool) -> None:
    program = Program()
    program.call([HELLO], HI)
    program.call([HELLO], HI)
    program.call([HELLO, model(HI), user("a")], "1")
    program.restart(told=told)
    assert program.call([HELLO, model(HI), user("b")]) == "s2"


@told
def test_who_had_gone_on_before_the_second_came_does_not_wait_any_more(told: bool) -> None:
    program = Program()
    program.call([HELLO], HI)
    program.call([HELLO, model(HI), user("a")], "1")
    program.call([HELLO], HI)
    program.restart(told=told)
    assert program.call([HELLO, model(HI), user("b")]) == "s2"


@told
def test_a_history_cut_at_its_head_goes_on(told: bool) -> None:
    program = Program()
    program.call([user("one")], LONG)
    program.call([user("one"), model(LONG), user("two")], LONG[::-1])
    program.restart(told=told)
    assert program.call([user("two"), model(LONG[::-1]), user("three")]) == "s1"


@told
def test_an_answer_is_known_to_a_question_that_is_worded_anew(told: bool) -> None:
    program = Program()
    program.call([user("<note>Turn 1.</note> Which ships are these?")], LONG)
    program.restart(told=told)
    assert program.call([user("Which ships are these?"), model(LONG), user("And whose?")]) == "s1"


@told
def test_a_conversation_whose_answers_are_never_sent_back_as_they_were_goes_on(told: bool) -> None:
    program, history = Program(), [user("Which ships came back from the north?")]
    program.call(history, LONG)
    history.append(user("[captain]: A few of those that had left."))
    program.call(history, LONG)
    program.restart(told=told)
    history.append(user("[mate]: Hardly any."))
    assert program.call(history) == "s1"


@told
def test_a_previous_response_is_known(told: bool) -> None:
    program = Program()
    program.call({"input": "one"}, "first", operation="responses", provider_id="resp_1")
    program.restart(told=told)
    body = {"input": "two", "previous_response_id": "resp_1"}
    assert program.call(body, operation="responses") == "s1"


@told
def test_the_id_of_a_tool_call_is_known(told: bool) -> None:
    program = Program()
    program.call([user("What is here?")], said(ToolCall("list", "{}", "call_9aXk2LmQ8rTz")))
    program.restart(told=told)
    assert program.call([{"role": "tool", "tool_call_id": "call_9aXk2LmQ8rTz", "content": "README"}]) == "s1"


def test_a_failure_is_known() -> None:
    program = Program()
    program.call([HELLO], None)
    program.restart()
    assert program.call([HELLO], HI) == "s1"
    program.restart()
    assert program.call([HELLO]) == "s2"


def test_a_retry_of_the_sdk_is_worth_a_lookup() -> None:
    program = Program()
    program.call([HELLO], None)
    program.restart(told=False)
    assert program.call([HELLO], client_retry=1) == "s1"


def test_a_sub_agent_finds_its_session() -> None:
    program = Program()
    program.call([user("Go.")], said(ToolCall("task", '{"prompt": "Count all the lines."}', "toolu_1")))
    program.restart()
    assert program.call([user("Count all the lines.")]) == "s1"


def test_a_sub_agent_finds_its_session_after_a_start_at_which_nothing_was_told() -> None:
    task = "Count all the lines of all the files in the directory src and tell their sum."
    program = Program()
    program.call([user("Go.")], said(ToolCall("task", orjson.dumps({"prompt": task}).decode(), "toolu_1")))
    program.restart(told=False)
    assert program.call([user(task)]) == "s1"


def test_a_first_question_is_asked_for_no_more_once_it_was_told() -> None:
    program = Program()
    program.restart()
    request = read_request("openai", "chat", {"messages": [HELLO]})
    assert not program.detector.assign(Question("key", request), program.now).unsure


def test_a_summary_of_the_time_before_is_carried_on() -> None:
    program = Program()
    program.call([HELLO], HI)
    program.call([HELLO, model(HI), user("Summarise.")], LONG)
    program.restart()
    assert program.call([user(f"So far:\n{LONG}")]) == "s1"


def test_what_is_not_known_is_asked_for_once() -> None:
    program = Program()
    shots = [user("I love it"), model("positive"), user("What a waste"), model("negative")]
    program.call([*shots, user("one")])
    question = program.begin([*shots, user("two")])
    assert question.session == "s2"
    program.kept.clear()
    assert program.call([*shots, user("three")]) == "s3"


def test_what_was_not_known_is_asked_for_again_once_somebody_has_said_it() -> None:
    program = Program(Sessions(max=3))
    assert program.call([HELLO, model(LONG), user("never said")]) == "s1"
    assert program.call([HELLO], LONG) == "s2"
    for number in range(5):
        program.call([user(f"conversation {number}")])
    assert program.call([HELLO, model(LONG), user("x")]) == "s2"


def test_the_memory_may_decide_alone() -> None:
    program = Program()
    request = read_request("openai", "chat", {"messages": [HELLO, model("never said"), user("x")]})
    assert program.detector.assign(Question("key", request), program.now).unsure
    assert program.detector.assign(Question("key", request), program.now, look_up=False).session == "s1"


def test_an_expired_session_is_looked_up() -> None:
    program = Program(Sessions(ttl=60.0))
    program.call([HELLO], HI)
    program.now += 3600
    program.call([user("x")])
    assert program.detector.statistics()["expired"] == 1
    assert program.call([HELLO, model(HI), user("y")]) == "s1"
    assert program.detector.statistics()["recalled"] == 1


def test_more_sessions_than_memory_takes_are_looked_up() -> None:
    program = Program(Sessions(max=3))
    histories = [[user(f"conversation {number}")] for number in range(20)]
    for turn in range(4):
        for number, history in enumerate(histories):
            assert program.call(history, f"answer {turn} of {number}") == f"s{number + 1}"
            history += [model(f"answer {turn} of {number}"), user(f"turn {turn}")]
    assert program.detector.statistics()["active"] <= 3


def test_rows_of_a_newer_version_are_passed_over() -> None:
    from llmqd.detection.assignment import Evidence

    program = Program()
    program.detector.recall([Evidence(5 << 4 | 15, "s7", 1.0)], program.now)
    assert program.detector.statistics()["active"] == 0
