from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmqd.config.store import Store
from llmqd.messages.message import Media, Message, Text, ToolCall, ToolResult
from llmqd.store import conversations, sweeping, tidying
from llmqd.store.ledger import Ledger
from llmqd.store.schema import MIGRATIONS
from tests.store.conversing import Scribe, Talk, words
from tests.store.databases import settings_of

BACKENDS = ["sqlite", "memory"]


@pytest.fixture
def scribe() -> Scribe:
    return Scribe()


@pytest.fixture(params=("sqlite", "memory", "postgresql"))
async def ledger(request: pytest.FixtureRequest, tmp_path: Path, scribe: Scribe) -> AsyncIterator[Ledger]:
    settings = settings_of(request.param, request)
    async with Ledger(settings, tmp_path, transcripts=scribe.transcripts) as opened:
        yield opened


STATEMENTS = {
    name: text
    for module in (conversations, sweeping, tidying)
    for name, text in vars(module).items()
    if isinstance(text, str) and text.lstrip().startswith(("SELECT", "WITH", "DELETE"))
}
BIG = ("calls", "texts", "nodes", "marks", "session_numbers", "sessions")


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_question_and_every_step_goes_by_keys_whatever_the_size(name: str) -> None:
    database = sqlite3.connect(":memory:")
    for script in MIGRATIONS:
        database.executescript(script)
    statement = STATEMENTS[name]
    values = [None] * (2 if "?1" in statement else statement.count("?"))
    plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    database.close()
    # From the beginning of a table, or its end, up to a limit: that is no scan of all of it.
    bounded = "LIMIT" in statement
    scans = [line for line in plan if line.startswith("SCAN") and line.split()[1] in BIG]
    assert not scans or bounded, plan
    assert bounded or not any("TEMP B-TREE FOR ORDER" in line for line in plan), plan


async def test_what_was_said_in_a_call_comes_back_in_order_with_the_answer(ledger: Ledger, scribe: Scribe) -> None:
    talk = Talk(scribe, ledger, [{"role": "system", "content": "Be kind."}])
    first, second = talk.say("Hello there", "Good day"), talk.say("How are you?", "Very well")
    assert await ledger.settled(5)
    said = await ledger.messages_of_call(second.call.id)
    assert said is not None
    assert said.captured
    assert [message and message.text for message in said.system] == ["Be kind."]
    assert words(said.messages) == ["Hello there", "Good day", "How are you?"]
    assert [line.message and line.message.role for line in said.messages] == ["user", "assistant", "user"]
    assert said.answer is not None
    assert words([said.answer]) == ["Very well"]
    assert said.answer.parent == said.messages[-1].key
    assert said.missing == 0
    earlier = await ledger.messages_of_call(first.call.id)
    assert earlier is not None
    assert words(earlier.messages) == ["Hello there"]


async def test_a_session_has_each_message_once_and_pages_that_neither_overlap_nor_skip(
    ledger: Ledger, scribe: Scribe
) -> None:
    talk = Talk(scribe, ledger)
    expected = []
    for number in range(12):
        record = talk.say(f"question number {number}", f"answer number {number}")
        expected += [f"question number {number}", f"answer number {number}"]
    assert await ledger.settled(5)
    session = record.call.session.id
    assert session is not None
    whole = await ledger.messages_of_session(session, 100)
    assert whole is not None
    assert (words(whole.lines), whole.next, whole.total) == (expected, None, 24)
    assert [line.parent for line in whole.lines[1:]] == [line.key for line in whole.lines[:-1]]
    paged, cursor = [], None
    for _ in range(5):
        page = await ledger.messages_of_session(session, 5, cursor)
        assert page is not None
        paged += words(page.lines)
        cursor = page.next
    assert (paged, cursor) == (expected, None)


async def test_an_edited_turn_is_a_branch_that_names_its_parent(ledger: Ledger, scribe: Scribe) -> None:
    talk = Talk(scribe, ledger)
    talk.say("first question of all", "the first answer")
    record = talk.say("second question", "the second answer")
    talk.history[2:] = []
    other = talk.say("another second question", "another second answer")
    assert other.call.session.id == record.call.session.id
    assert await ledger.settled(5)
    page = await ledger.messages_of_session(str(record.call.session.id), 100)
    assert page is not None
    lines = dict(zip(words(page.lines), page.lines, strict=True))
    assert len(lines) == len(page.lines) == 6
    assert lines["another second question"].parent == lines["the first answer"].key


async def test_the_same_words_are_stored_once_however_often_they_are_sent(tmp_path: Path) -> None:
    scribe = Scribe()
    async with Ledger(Store(batch_every=0.01), tmp_path, transcripts=scribe.transcripts) as ledger:
        for _ in range(5):
            talk = Talk(scribe, ledger, [{"role": "system", "content": "The same system prompt."}])
            for number in range(10):
                talk.say(f"the same question {number}", f"the same answer {number}")
        assert await ledger.settled(5)
    database = sqlite3.connect(tmp_path / "llmqd.db")
    assert database.execute("SELECT count(*) FROM texts").fetchone() == (21,)
    assert database.execute("SELECT count(DISTINCT session_id) FROM calls").fetchone() == (5,)
    assert database.execute("SELECT count(*) FROM nodes").fetchone() == (100,)
    database.close()


async def test_after_a_restart_nothing_is_stored_twice_and_the_conversation_goes_on(tmp_path: Path) -> None:
    settings = Store(batch_every=0.01)
    talk = None
    for start in range(3):
        scribe = Scribe()
        async with Ledger(settings, tmp_path, transcripts=scribe.transcripts) as ledger:
            scribe.detector.recall(await ledger.latest_marks(1000), scribe.wall())
            talk = Talk(scribe, ledger, talk.history if talk else [])
            record = talk.say(f"the question of start {start}", f"the answer of start {start}")
            assert await ledger.settled(5)
            said = await ledger.messages_of_call(record.call.id)
            assert said is not None
            assert len(said.messages) == 2 * start + 1
            assert None not in words(said.messages)
    database = sqlite3.connect(tmp_path / "llmqd.db")
    assert database.execute("SELECT count(*), count(DISTINCT key) FROM texts").fetchone() == (6, 6)
    assert database.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
    database.close()


