"""What the systems that llmqd replaces promise about proxy and queue, and what of it they did not keep."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.fake_upstream import Answer, FakeUpstream, TokenBucket, json_answer
from tests.fake_upstream import openai_answers as openai
from tests.process import llmqd
from tests.regressions.chat import CHAT, JSON, MESSAGES, PLAIN, at_rate, chat, record_of
from tests.under_test import call, running, upstream_toml


def used(prompt: int, completion: int) -> Answer:
    """A chat completion that took so many tokens."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return json_answer({"id": "c", "object": "chat.completion", "model": "gpt-4o", "choices": [], "usage": usage})


async def test_the_environment_of_llm_queue_proxy_is_all_it_takes(tmp_path: Path) -> None:
    """llm-queue-proxy: OPENAI_API_KEY, OPENAI_BASE_URL (with /v1) and RATE_LIMIT_PER_MIN, and no file at all."""
    async with FakeUpstream(keys={"from-environment"}) as upstream:
        environ = {
            "OPENAI_API_KEY": "from-environment",
            "OPENAI_BASE_URL": f"{upstream.url}/v1",
            "RATE_LIMIT_PER_MIN": "300",
            "REPOSITORY_TYPE": "sqlite",
        }
        async with llmqd(tmp_path, "", environ) as process:
            answers = [await call(process.port, "POST", CHAT, PLAIN, JSON) for _ in range(3)]
            assert [answer.status for answer in answers] == [200] * 3
            assert {request.target for request in upstream.requests} == {CHAT}
            first, *_, last = (request.at for request in upstream.requests)
            assert 0.39 <= last - first < 1
            lanes: Any = (await call(process.port, "GET", "/queue")).json()
            assert [lane["requests_per_minute"] for lane in lanes["lanes"]] == [300]


async def test_there_are_no_429_errors(tmp_path: Path) -> None:
    """llm-queue-proxy: "smart request queueing (no 429 errors)"; also where the limit is not the one that was set."""
    async with (
        FakeUpstream(limiter=TokenBucket(600, burst=2)) as upstream,
        running(tmp_path, at_rate(upstream.url, 1200)) as daemon,
    ):
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*(chat(daemon) for _ in range(12)))
        assert {answer.status for answer in answers} == {200}
        assert len(upstream.requests) > 12 or upstream.refused == 0


async def test_the_tokens_of_a_session_add_up_over_its_calls(tmp_path: Path) -> None:
    """llm-queue-proxy, "Example Flows": 10 and 15 tokens, then 15 and 20, are 25, 35 and 60 in /sessions/status."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        assert (await call(daemon.port, "GET", "/sessions/status")).json() == {}
        upstream.play(used(10, 15), used(15, 20))
        for _ in range(2):
            response = await chat(daemon, path="/v1/session/user123/chat/completions")
            assert (response.status, response.header("X-LLMQD-Session-Id")) == (200, "user123")
        assert [request.target for request in upstream.requests] == [CHAT, CHAT]
        assert (await call(daemon.port, "GET", "/sessions/status")).json() == {
            "user123": {
                "session_id": "user123",
                "total_prompt_tokens": 25,
                "total_completion_tokens": 35,
                "total_tokens": 60,
                "request_count": 2,
            }
        }


async def test_calls_outside_a_session_are_charged_to_none(tmp_path: Path) -> None:
    """llm-queue-proxy: regular requests on /v1/... bypass session tracking and work exactly as before."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        assert (await chat(daemon)).body == openai.chat().data
        assert (await call(daemon.port, "GET", "/sessions/status")).json() == {}


@pytest.mark.parametrize("stream", [False, True])
async def test_streams_count_for_their_session_like_plain_answers(tmp_path: Path, stream: bool) -> None:
    """llm-queue-proxy: token tracking was promised for all calls and done for answers that are not streamed."""
    body = b'{"model":"gpt-4o","stream":true,"messages":[]}' if stream else PLAIN
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        await chat(daemon, body=body, path="/v1/session/s/chat/completions")
        status: Any = (await call(daemon.port, "GET", "/sessions/status")).json()
        assert (status["s"]["total_prompt_tokens"], status["s"]["total_completion_tokens"]) == (19, 11)


async def test_an_answer_without_usage_passes_and_counts_as_a_call(tmp_path: Path) -> None:
    """llm-queue-proxy: "handles responses without usage data gracefully"."""
    async with (
        FakeUpstream(json_answer({"ok": 1})) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url)) as daemon,
    ):
        response = await chat(daemon, path="/v1/session/s/chat/completions")
        assert (response.status, response.json()) == (200, {"ok": 1})
        status: Any = (await call(daemon.port, "GET", "/sessions/status")).json()
        assert status["s"]["request_count"] == 1


async def test_sessions_are_not_lost_in_a_restart(tmp_path: Path) -> None:
    """llm-queue-proxy kept sessions in memory, cylestio-perimeter in an LRU of an hour: "lost on server restart"."""
    async with FakeUpstream() as upstream, llmqd(tmp_path, upstream_toml("openai", upstream.url)) as process:
        for _ in range(2):
            await call(process.port, "POST", "/v1/session/kept/chat/completions", PLAIN, JSON)
            await process.stop()
            await process.start()
        status: Any = (await call(process.port, "GET", "/sessions/status")).json()
        assert (status["kept"]["request_count"], status["kept"]["total_tokens"]) == (2, 60)


