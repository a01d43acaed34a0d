"""Every behaviour of programs that detection follows, one by one."""

from __future__ import annotations

from typing import Any
from unicodedata import normalize

import orjson
import pytest

from llmqd.config.sessions import Sessions
from llmqd.messages.message import ToolCall
from tests.detection.talking import Program, model, said, system, user

HELLO, HI = user("Hello"), "Hello! How can I help you today?"
LONG = "The harbour was empty when the first ships came back from the north, and nobody knew what they had seen."


def test_turn_after_turn_is_one_session() -> None:
    program, history = Program(), []
    sessions = set()
    for turn in range(6):
        history.append(user(f"question {turn}"))
        sessions.add(program.call(history, f"answer {turn}"))
        history.append(model(f"answer {turn}"))
    assert sessions == {"s1"}
    assert program.detector.statistics()["continued"] == 5


def test_equal_first_calls_are_different_sessions() -> None:
    program = Program()
    assert [program.call([HELLO], HI) for _ in range(3)] == ["s1", "s2", "s3"]


def test_a_thousand_single_calls_with_one_system_prompt_stay_apart() -> None:
    program = Program()
    sessions = {program.call([system("Classify."), user(f"text {i % 7}")], "positive") for i in range(1000)}
    assert len(sessions) == 1000


def test_equal_beginnings_go_to_who_waits_the_oldest_first() -> None:
    program = Program()
    program.call([HELLO], HI)
    program.call([HELLO], HI)
    beginning = [HELLO, model(HI)]
    assert program.call([*beginning, user("a")], "a1") == "s1"
    assert program.call([*beginning, user("b")], "b1") == "s2"
    assert program.call([*beginning, user("b"), model("b1"), user("b2")]) == "s2"
    assert program.call([*beginning, user("a"), model("a1"), user("a2")]) == "s1"


def test_traits_tell_equal_conversations_apart() -> None:
    program = Program()
    program.call([HELLO], HI, traits=("model-a", "10.0.0.1"))
    program.call([HELLO], HI, traits=("model-a", "10.0.0.2"))
    assert program.call([HELLO, model(HI), user("x")], traits=("model-a", "10.0.0.2")) == "s2"


def test_a_system_prompt_breaks_a_tie() -> None:
    program = Program()
    program.call([system("You are Anna."), HELLO], HI)
    program.call([system("You are Bert."), HELLO], HI)
    assert program.call([system("You are Bert."), HELLO, model(HI), user("x")]) == "s2"


def test_a_system_prompt_may_change_with_every_call() -> None:
    program = Program()
    first = program.call([system("It is 10:01."), HELLO], HI)
    assert program.call([system("It is 10:02."), HELLO, model(HI), user("x")], "y") == first


def test_short_equal_answers_do_not_mix_conversations() -> None:
    program = Program()
    one, two = [user("Remember the number 17.")], [user("Remember the number 18.")]
    assert (program.call(one), program.call(two)) == ("s1", "s2")
    for number in range(3):
        two += [model("OK."), user(f"and {number}")]
        one += [model("OK."), user(f"and {number}")]
        assert (program.call(two), program.call(one)) == ("s2", "s1")


@pytest.mark.parametrize("keep", [2, 3, 4, 5, 7])
def test_a_history_cut_at_its_head_goes_on(keep: int) -> None:
    program, history = Program(), []
    for turn in range(8):
        answer = f"Town {turn} is a nice place by the sea, with a harbour, a tower, a mill, and a long beach of stones."
        history.append(user(f"Tell me about town number {turn}, please."))
        assert program.call(history[-keep:], answer) == "s1"
        history.append(model(answer))


def test_a_history_that_begins_with_a_few_words_of_many_is_no_evidence() -> None:
    program = Program()
    program.call([user("Who won?")], "I do not know the answer.")
    assert program.call([user("Example?"), model("I do not know the answer."), user("And you?")]) == "s2"


