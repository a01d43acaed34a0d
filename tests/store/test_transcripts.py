from __future__ import annotations

import time
from typing import Any

import pytest

from llmqd.config.store import Store
from llmqd.detection.assignment import Question
from llmqd.messages.message import Message, Text, ToolResult
from llmqd.messages.request import read_request
from llmqd.messages.transcript import Transcript
from llmqd.store.capture import captured
from llmqd.store.known import LIFETIME
from llmqd.store.transcripts import LONGEST_TEXT
from tests.calls import a_call
from tests.store.conversing import Scribe

NOW = 1_800_000_000.0


def turns(*contents: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[index % 2], "content": one} for index, one in enumerate(contents)]}


@pytest.fixture
def clock() -> list[float]:
    return [NOW]


@pytest.fixture
def scribe(clock: list[float]) -> Scribe:
    return Scribe(wall=lambda: clock[0])


def said(scribe: Scribe, body: dict[str, Any], *answers: Message | str, **call: Any) -> Transcript:
    """The transcript of a call whose record is in the journal now."""
    transcript = scribe.record(body, answers, **call).transcript
    assert transcript is not None
    scribe.transcripts.kept(transcript)
    return transcript


def test_a_turn_brings_only_what_is_new(scribe: Scribe) -> None:
    first = said(scribe, turns("one question"), "one answer")
    assert (len(first.nodes), len(first.texts), first.messages) == (2, 2, 1)
    second = said(scribe, turns("one question", "one answer", "another question"), "another answer")
    assert (len(second.nodes), len(second.texts), second.messages) == (2, 2, 3)
    assert second.nodes[0][1] == first.answer
    assert (second.nodes[0][0], second.nodes[1][0]) == (second.tip, second.answer)


def test_what_was_made_but_never_reached_the_journal_is_brought_again(scribe: Scribe) -> None:
    scribe.record(turns("one question"), ["one answer"])
    second = said(scribe, turns("one question", "one answer", "another question"), "another answer")
    assert (len(second.nodes), len(second.texts)) == (4, 4)


def test_after_a_day_everything_that_is_still_said_is_brought_again_once(scribe: Scribe, clock: list[float]) -> None:
    history = ["one question"]
    counts = []
    for hour in range(0, 60, 6):
        clock[0] = NOW + hour * 3600
        counts.append(len(said(scribe, turns(*history), f"answer {hour}", session="s").nodes))
        history += [f"answer {hour}", f"question {hour}"]
    assert counts == [2, 2, 2, 2, 10, 2, 2, 2, 18, 2]


@pytest.mark.parametrize("why", ["forgotten", "lost"])
def test_what_the_ledger_does_not_have_any_more_is_brought_again(scribe: Scribe, clock: list[float], why: str) -> None:
    said(scribe, turns("one question"), "one answer")
    clock[0] += 60
    if why == "lost":
        scribe.transcripts.lost()
    else:
        scribe.transcripts.forgotten(NOW + 1)
    second = said(scribe, turns("one question", "one answer", "another question"), "another answer")
    assert (len(second.nodes), len(second.texts)) == (4, 4)


def test_the_same_words_elsewhere_need_a_place_but_no_text(scribe: Scribe) -> None:
    said(scribe, turns("one question"), "one answer", session="a")
    other = said(scribe, turns("one question"), "one answer", session="b")
    assert (len(other.nodes), len(other.texts)) == (2, 0)


def test_without_a_session_places_are_those_of_the_day(scribe: Scribe, clock: list[float]) -> None:
    def one() -> int:
        record = scribe.record(turns("x"), ["y"])
        assert record.transcript is not None
        record.transcript.session = None
        scribe.transcripts.kept(record.transcript)
        return len(record.transcript.nodes)

    assert one() == 2
    clock[0] += LIFETIME
    assert one() == 2


@pytest.mark.parametrize("wish", ["full", "usage", "none"])
@pytest.mark.parametrize("capture", ["full", "usage"])
def test_a_client_can_only_lower_what_is_kept(capture: str, wish: str) -> None:
    level = captured(a_call(store=wish), Store(capture=capture))
    order = ("none", "usage", "full")
    assert level == order[min(order.index(capture), order.index(wish))]


@pytest.mark.parametrize("operation", ["embeddings", "images", "transcription", "count_tokens", "models", "files"])
def test_what_is_no_conversation_is_not_kept(operation: str) -> None:
    assert captured(a_call(operation=operation), Store()) == "none"


def test_usage_keeps_marks_but_no_word_and_no_place(scribe: Scribe) -> None:
    kept = said(scribe, turns("one question of some length"), "one answer of some length", store="usage")
    assert (kept.nodes, kept.texts, kept.tip, kept.answer, kept.system) == ([], {}, None, None, ())
    assert kept.marks
    assert kept.messages == 1


def test_none_keeps_nothing(scribe: Scribe) -> None:
    assert scribe.record(turns("x"), ["y"], store="none").transcript is None
    assert scribe.record({}, ["y"]).transcript is None


def test_a_call_without_an_answer_keeps_its_question(scribe: Scribe) -> None:
    kept = said(scribe, turns("one question"))
    assert (len(kept.nodes), len(kept.texts), kept.answer) == (1, 1, None)


def test_an_endless_text_is_cut_and_says_so(scribe: Scribe) -> None:
    long = "word " * (LONGEST_TEXT // 4)
    body = {
        "messages": [
            {"role": "user", "content": long},
            {"role": "assistant", "content": "x"},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": long}]},
        ]
    }
    kept = said(scribe, body, "y")
    assert all(len(text) < LONGEST_TEXT + 200 for text in kept.texts.values())
    cut = [text for text in kept.texts.values() if b"more characters were not kept]" in text]
    assert len(cut) == 2


def test_half_a_surrogate_pair_is_no_obstacle(scribe: Scribe) -> None:
    parts = (Text("\ud800 one"), ToolResult("\udc80"))
    kept = said(scribe, turns("one \ud83d"), Message("assistant", parts))
    assert all(text.decode() for text in kept.texts.values())


def test_a_long_history_costs_no_more_than_a_short_one_once_it_is_known(scribe: Scribe) -> None:
    history: list[str] = []
    for number in range(200):
        history.append(f"question {number}")
        said(scribe, turns(*history), f"answer {number}")
        history.append(f"answer {number}")
    body = turns(*history, "last")
    now = scribe.wall()
    words = read_request("openai", "chat", body)
    assignment = scribe.detector.assign(Question("key", words), now, look_up=False)
    call = a_call(received_at=now)
    best = min(_timed(lambda: scribe.transcripts.asked(call, words, assignment, now)) for _ in range(50))
    assert best < 0.001


def _timed(act: Any) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
