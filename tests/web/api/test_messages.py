"""What was said, over real connections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmqd.call import Record, new_call_id
from llmqd.config.store import Store
from llmqd.messages.message import Message, Text, ToolCall
from llmqd.store.ledger import Ledger
from llmqd.web.api.endpoint import Asked
from llmqd.web.api.requests import Requests
from tests.store.conversing import Scribe
from tests.store.usage_records import MIDNIGHT
from tests.web.api.asking import asking, pick


def conversation(turns: int = 3) -> list[Record]:
    """The calls of one conversation with a system text; the second answer calls a tool."""
    scribe, history, records = Scribe(wall=lambda: MIDNIGHT + 60.0 * len(records)), [], []
    history.append({"role": "system", "content": "Be brief."})
    for turn in range(turns):
        history.append({"role": "user", "content": f"question {turn}"})
        parts: list[Any] = [Text(f"answer {turn}")]
        if turn == 1:
            parts.append(ToolCall("look_up", '{"word":"x"}', "call_1"))
        record = scribe.record(
            {"messages": [*history]}, [Message("assistant", tuple(parts))], id=new_call_id(scribe.wall()), agent="a"
        )
        records.append(record)
        history.append({"role": "assistant", "content": f"answer {turn}"})
    return records


async def test_the_messages_of_a_session_come_in_order_with_their_real_text(tmp_path: Path) -> None:
    records = conversation(1)
    session = records[0].call.session.id
    async with asking(tmp_path, *records) as asked:
        found = await asked.json(f"/sessions/{session}/messages")
        assert [pick(each, "message_sequence", "role", "text") for each in found] == [
            [1, "user", "question 0"], [2, "assistant", "answer 0"],
        ]  # fmt: skip
        assert found[0]["parts"] == [{"kind": "text", "text": "question 0"}]
        assert found[1]["parent"] == found[0]["id"]
        assert found[0]["timestamp"].startswith("2027-01-16T00:0")


async def test_a_long_session_comes_in_pages_that_link_to_the_next(tmp_path: Path) -> None:
    records = conversation(3)
    session = records[0].call.session.id
    async with asking(tmp_path, *records) as asked:
        whole = await asked.json(f"/sessions/{session}/messages")
        path: str | None = f"/api/v1/sessions/{session}/messages?limit=2"
        pages = []
        while path is not None:
            response = await asked.response(path)
            pages.append(response.json())
            assert response.header("x-total-count") == str(len(whole))
            link = response.header("link")
            path = None if link is None else link.removeprefix("<").partition(">")[0]
        assert [message for page in pages for message in page] == whole  # type: ignore[attr-defined]
        assert len(pages) == (len(whole) + 1) // 2


async def test_a_session_of_which_no_words_are_kept_has_no_messages(tmp_path: Path) -> None:
    [record] = conversation(1)
    record.transcript = None
    async with asking(tmp_path, record) as asked:
        assert await asked.json(f"/sessions/{record.call.session.id}/messages") == []
        said = await asked.json(f"/requests/{record.call.id}/messages")
        assert pick(said, "captured", "messages", "response", "system") == [False, [], None, []]


async def test_the_messages_of_a_call(tmp_path: Path) -> None:
    first, second = conversation(2)
    async with asking(tmp_path, first, second) as asked:
        said = await asked.json(f"/requests/{second.call.id}/messages")
        assert [message["text"] for message in said["system"]] == ["Be brief."]
        assert [pick(each, "role", "text", "message_sequence") for each in said["messages"]] == [
            ["user", "question 0", 1], ["assistant", "answer 0", 2], ["user", "question 1", 3],
        ]  # fmt: skip
        assert said["response"]["parts"] == [
            {"kind": "text", "text": "answer 1"},
            {"kind": "tool_call", "name": "look_up", "arguments": '{"word":"x"}', "id": "call_1"},
        ]
        assert pick(said, "captured", "missing") == [True, 0]


async def test_sessions_are_found_by_what_was_said(tmp_path: Path) -> None:
    records = conversation(2)
    async with asking(tmp_path, *records) as asked:
        for text, count in (("QUESTION 1", 1), ("look_up", 1), ("nothing like it", 0)):
            found = await asked.json("/sessions/search", {"text": text, "agent_name": "a"})
            assert (len(found["sessions"]), found["total"], found["next"]) == (count, count, None)
        assert (await asked.refused("/sessions?text=%20"))["param"] == "text"
        assert (await asked.refused("/sessions?text=x&offset=1"))["param"] == "offset"


async def test_a_call_that_has_just_ended_is_waited_for_and_not_said_to_have_no_words(tmp_path: Path) -> None:
    scribe = Scribe()
    async with Ledger(Store(), tmp_path, transcripts=scribe.transcripts) as ledger:
        record = scribe.record({"messages": [{"role": "user", "content": "hi"}]}, ["hello"])
        asked: Asked[Any, Any] = Asked({"request_id": record.call.id}, None, None)
        ledger.opened(record)
        assert await ledger.settled(10)
        running = await Requests(ledger).request_messages(asked)
        assert not running.captured
        ledger.closed(record)
        ended = await Requests(ledger).request_messages(asked)
        assert ended.captured
        assert ended.response is not None
        assert ended.response.text == "hello"


async def test_a_call_that_has_just_ended_is_not_shown_as_running(tmp_path: Path) -> None:
    scribe = Scribe()
    async with Ledger(Store(), tmp_path, transcripts=scribe.transcripts) as ledger:
        record = scribe.record({"messages": [{"role": "user", "content": "hi"}]}, ["hello"])
        ledger.opened(record)
        assert await ledger.settled(10)
        ledger.closed(record)
        shown = await Requests(ledger).show_request(Asked({"request_id": record.call.id}, None, None))
        assert shown.status == "done"