async def test_pictures_stand_apart_once_and_what_is_too_large_is_only_told_of(tmp_path: Path) -> None:
    scribe = Scribe(Store(media_max=100))
    small, large = "aGVsbG8gd29ybGQ=", "A" * 400
    content = [
        {"type": "text", "text": "Look at these"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{small}"}},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{large}"}},
    ]
    async with Ledger(Store(batch_every=0.01), tmp_path, transcripts=scribe.transcripts) as ledger:
        record = scribe.keep(ledger, {"messages": [{"role": "user", "content": content}]}, "A world.")
        scribe.keep(ledger, {"messages": [{"role": "user", "content": [*content, {"type": "text", "text": "x"}]}]}, "y")
        assert await ledger.settled(5)
        said = await ledger.messages_of_call(record.call.id)
        assert said is not None
        message = said.messages[0].message
        assert message is not None
        text, picture, other = message.parts
        assert text == Text("Look at these")
        assert isinstance(picture, Media)
        assert (picture.type, picture.size, picture.data) == ("image/png", 11, None)
        assert picture.digest is not None
        assert await ledger.medium(picture.digest) == b"hello world"
        assert other == Media("image/jpeg", size=300)
        assert await ledger.medium("0" * 16) is None
        assert await ledger.medium("no digest") is None
    database = sqlite3.connect(tmp_path / "llmqd.db")
    assert database.execute("SELECT count(*) FROM texts WHERE key < 0").fetchone() == (1,)
    database.close()


async def test_tools_and_further_choices_are_kept(ledger: Ledger, scribe: Scribe) -> None:
    call = ToolCall("weather", '{"city":"Graz"}', "call_a1b2c3d4")
    one = scribe.keep(
        ledger,
        {"messages": [{"role": "user", "content": "What is the weather in Graz?"}]},
        Message("assistant", (call,)),
        "Or shall I ask somebody?",
    )
    body = {
        "messages": [
            {"role": "user", "content": "What is the weather in Graz?"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "call_a1b2c3d4",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Graz"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_a1b2c3d4", "content": "rain"},
        ]
    }
    two = scribe.keep(ledger, body, "It rains.")
    assert two.call.session.id == one.call.session.id
    assert await ledger.settled(5)
    said = await ledger.messages_of_call(two.call.id)
    assert said is not None
    _, asked, result = (line.message for line in said.messages)
    assert asked == Message("assistant", (call,))
    assert result == Message("tool", (ToolResult("rain", "call_a1b2c3d4"),))
    page = await ledger.messages_of_session(str(one.call.session.id), 10)
    assert page is not None
    assert page.total == 5
    assert "Or shall I ask somebody?" in words(page.lines)


async def test_a_response_that_names_the_one_before_has_its_history(ledger: Ledger, scribe: Scribe) -> None:
    first = scribe.keep(
        ledger, {"input": "Tell me a joke"}, "No.", operation="responses", provider_id="resp_abcdef123456"
    )
    body = {"input": "Why not?", "previous_response_id": "resp_abcdef123456"}
    second = scribe.keep(ledger, body, "Because.", operation="responses", provider_id="resp_fedcba654321")
    assert first.call.session.id == second.call.session.id
    assert await ledger.settled(5)
    said = await ledger.messages_of_call(second.call.id)
    assert said is not None
    assert words(said.messages) == ["Why not?"]
    page = await ledger.messages_of_session(str(first.call.session.id), 10)
    assert page is not None
    assert words(page.lines) == ["Tell me a joke", "No.", "Why not?", "Because."]
    assert [line.parent for line in page.lines[1:]] == [line.key for line in page.lines[:-1]]


async def test_unknown_calls_and_sessions_are_none_and_a_bad_cursor_is_told(ledger: Ledger, scribe: Scribe) -> None:
    assert await ledger.messages_of_call("nobody") is None
    assert await ledger.messages_of_call("\ud800") is None
    assert await ledger.messages_of_session("nobody", 10) is None
    assert await ledger.messages_of_session("\ud800", 10) is None
    for cursor in ("", "1.2", "a.b.c", f"1.2.{2**70}"):
        with pytest.raises(ValueError, match="no cursor"):
            await ledger.messages_of_session("nobody", 10, cursor)
    record = scribe.keep(ledger, {"messages": [{"role": "user", "content": "x"}]}, "y", store="usage")
    assert await ledger.settled(5)
    said = await ledger.messages_of_call(record.call.id)
    assert said is not None
    assert not said.captured


async def test_marks_tell_their_sessions_and_the_latest_come_in_order(ledger: Ledger, scribe: Scribe) -> None:
    talk = Talk(scribe, ledger)
    for number in range(3):
        record = talk.say(f"a question of some length {number}", f"an answer of some length {number}")
    assert await ledger.settled(5)
    latest = await ledger.latest_marks(1000)
    assert latest
    assert {row.session for row in latest} == {record.call.session.id}
    assert [row.at for row in latest] == sorted(row.at for row in latest)
    some = [row.mark for row in latest][:3]
    found = await ledger.marks_of([*some, 12345, *range(10_000, 10_400)])
    assert sorted(row.mark for row in found) == sorted(some)
    assert await ledger.marks_of([]) == []
    assert [row.mark for row in await ledger.latest_marks(2)] == [row.mark for row in latest[-2:]]
