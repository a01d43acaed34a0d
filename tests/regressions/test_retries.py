"""Complaints about failures: retries that are promised and not made, made in step or twice, and backends that take all
others down with them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from tests.fake_upstream import Answer, FakeUpstream, json_answer
from tests.fake_upstream import openai_answers as openai
from tests.regressions.chat import CHAT, JSON, PLAIN, STREAM, chat, code_of, many, record_of, times
from tests.under_test import RawClient, running, upstream_toml

ROUTE = '[[route]]\nmodel = "gpt-*"\nupstreams = ["openai", "groq"]\n'


@pytest.mark.parametrize("failure", [503, 529, None], ids=["503", "529", "reset"])
async def test_the_retry_that_the_readme_promises_is_made(tmp_path: Path, failure: int | None) -> None:
    """marketconnect/llm-queue-proxy: "automatic retry with delay" stood in the README and not in the code."""
    failed = Answer(end="reset", headers_sent=False) if failure is None else openai.error(failure, "no", "server_error")
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(failed)
        response = await chat(daemon)
        assert (response.status, response.header("X-LLMQD-Attempts")) == (200, "2")
        first, second = times(upstream)
        assert second - first >= 0.3


async def test_calls_that_failed_together_do_not_return_together(tmp_path: Path) -> None:
    """hermes-agent PR #109234: without jitter, what had failed together came back together and failed again."""
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, "learn = false")) as daemon,
    ):
        upstream.play(*[openai.error(503, "no", "server_error")] * 20)
        assert {answer.status for answer in await many(daemon, 20)} == {200}
        returned = times(upstream)[20:]
        assert len(returned) == 20
        assert returned[-1] - returned[0] > 0.08


async def test_a_retried_call_is_one_call_in_the_ledger(tmp_path: Path) -> None:
    """litellm #39455: each attempt stood in the logs like a call of its own, so one call counted as three."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(openai.error(503, "no", "server_error"))
        outcome = (await record_of(daemon, await chat(daemon))).outcome
        assert (outcome.status, outcome.attempts) == ("done", 2)
        assert await daemon.ledger.count_by_status() == {"done": 1}


async def test_an_answer_that_has_begun_is_never_asked_for_again(tmp_path: Path) -> None:
    """shenyu #6647: a stream that broke off was asked for anew, and the client got its beginning twice."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        answer = openai.chat_stream(include_usage=True)
        upstream.play(answer.but(body=[*answer.body[:3], 0.05], end="cut"))
        response = await chat(daemon, body=STREAM)
        assert (response.status, response.complete, len(upstream.requests)) == (200, False, 1)


async def test_one_dead_backend_does_not_stall_the_others(tmp_path: Path) -> None:
    """vLLM production-stack #749: one backend that accepted and never answered hung the router for everybody."""
    dead_answer = Answer(end="hang", headers_sent=False)
    async with FakeUpstream(dead_answer) as dead, FakeUpstream(json_answer({"at": "groq"})) as alive:
        toml = upstream_toml("openai", dead.url) + upstream_toml("groq", alive.url)
        async with running(tmp_path, toml) as daemon:
            stuck = [asyncio.create_task(chat(daemon)) for _ in range(200)]
            await dead.until(lambda: len(dead.requests) == 200)
            async with asyncio.timeout(3):
                answers = [await chat(daemon, path="/groq/openai/v1/chat/completions") for _ in range(20)]
            assert [answer.json() for answer in answers] == [{"at": "groq"}] * 20
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)


async def test_a_backend_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    """vLLM production-stack #749: while one backend was being restarted, calls failed though others were healthy."""
    async with FakeUpstream(json_answer({"at": "groq"})) as alive:
        toml = upstream_toml("openai", "http://127.0.0.1:9", "retries = 0") + upstream_toml("groq", alive.url) + ROUTE
        async with running(tmp_path, toml) as daemon:
            assert [answer.json() for answer in await many(daemon, 5)] == [{"at": "groq"}] * 5


async def test_a_silent_upstream_is_given_up_in_the_end(tmp_path: Path) -> None:
    """rllm PR #857: with timeout=None towards the provider, one silent answer held its caller for good."""
    async with (
        FakeUpstream(Answer(end="hang", headers_sent=False)) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, 'timeout = "200ms"')) as daemon,
    ):
        async with asyncio.timeout(5):
            response = await chat(daemon)
        assert (response.status, code_of(response)) == (504, "upstream_timeout")
        await upstream.until(lambda: upstream.active == 0)


async def test_connections_are_kept_from_one_call_to_the_next(tmp_path: Path) -> None:
    """cylestio-perimeter: each call made a new HTTP client, so every one of them paid for TCP and TLS again."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        for _ in range(10):
            assert (await chat(daemon)).status == 200
        assert upstream.connections == 1


async def test_a_caller_that_left_is_not_retried_for(tmp_path: Path) -> None:
    """new-api #4184: retries went on, and were paid for, after the client had gone."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(openai.error(503, "no", "server_error"))
        async with RawClient.to(daemon.port) as client:
            await client.send("POST", CHAT, PLAIN, JSON)
            await upstream.until(lambda: upstream.completed == 1)
        await asyncio.sleep(1)  # longer than the pause before the first repetition
        assert len(upstream.requests) == 1
        assert await daemon.ledger.settled(5)
        assert await daemon.ledger.count_by_status() == {"cancelled": 1}


async def test_the_callers_own_mistake_is_told_once_and_at_once(tmp_path: Path) -> None:
    """traceability-api: a 404 became a 500 on its way, which clients take for a reason to try again."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(openai.error(404, "The model `gpt-9` does not exist", "invalid_request_error", "model_not_found"))
        response = await chat(daemon)
        assert (response.status, code_of(response), len(upstream.requests)) == (404, "model_not_found", 1)
        own = await chat(daemon, path="/sessions/unknown")
        assert (own.status, orjson.loads(own.body)["error"]["code"]) == (404, "not_found")