async def test_two_agents_with_the_same_beginning_stay_two_sessions(tmp_path: Path) -> None:
    """cylestio-perimeter: ids came from the first 100 characters, so agents with the same boilerplate were one."""
    opening = b'{"model":"gpt-4o","messages":[{"role":"system","content":"%b"}]}' % (b"You are helpful. " * 20)
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        for agent in ("one", "two"):
            await chat(daemon, {"X-LLMQD-Session": agent}, body=opening)
        status: Any = (await call(daemon.port, "GET", "/sessions/status")).json()
        assert {name: found["request_count"] for name, found in status.items()} == {"one": 1, "two": 1}


async def test_the_session_of_claude_code_is_known_without_a_change_in_it(tmp_path: Path) -> None:
    """archestra PR #2013: Claude Code says its session inside of metadata.user_id, and nowhere else in the body."""
    user = "user_abc_account_7a0e_session_0f5e7a52-0000-4000-8000-000000000000"
    body = b'{"model":"claude-sonnet-4-6","max_tokens":9,"metadata":{"user_id":"%b"},"messages":[]}' % user.encode()
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("anthropic", upstream.url)) as daemon:
        response = await chat(daemon, {"anthropic-version": "2023-06-01"}, body=body, path=MESSAGES)
        assert response.header("X-LLMQD-Session-Source") == "body"
        assert (response.header("X-LLMQD-Session-Id") or "").endswith("0f5e7a52-0000-4000-8000-000000000000")
        assert upstream.requests[0].body == body


async def test_any_method_on_any_path_is_passed_on(tmp_path: Path) -> None:
    """llm-proxy-server: "/{path:path} - catch-all proxy route (all HTTP methods)"."""
    wanted = [(method, f"/v1/any/{method}?q=1") for method in ("GET", "POST", "PUT", "PATCH", "DELETE")]
    async with (
        FakeUpstream(json_answer({})) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url)) as daemon,
    ):
        for method, target in wanted:
            assert (await call(daemon.port, method, target)).status == 200
        assert [(request.method, request.target) for request in upstream.requests] == wanted


@pytest.mark.parametrize("path", ["/health", "/metrics", "/config"])
async def test_the_endpoints_of_llm_proxy_server_are_there(tmp_path: Path, path: str) -> None:
    """llm-proxy-server: health check, metrics with sessions, configuration in force."""
    async with running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9")) as daemon:
        response = await call(daemon.port, "GET", path, headers={"Accept": "application/json"})
        assert response.status == 200
        assert isinstance(response.json(), dict)


async def test_the_daemon_is_found_alive_while_all_calls_wait(tmp_path: Path) -> None:
    """llm-queue-proxy: calls were pushed into a channel of 1,000, and a full one blocked whoever came next."""
    async with FakeUpstream() as upstream, running(tmp_path, at_rate(upstream.url, 1)) as daemon:
        await chat(daemon)
        waiting = [asyncio.create_task(chat(daemon)) for _ in range(5)]
        await daemon.until(lambda: daemon.waiting == 5)
        async with asyncio.timeout(2):
            for path in ("/health", "/metrics", "/queue", "/sessions/status", "/v1/models"):
                assert (await call(daemon.port, "GET", path)).status == 200
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_the_usage_lines_of_kestrel_are_in_the_log(tmp_path: Path) -> None:
    """KestrelAIProxy, "日志输出": one line a call, with its request, model and tokens, for Anthropic with its costs."""
    toml = "[log]\nformat = 'text'\n"
    async with FakeUpstream() as upstream:
        toml += upstream_toml("openai", upstream.url) + upstream_toml("anthropic", upstream.url)
        async with llmqd(tmp_path, toml) as process:
            body = b'{"model":"claude-sonnet-4-6","max_tokens":9,"stream":true,"messages":[]}'
            await call(process.port, "POST", "/openai/v1/chat/completions", PLAIN, JSON)
            await call(process.port, "POST", "/anthropic/v1/messages", body, JSON | {"anthropic-version": "2023-06-01"})
            await process.stop()
        log = process.log.read_text()
    request = r"Request: [0-9a-z]{26}, Model: "
    assert re.search(
        rf"OpenAI API Usage - {request}gpt-4o, Tokens: Prompt=19/Completion=11/Total=30, .*Streaming: False", log
    )
    assert re.search(rf"Anthropic API Usage - {request}claude-sonnet-4-6, Tokens: I=15/O=87/CC=6/CR=20, Cost: I=", log)


async def test_counting_changes_nothing_of_what_passes(tmp_path: Path) -> None:
    """KestrelAIProxy: tracking is to have no influence on the proxy; here that means on no byte of an answer."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        response = await chat(daemon, body=b'{ "model":"gpt-4o",\n "messages" : [] }')
        assert upstream.requests[0].body == b'{ "model":"gpt-4o",\n "messages" : [] }'
        assert response.body == openai.chat().data
        passed = {name.lower() for name, _ in response.raw_headers}
        assert {"x-request-id", "openai-processing-ms", "x-ratelimit-limit-requests"} <= passed
        assert (await record_of(daemon, response)).outcome.usage is not None