def test_a_summary_and_the_last_exchange_go_on() -> None:
    program = Program()
    history = [user("What is the tallest hill here?"), model("That is the Windberg."), user("How tall is it?")]
    program.call(history[:1], "That is the Windberg.")
    program.call(history, "352 metres.")
    compacted = [user("Summary: they spoke of the Windberg."), history[-1], model("352 metres."), user("And the next?")]
    assignment = program.begin(compacted)
    assert (assignment.session, assignment.match, assignment.source) == ("s1", "fuzzy", "detected")
    assert 0 < assignment.confidence < 1


def test_a_summary_that_the_model_wrote_is_carried_on_in_a_new_first_message() -> None:
    program = Program()
    history = [user("Let us write about the sea."), model("Gladly."), user("Summarise this conversation.")]
    program.call(history[:1], "Gladly.")
    program.call(history, f"Goal: a text about the sea.\n{LONG}")
    begun = [user(f"This session goes on from an earlier one:\n  Goal: a text about the sea.\n  {LONG}\nGo on.")]
    assert program.call(begun, "More sea.") == "s1"
    assert program.call([*begun, model("More sea."), user("And more.")]) == "s1"


def test_an_answer_that_is_taken_into_a_new_conversation_does_not_take_its_session_along() -> None:
    program = Program()
    program.call([user("Write a sentence.")], LONG)
    assert program.call([user(f"Translate:\n{LONG}")]) == "s2"


def test_an_edited_turn_is_a_branch_of_its_session() -> None:
    program = Program()
    history = [
        user("And the first?"),
        model("first answer"),
        user("And the second?"),
        model("Another answer."),
        user("three"),
    ]
    program.call(history[:1], "first answer")
    program.call(history[:3], "Another answer.")
    program.call(history, "third answer")
    assert program.call([*history[:2], user("two, but otherwise")]) == "s1"
    assert program.call([history[0], model("an edited answer"), *history[2:]]) == "s1"


def test_a_branch_leaves_who_waits_elsewhere_alone() -> None:
    program = Program()
    program.call([HELLO], HI)
    program.call([HELLO, model(HI), user("x")], "y")
    program.call([HELLO], HI)
    assert program.call([HELLO, model(HI), user("z")]) == "s2"


def test_the_same_once_more_after_an_answer_is_the_same_session() -> None:
    program = Program()
    history = [user("one"), model("first"), user("two")]
    program.call(history[:1], "first")
    assert [program.call(history, f"try {number}") for number in range(3)] == ["s1"] * 3


@pytest.mark.parametrize("retry", [0, 1])
def test_a_first_call_that_failed_may_come_again(retry: int) -> None:
    program = Program()
    assert program.call([HELLO], None) == "s1"
    assignment = program.begin([HELLO], client_retry=retry)
    assert (assignment.session, assignment.match) == ("s1", "retry")
    program.end(assignment, HI)
    assert program.call([HELLO]) == "s2"


def test_a_failure_is_forgotten_after_a_while() -> None:
    program = Program()
    program.call([HELLO], None)
    program.now += 700
    assert program.call([HELLO]) == "s2"


def test_as_many_retries_as_failures_each_to_its_own() -> None:
    program = Program()
    running = [program.begin([HELLO]) for _ in range(3)]
    for assignment in running:
        program.end(assignment, None)
    assert sorted(str(program.begin([HELLO]).session) for _ in range(4)) == ["s1", "s2", "s3", "s4"]


def test_of_two_failures_the_one_with_the_same_system_prompt_comes_again() -> None:
    program = Program()
    for assignment in [program.begin([system(text), HELLO]) for text in ("Be brief.", "Be kind.")]:
        program.end(assignment, None)
    assert program.call([system("Be kind."), HELLO]) == "s2"


def test_a_retry_of_the_sdk_joins_the_call_that_still_runs() -> None:
    program = Program()
    program.begin([HELLO])
    assert program.begin([HELLO]).session == "s2"
    assert program.begin([HELLO], client_retry=1).session == "s1"


def test_a_failed_turn_goes_back_to_waiting() -> None:
    program = Program()
    program.call([HELLO], HI)
    program.call([HELLO], HI)
    turn = [HELLO, model(HI), user("x")]
    assert program.call(turn, None) == "s1"
    assert program.call(turn, "y") == "s1"
    assert program.call([HELLO, model(HI), user("z")]) == "s2"


