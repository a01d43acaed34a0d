"""What becomes of the calls of a session that runs away, over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmqd.events import Alert, Gap, Wanted
from tests.fake_upstream import FakeUpstream
from tests.fake_upstream import openai_answers as openai
from tests.under_test import DaemonUnderTest, RawResponse, call, running, upstream_toml

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


@asynccontextmanager
async def guarded(tmp_path: Path, guards: str) -> AsyncIterator[tuple[DaemonUnderTest, FakeUpstream]]:
    async with FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url, "retries = 0") + f"[guards]\nrepeats = 3\n{guards}\n"
        async with running(tmp_path, toml) as daemon:
            yield daemon, upstream


async def loop(daemon: DaemonUnderTest, number: int = 0, session: str = "s1", **headers: str) -> RawResponse:
    """A turn of an agent that calls the same tool once more; its conversation grows each time."""
    call_id = f"call_{number}"
    messages: list[Any] = [{"role": "user", "content": f"turn {number}"}]
    function = {"name": "search", "arguments": '{"q":"same"}'}
    messages.append({"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": function}]})
    messages.append({"role": "tool", "tool_call_id": call_id, "content": f"result {number}"})
    sent = (
        JSON
        | {"X-LLMQD-Session": session}
        | {f"X-LLMQD-{name.replace('_', '-')}": one for name, one in headers.items()}
    )
    return await call(daemon.port, "POST", CHAT, orjson.dumps({"model": "gpt-4o-mini", "messages": messages}), sent)


async def test_an_alert_is_told_and_calls_go_on(tmp_path: Path) -> None:
    async with guarded(tmp_path, "") as (daemon, _):
        heard = daemon.events.subscribe(lambda: None, Wanted(types=frozenset({"alert"})))
        assert [(await loop(daemon, number)).status for number in range(6)] == [200] * 6
        alerts = [each.event for each in heard.take() if not isinstance(each, Gap)]
        [told] = [one for one in alerts if isinstance(one, Alert) and one.name == "runaway_session"]
        assert told.session == "s1"
        assert told.message == (
            "the session 's1' runs away: it has called search with the same arguments 3 times in a row; its calls go on"
        )
        metrics = (await call(daemon.port, "GET", "/metrics")).body
        assert b"llmqd_runaway_sessions 1.0" in metrics


async def test_its_calls_are_refused_and_those_of_others_are_not(tmp_path: Path) -> None:
    async with guarded(tmp_path, 'action = "refuse"') as (daemon, upstream):
        answers = [await loop(daemon, number) for number in range(5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 403, 403]
        found = orjson.loads(answers[3].body)["error"]
        assert found["code"] == "not_allowed"
        assert "runs away: it has called search" in found["message"]
        assert answers[3].header("x-should-retry") == "false"
        assert (await loop(daemon, session="s2")).status == 200
        assert len(upstream.requests) == 4


async def test_its_calls_have_a_lower_priority(tmp_path: Path) -> None:
    async with guarded(tmp_path, 'action = "demote"\ndemote_to = "low"') as (daemon, _):
        ids = [(await loop(daemon, number, Priority="high")).header("X-LLMQD-Request-Id") or "" for number in range(4)]
        assert [(await daemon.record(one)).call.priority for one in ids] == [1, 1, 1, 7]


async def test_its_calls_wait_until_the_pause_is_over_or_their_patience_is(tmp_path: Path) -> None:
    async with guarded(tmp_path, 'action = "pause"') as (daemon, upstream):
        for number in range(3):
            assert (await loop(daemon, number)).status == 200
        late = await loop(daemon, Deadline="0.02")
        assert (late.status, orjson.loads(late.body)["error"]["code"]) == (429, "deadline_exceeded")
        assert (await loop(daemon, No_Queue="1")).status == 429
        waiting = asyncio.create_task(loop(daemon))
        await daemon.until(lambda: daemon.guards.waiting == 1)
        assert len(upstream.requests) == 3
        config = daemon.in_force.config
        daemon.reload(lambda: replace(config, guards=replace(config.guards, action="alert")))
        assert (await waiting).status == 200
        assert daemon.guards.waiting == 0


async def test_who_waits_is_sent_away_when_the_daemon_stops(tmp_path: Path) -> None:
    async with guarded(tmp_path, 'action = "pause"') as (daemon, _):
        for number in range(3):
            await loop(daemon, number)
        waiting = asyncio.create_task(loop(daemon))
        await daemon.until(lambda: daemon.guards.waiting == 1)
        daemon.guards.close()
        assert (await waiting).status == 503


@pytest.mark.parametrize("action", ["off", "refuse"])
async def test_what_an_sdk_sends_again_after_failures_is_no_runaway(tmp_path: Path, action: str) -> None:
    async with guarded(tmp_path, f'action = "{action}"') as (daemon, upstream):
        for _ in range(6):
            upstream.play(openai.error(500, "oops", "server_error", "server_error"))
            assert (await loop(daemon)).status == 500
        assert (await loop(daemon)).status == 200


async def test_calls_without_a_session_and_embeddings_are_left_alone(tmp_path: Path) -> None:
    async with guarded(tmp_path, 'action = "refuse"') as (daemon, _):
        body = b'{"model":"text-embedding-3-small","input":"the same"}'
        headers = JSON | {"X-LLMQD-Session": "s1"}
        answers = [await call(daemon.port, "POST", "/v1/embeddings", body, headers) for _ in range(6)]
        assert {answer.status for answer in answers} == {200}
        same = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"classify: x"}]}'
        answers = [await call(daemon.port, "POST", CHAT, same, JSON) for _ in range(6)]
        assert {answer.status for answer in answers} == {200}
