"""Calls without a session id join the conversation that they carry on, and the ledger has what was said."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmqd.messages.message import Message, Text
from llmqd.store.entries import Entry
from llmqd.store.position import Position
from llmqd.store.sqlite import SQLite
from tests.fake_upstream import FakeUpstream, json_answer
from tests.fake_upstream import sse as events_answer
from tests.under_test import DaemonUnderTest, RawResponse, call, running, upstream_toml

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
SYSTEM = {"role": "system", "content": "Be brief."}


def said(text: str, number: int = 1) -> Any:
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    return {"id": f"chatcmpl-{number}", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}


async def ask(daemon: DaemonUnderTest, *messages: tuple[str, str], key: str = "k", **more: Any) -> RawResponse:
    body = {"model": "gpt-4o", "messages": [SYSTEM, *({"role": role, "content": text} for role, text in messages)]}
    headers = JSON | {"Authorization": f"Bearer {key}"}
    return await call(daemon.port, "POST", CHAT, orjson.dumps(body | more), headers)


def session(response: RawResponse) -> tuple[str | None, str | None]:
    return response.header("X-LLMQD-Session-Id"), response.header("X-LLMQD-Session-Source")


async def test_the_next_turn_joins_the_session_of_the_one_before(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(json_answer(said("Hello Ada.")), json_answer(said("In Paris.", 2)), json_answer(said("No.", 3)))
        first = await ask(daemon, ("user", "I am Ada."))
        turns = (("user", "I am Ada."), ("assistant", "Hello Ada."), ("user", "Where?"))
        second = await ask(daemon, *turns)
        stranger = await ask(daemon, *turns, key="another")
    id_, source = session(first)
    assert (id_ is not None, source) == (True, "new")
    assert session(second) == (id_, "detected")
    assert session(stranger)[0] != id_


HELLO = {"role": "user", "content": "Hello"}
SHOWN = [
    ({"Authorization": "Bearer sk-1"}, "", {"x-api-key": "sk-1"}, "", True),
    ({"Authorization": "bearer  sk-1"}, "", {"Authorization": "Bearer sk-1"}, "", True),
    ({"x-goog-api-key": "sk-1"}, "", {}, "?key=sk-1", True),
    ({}, "?key=sk-1", {}, "?alt=json&key=sk-2", False),
    ({"xi-api-key": "sk-1"}, "", {"xi-api-key": "sk-2"}, "", False),
]


@pytest.mark.parametrize(("first", "query", "second", "other_query", "same"), SHOWN)
async def test_a_key_is_the_same_whichever_way_it_is_shown(
    tmp_path: Path, first: dict[str, str], query: str, second: dict[str, str], other_query: str, same: bool
) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(json_answer(said("Hello Ada.")), json_answer(said("In Paris.", 2)))
        body: dict[str, Any] = {"model": "gpt-4o", "messages": [HELLO]}
        one = await call(daemon.port, "POST", CHAT + query, orjson.dumps(body), JSON | first)
        body["messages"] = [HELLO, {"role": "assistant", "content": "Hello Ada."}, HELLO]
        other = await call(daemon.port, "POST", CHAT + other_query, orjson.dumps(body), JSON | second)
    assert (session(other)[0] == session(one)[0]) is same


async def test_what_a_stream_said_counts_and_stands_in_the_ledger(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        chunk = '{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":%s}]}'
        deltas = ['{"role":"assistant","content":""}', '{"content":"Hello "}', '{"content":"Ada."}', "{}"]
        events = [f"data: {chunk % delta}".encode() for delta in deltas]
        upstream.play(events_answer([*events, b"data: [DONE]"]), json_answer(said("In Paris.", 2)))
        first = await ask(daemon, ("user", "I am Ada."), stream=True)
        second = await ask(daemon, ("user", "I am Ada."), ("assistant", "Hello Ada."), ("user", "Where?"))
        assert session(second) == (session(first)[0], "detected")
        assert await daemon.ledger.settled(5)
        kept = await daemon.ledger.messages_of_call(second.header("X-LLMQD-Request-Id") or "")
    assert kept is not None
    assert kept.answer is not None
    assert kept.answer.message == Message("assistant", (Text("In Paris."),))
    assert [one.message.text for one in kept.messages if one.message] == ["I am Ada.", "Hello Ada.", "Where?"]


@pytest.mark.parametrize("store", ["sqlite"])
async def test_a_conversation_goes_on_after_a_restart(tmp_path: Path, store: str) -> None:
    async with FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url)
        async with running(tmp_path, toml, store=store) as daemon:
            upstream.play(json_answer(said("Hello Ada.")))
            first = await ask(daemon, ("user", "I am Ada."))
        async with running(tmp_path, toml, store=store) as daemon:
            upstream.play(json_answer(said("In Paris.", 2)))
            second = await ask(daemon, ("user", "I am Ada."), ("assistant", "Hello Ada."), ("user", "Where?"))
    assert session(second) == (session(first)[0], "detected")


async def test_what_a_killed_daemon_has_left_in_the_journal_is_in_memory_before_the_first_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, kept = tmp_path / "state" / "llmqd.db", tmp_path / "kept.db"
    async with FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url)
        async with running(tmp_path, toml, store="sqlite"):
            pass
        shutil.copy(database, kept)
        async with running(tmp_path, toml, store="sqlite") as daemon:
            upstream.play(json_answer(said("Hello Ada.")))
            await ask(daemon, ("user", "I am Ada."))
        shutil.copy(kept, database)  # as if the database had never heard of that call
        apply = SQLite.apply

        async def slowly(self: SQLite, entries: Sequence[Entry], position: Position, *, durable: bool) -> None:
            await asyncio.sleep(0.1)
            await apply(self, entries, position, durable=durable)

        monkeypatch.setattr(SQLite, "apply", slowly)
        async with running(tmp_path, toml, store="sqlite") as daemon:
            assert daemon.conversations.statistics()["recalled"] == 1


async def test_a_call_that_failed_and_comes_again_is_the_same_turn(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url, "retries = 0")
        async with running(tmp_path, toml) as daemon:
            upstream.play(json_answer({"error": {"message": "no", "type": "server_error"}}, 500))
            failed = await ask(daemon, ("user", "I am Ada."))
            upstream.play(json_answer(said("Hello Ada.")))
            again = await ask(daemon, ("user", "I am Ada."))
    assert (failed.status, again.status) == (500, 200)
    assert session(again)[0] == session(failed)[0]


async def test_detection_can_be_turned_off(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url) + "[sessions]\ndetect = false\n"
        async with running(tmp_path, toml) as daemon:
            upstream.play(json_answer(said("Hello Ada.")))
            assert session(await ask(daemon, ("user", "I am Ada."))) == (None, "none")


async def test_the_figures_of_detection_stand_in_the_metrics(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(json_answer(said("Hello Ada.")), json_answer(said("In Paris.", 2)))
        await ask(daemon, ("user", "I am Ada."))
        await ask(daemon, ("user", "I am Ada."), ("assistant", "Hello Ada."), ("user", "Where?"))
        figures: Any = (await call(daemon.port, "GET", "/metrics", headers={"Accept": "application/json"})).json()
    assert (figures["sessions"]["created"], figures["sessions"]["continued"]) == (1, 1)


async def api(daemon: DaemonUnderTest, path: str, body: object = None) -> Any:
    method, data = ("GET", b"") if body is None else ("POST", orjson.dumps(body))
    response = await call(daemon.port, method, f"/api/v1/sessions/{path}", data)
    assert response.status == 200, response.body
    return orjson.loads(response.body)


async def test_merged_sessions_go_on_as_one_and_a_split_one_as_two_over_a_restart(tmp_path: Path) -> None:
    ada = (("user", "I am Ada."), ("assistant", "Hello Ada, nice to meet you."))
    eve = (("user", "I am Eve."), ("assistant", "Hello Eve, good to see you."))
    more = (("user", "Where do I live, do you know?"), ("assistant", "Probably in Vienna, Ada."))
    async with FakeUpstream() as upstream:
        config = upstream_toml("openai", upstream.url)
        answers = (ada[1][1], eve[1][1], "Nothing.", more[1][1], "Yes.", "Quite.", "x")
        upstream.play(*(json_answer(said(text, number)) for number, text in enumerate(answers)))
        async with running(tmp_path, config, store="sqlite") as daemon:
            first = await ask(daemon, ada[0])
            other = await ask(daemon, eve[0])
            one, two = str(session(first)[0]), str(session(other)[0])
            assert one != two
            assert await api(daemon, f"{one}/merge", {"sessions": [two]}) == {"session_id": one, "merged": [two]}
            assert (await api(daemon, f"{one}/summary"))["request_count"] == 2
            assert session(await ask(daemon, *eve, ("user", "And now?"))) == (one, "detected")
            third = await ask(daemon, *ada, more[0])
            split = await api(daemon, f"{one}/split", {"request_id": third.header("X-LLMQD-Request-Id")})
            new = split["new_session_id"]
            assert session(await ask(daemon, *ada, *more, ("user", "Sure?"))) == (new, "detected")
        async with running(tmp_path, config, store="sqlite") as daemon:
            assert session(await ask(daemon, *ada, *more, ("user", "Sure?"), ("assistant", "Yes.")))[0] == new
            headers = {"X-LLMQD-Session": two}
            body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]})
            await call(daemon.port, "POST", CHAT, body, JSON | headers)
            assert await daemon.ledger.settled(10)
            found = {each["session_id"]: each for each in (await api(daemon, "search", {}))["sessions"]}
            assert set(found) == {one, new}
            assert (found[one]["request_count"], found[new]["request_count"]) == (4, 3)
            texts = [message["text"] for message in await api(daemon, f"{new}/messages")]
            assert texts[:4] == [turn[1] for turn in (*ada, *more)]


async def test_who_calls_is_read_from_the_body_where_no_header_says_so(tmp_path: Path) -> None:
    metadata = {"agent_name": "coder", "user_id": "ada", "tags": ["x"]}
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(json_answer(said("Hello.")), json_answer(said("Hello.")))
        body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "metadata": metadata})
        for headers in ({}, {"X-LLMQD-User": "eve", "X-LLMQD-Tags": "y,z"}):
            await call(daemon.port, "POST", CHAT, body, JSON | headers)
        assert [request.body for request in upstream.requests] == [body] * 2
        response = await call(daemon.port, "GET", "/api/v1/requests")
        shown = orjson.loads(response.body)["requests"]
    assert [(each["user_id"], each["agent_name"], each["request_tags"]) for each in shown] == [
        ("eve", "coder", ["y", "z"]),
        ("ada", "coder", ["x"]),
    ]