def test_a_question_after_one_that_failed_goes_on() -> None:
    program = Program()
    program.call([user("one")], None)
    assert program.call([user("one"), user("two")]) == "s1"


def test_an_answer_that_was_cut_off_may_come_back_in_part() -> None:
    program = Program()
    program.call([user("Tell me a story.")], LONG, complete=False)
    assert program.call([user("Tell me a story."), model(LONG[:50]), user("go on")]) == "s1"


def test_part_of_an_answer_tells_equal_openings_apart() -> None:
    program = Program()
    program.call([user("Tell me a long story.")], LONG)
    program.call([user("Tell me a long story.")], LONG[::-1])
    assert program.call([user("Tell me a long story."), model(LONG[::-1][:60]), user("go on")]) == "s2"


def test_white_space_and_parts_do_not_matter() -> None:
    program = Program()
    program.call([user("a question\nof two lines")], "an  answer")
    rewritten: list[dict[str, Any]] = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "a question "}, {"type": "text", "text": "of two\r\nlines"}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": " an answer", "annotations": []}], "refusal": None},
        user("next"),
    ]
    assert program.call(rewritten) == "s1"


def test_a_tool_loop_is_one_session() -> None:
    program = Program()
    history: list[dict[str, Any]] = [user("What does the file say?")]
    for number in range(4):
        call = ToolCall("read", f'{{"path": "{number}.txt", "all": true}}', f"call_{number}")
        assert program.call(history, said(call)) == "s1"
        function = {"name": "read", "arguments": f'{{"all":true,"path":"{number}.txt"}}'}
        history.append({"role": "assistant", "content": None, "tool_calls": [{"id": call.id, "function": function}]})
        history.append({"role": "tool", "tool_call_id": call.id, "content": "nothing"})
    assert program.call(history, "It says nothing.") == "s1"


def test_a_tool_loop_without_its_head_goes_on_by_the_id_of_a_call() -> None:
    program = Program()
    call = ToolCall("list", "{}", "call_9aXk2LmQ8rTz")
    assert program.call([user("What is here?")], said(call)) == "s1"
    assert program.call([user("What is here, then?")], said(ToolCall("list", "{}", "call_7bYc3NnR9sUa"))) == "s2"
    results = [{"role": "tool", "tool_call_id": "call_9aXk2LmQ8rTz", "content": "README"}]
    assert program.call(results) == "s1"


def test_ids_that_everybody_uses_are_no_evidence() -> None:
    program = Program()
    program.call([user("What is here?")], said(ToolCall("list", "{}", "call_1")))
    assert program.call([{"role": "tool", "tool_call_id": "call_1", "content": "README"}]) == "s2"


def test_a_previous_response_is_the_session_of_that_response() -> None:
    program = Program()
    options = {"operation": "responses"}
    assert program.call({"input": "one"}, "first", provider_id="resp_1", **options) == "s1"
    assert program.call({"input": "one"}, "first", provider_id="resp_2", **options) == "s2"
    for number, session in ((1, "s1"), (2, "s2"), (1, "s1")):
        assert program.call({"input": "two", "previous_response_id": f"resp_{number}"}, **options) == session
    assert program.call({"input": "two", "previous_response_id": "resp_9"}, **options) == "s3"


def item(number: int) -> dict[str, str]:
    """An answer in the history of a Responses call, by the id of its item alone."""
    return {"type": "item_reference", "id": f"msg_{number}"}


@pytest.mark.parametrize("told", [None, True, False])
def test_an_item_is_named_in_place_of_what_it_says(told: bool | None) -> None:
    program = Program()
    asked = [user("one")]
    for number in (1, 2):
        assignment = program.begin({"input": asked}, operation="responses")
        program.end(assignment, "OK.", f"resp_{number}", item_id=f"msg_{number}")
    if told is not None:
        program.restart(told=told)
    for number in (2, 1):
        history = [*asked, item(number), user(f"more of {number}")]
        assignment = program.begin({"input": history}, operation="responses")
        assert (assignment.session, assignment.match) == (f"s{number}", "exact")
        program.end(assignment, "OK.", f"resp_1{number}", item_id=f"msg_1{number}")
        history += [item(10 + number), user("and more")]
        assert program.call({"input": history}, operation="responses") == f"s{number}"


def test_an_item_that_was_not_to_be_kept_is_nobody_s() -> None:
    program = Program()
    assignment = program.begin({"input": "one", "store": False}, operation="responses")
    program.end(assignment, "OK.", "resp_1", item_id="msg_1")
    assert program.call({"input": [user("one"), item(1), user("two")]}, operation="responses") == "s2"


def test_accents_may_be_put_together_or_stand_by_themselves() -> None:
    program = Program()
    asked, answer = "Wo ist das Café?", "Über der Brücke, gleich rechts."
    program.call([user(asked)], answer)
    taken_apart = [user(normalize("NFD", asked)), model(normalize("NFD", answer)), user("Danke!")]
    assignment = program.begin(taken_apart)
    assert (assignment.session, assignment.match) == ("s1", "exact")


def test_lines_that_many_have_said_last_are_no_summary_of_one() -> None:
    program = Program()
    for number in range(3):
        history = [user(f"Order {number}"), model(f"Number {number}."), user("Is it on its way?")]
        program.call(history[:1], f"Number {number}.")
        program.call(history, LONG)
    assert program.call([user(f"From our handbook:\n{LONG}\nIs this still so?")]) == "s4"


def test_a_short_exchange_is_enough_where_one_session_alone_waits_after_it() -> None:
    program = Program()
    history = [user("Number the pages."), model("Done"), user("yes")]
    program.call(history[:1], "Done")
    program.call(history, "Done")
    cut = [user("yes"), model("Done"), user("Now bind them.")]
    assert program.call(cut, "Done") == "s1"
    assert program.call([*cut[:2], user("And print them.")]) == "s2"  # it waits elsewhere by now


def test_other_scopes_are_other_sessions() -> None:
    program = Program()
    assert program.call([user("x")], LONG, scope="a") == "s1"
    history = [user("x"), model(LONG), user("y")]
    assert program.call(history, scope="b") == "s2"
    assert program.call(history, scope="a") == "s1"


@pytest.mark.parametrize("task", ["Count the lines in all files.", LONG])
def test_a_sub_agent_belongs_to_the_session_that_started_it(task: str) -> None:
    program = Program()
    call = ToolCall("task", orjson.dumps({"description": "count", "prompt": task}).decode(), "toolu_1")
    program.call([user("How long is it all?")], said("I shall ask.", call))
    agent: list[dict[str, Any]] = [user(task)]
    assert program.call([system("You are an agent."), *agent], "12 lines.") == "s1"
    assert program.call([system("You are an agent."), *agent, model("12 lines."), user("sure?")]) == "s1"


def test_a_task_wrapped_into_more_words_is_found_by_its_long_lines() -> None:
    program = Program()
    call = ToolCall("task", orjson.dumps({"prompt": f"{LONG}\n{LONG[::-1]}"}).decode(), "toolu_1")
    program.call([user("Go.")], said(call))
    assert program.call([user(f"Your task:\n{LONG}\n{LONG[::-1]}\nReport at the end.")]) == "s1"


def test_a_short_task_counts_only_while_its_tool_may_run() -> None:
    program = Program()
    call = {"id": "c1", "function": {"name": "search", "arguments": '{"query": "weather in Paris tomorrow"}'}}
    history = [user("Umbrella?"), {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "rain"}]
    program.call(history[:1], said(ToolCall("search", '{"query": "weather in Paris tomorrow"}', "c1")))
    program.call(history, "Yes.")
    assert program.call([user("weather in Paris tomorrow")]) == "s2"


def test_an_argument_that_repeats_the_question_makes_nobody_a_sub_agent() -> None:
    program = Program()
    question = "What is the weather in Paris?"
    program.call([user(question)], said(ToolCall("search", orjson.dumps({"q": question}).decode(), "c1")))
    assert program.call([user(question)]) == "s2"


def test_examples_that_nobody_said_are_no_evidence() -> None:
    program = Program()
    shots = [user("I love it"), model("positive"), user("What a waste"), model("negative")]
    sessions = [program.call([*shots, user(f"It is film {number}")], "neutral") for number in range(5)]
    assert sessions == ["s1", "s2", "s3", "s4", "s5"]
    assert program.detector.statistics()["fragmented"] == 5


def test_examples_that_different_sessions_said_are_no_evidence() -> None:
    program = Program()
    program.call([user("Classify this: what a film")], "It is positive")
    program.call([user("Classify this: so boring, oh")], "It is negative")
    shots = [
        user("Classify this: so dull"),
        model("It is neutral"),
        user("Classify this: what a film"),
        model("It is positive"),
        user("Classify this: so boring, oh"),
        model("It is negative"),
    ]
    assert program.call([*shots, user("Classify this: a nice one")]) == "s3"


def test_an_answer_that_the_client_began_stands_in_the_history_as_one() -> None:
    program = Program()
    program.call([user("JSON, please"), model("{")], '"a": 1}')
    assert program.call([user("JSON, please"), model('{"a": 1}'), user("more")]) == "s1"
    assert program.call([user("JSON, please"), model("{"), model('"a": 1}'), user("more")]) == "s1"


def test_another_choice_of_the_answer_may_be_the_one_that_goes_on() -> None:
    program = Program()
    program.end(program.begin([HELLO]), "first choice", others=[said("second choice")])
    assert program.call([HELLO, model("second choice"), user("x")]) == "s1"


def test_thoughts_in_the_text_may_be_taken_out() -> None:
    program = Program()
    program.call([HELLO], "<think>\nA greeting.\n</think>\n\nHi.")
    assert program.call([HELLO, model("Hi."), user("x")]) == "s1"


def test_a_conversation_may_change_its_dialect() -> None:
    program = Program()
    program.call([HELLO], HI)
    contents = [{"role": "user", "parts": [{"text": "Hello"}]}, {"role": "model", "parts": [{"text": HI}]}]
    gemini = {"contents": [*contents, {"parts": [{"text": "x"}]}]}
    assert program.call(gemini, dialect="gemini", operation="generate_content") == "s1"


def test_a_session_that_the_call_names_wins_and_learns() -> None:
    program = Program()
    assignment = program.begin([HELLO], session="mine")
    assert (assignment.session, assignment.source, assignment.match) == ("mine", "header", "explicit")
    program.end(assignment, HI)
    assert program.call([HELLO, model(HI), user("x")], "y") == "mine"
    assert program.call([HELLO, model(HI), user("x"), model("y"), user("z")], session="other") == "other"


def test_what_says_nothing_has_no_session() -> None:
    assignment = Program().begin({"input": "x"}, operation="embeddings")
    assert (assignment.session, assignment.source, assignment.nodes) == (None, "none", [])


def test_detection_can_be_switched_off_and_still_places_what_is_said() -> None:
    program = Program(Sessions(detect=False))
    assignment = program.begin([HELLO])
    learned = program.end(assignment, HI)
    assert assignment.session is None
    assert not learned.evidence
    assert learned.node is not None
    assert learned.node.parent == assignment.nodes[0].key


def test_without_fuzzy_only_whole_histories_count() -> None:
    program = Program(Sessions(fuzzy=False))
    program.call([user("one")], LONG)
    program.call([user("one"), model(LONG), user("two")], LONG[::-1])
    assert program.call([user("two"), model(LONG[::-1]), user("three")]) == "s2"


def test_a_phrase_of_ones_own_begins_anew() -> None:
    program = Program(Sessions(reset_phrases=("Start over",)))
    program.call([HELLO], HI)
    assert program.call([HELLO, model(HI), user("please, do not start over")], "fine") == "s1"
    fresh = [HELLO, model(HI), user(" start  OVER ")]
    assert program.call(fresh, "done") == "s2"
    assert program.call([*fresh, model("done"), user("x")]) == "s2"


def test_merged_sessions_go_on_as_one() -> None:
    program = Program()
    program.call([user("a")], "1")
    program.call([user("b")], "2")
    running = program.begin([user("b"), model("2"), user("b2")])
    program.detector.merge("s1", "s2", program.now)
    program.end(running, "3")
    assert program.call([user("b"), model("2"), user("b2"), model("3"), user("b3")]) == "s1"
    assert program.call([user("a"), model("1"), user("a2")]) == "s1"
    assert program.detector.current("s2") == "s1"


def test_a_merge_counts_for_what_the_database_still_says() -> None:
    program = Program()
    program.call([user("b")], "2")
    program.restart(told=False)
    program.detector.merge("s9", "s1", program.now)
    assert program.call([user("b"), model("2"), user("b2")]) == "s9"


def test_a_split_takes_what_came_since() -> None:
    program = Program()
    program.call([user("a")], "1")
    since = program.now + 0.5
    turn = [user("a"), model("1"), user("a2")]
    program.call(turn, "2")
    program.detector.split("s1", "new", since, program.now)
    assert program.call([*turn, model("2"), user("a3")]) == "new"
    assert program.call([user("a"), model("1"), user("other")]) == "s1"


def test_nodes_form_a_tree_in_which_the_answer_hangs_at_its_question() -> None:
    program = Program()
    first = program.begin([system("be kind"), HELLO])
    learned = program.end(first, HI)
    second = program.begin([HELLO, model(HI), user("x")])
    assert learned.node is not None
    assert [node.key for node in second.nodes][:2] == [first.nodes[0].key, learned.node.key]
    assert [node.parent for node in second.nodes][1:] == [node.key for node in second.nodes][:-1]
    assert [node.position for node in second.nodes] == [0, 1, 2]
    assert learned.node.position == 1


def test_statistics_have_the_names_that_others_use_too() -> None:
    program = Program()
    program.call([HELLO], HI)
    program.call([HELLO, model(HI), user("x")])
    program.call([HELLO, model("never said"), user("x"), model("nor this"), user("y")])
    figures = program.detector.statistics()
    assert figures | {"lookup_us": 0} == figures | {
        "lookup_us": 0, "active": 2, "created": 2, "continued": 1, "expired": 0, "exact": 1, "fuzzy": 0, "lookups": 3,
        "sessions_created": 2, "sessions_expired": 0, "sessions_fragmented": 1, "cache_hits": 1, "cache_misses": 2,
        "fuzzy_matches": 0, "active_sessions": 2, "max_sessions": 10000, "session_ttl_seconds": 3600.0,
    }  # fmt: skip
    assert figures["lookup_us"] > 0


def test_other_settings_count_from_the_next_call() -> None:
    program = Program()
    for number in range(5):
        program.call([user(f"{number}")])
    program.detector.replace(Sessions(max=2))
    program.call([user("x")])
    assert program.detector.statistics()["active"] == 2


def test_words_put_into_the_mouth_of_the_model_speak_against_nobody_who_has_sent_them_before() -> None:
    program, rules = Program(), model("Understood, I will only edit files of this list.")

    def sent(files: int, *talk: dict[str, Any]) -> list[dict[str, Any]]:
        *history, question = talk
        return [user(f"{files} files"), rules, *history, user(f"{files} open"), rules, question]

    assert program.call(sent(1, HELLO), LONG) == "s1"
    assert program.call(sent(2, HELLO)) == "s2"
    assert program.call(sent(3, HELLO, model(LONG), user("x")), LONG[::-1]) == "s1"
    assert program.call(sent(4, HELLO, model(LONG), user("x"), model(LONG[::-1]), user("y"))) == "s1"


def test_the_last_word_of_a_loop_of_tools_goes_on_from_the_question_before_it() -> None:
    program, question = Program(), user("How many lines does the file have?")
    history = [question]
    assert program.call(history, said(ToolCall("count", "{}", "1"))) == "s1"
    for number in range(20):
        calls = [{"id": "1", "function": {"name": "count", "arguments": "{}"}}]
        history += [
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "1", "content": f"{number}"},
        ]
        assert program.call(history, said(ToolCall("count", "{}", "1")) if number < 19 else "42") == "s1"
    assert program.call([question, model("42"), user("And words?")]) == "s1"


def test_a_short_answer_at_the_head_that_was_cut_does_not_hide_the_same_answer_at_the_end() -> None:
    program, questions = Program(), [f"Where was ship number {number} seen last?" for number in range(6)]
    history: list[dict[str, Any]] = []
    for question in questions:
        history = [*history, user(question)][-4:]
        assert program.call(history, "OK.") == "s1"
        history.append(model("OK."))
