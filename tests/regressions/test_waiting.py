"""Complaints about waiting: sleeps that help nobody, waits without end or bound, limits on waiting that are ignored."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import pytest

from tests.fake_upstream import FakeUpstream, TokenBucket, json_answer
from tests.fake_upstream import openai_answers as openai
from tests.regressions.chat import (
    CHAT,
    JSON,
    PLAIN,
    STREAM,
    at_rate,
    chat,
    code_of,
    held,
    limited,
    many,
    record_of,
)
from tests.under_test import RawClient, call, running, upstream_toml


async def test_an_idle_lane_does_not_make_the_first_call_sleep_an_interval(tmp_path: Path) -> None:
    """marketconnect/llm-queue-proxy: every call slept 60 s / rpm before it was sent, also when nobody had called."""
    async with FakeUpstream() as upstream:
        names = [f"idle{number}" for number in range(15)]
        toml = "".join(
            f'[[upstream]]\nname = "{name}"\ntype = "openai"\nbase_url = "{upstream.url}"\nrequests_per_minute = 1\n'
            for name in names
        )
        async with running(tmp_path, toml) as daemon:
            answers = [await chat(daemon, path=f"/{name}{CHAT}") for name in names]
            waits = [(await record_of(daemon, answer)).outcome.queued_ms or 0.0 for answer in answers]
    assert {answer.status for answer in answers} == {200}
    assert median(waits) < 2


async def test_a_call_over_the_limit_waits_instead_of_failing_with_429(tmp_path: Path) -> None:
    """litellm #361, one-api #542, new-api #1730: "I do not want prioritization, I want queueing"."""
    async with (
        FakeUpstream(limiter=TokenBucket(600, burst=2)) as upstream,
        running(tmp_path, at_rate(upstream.url, 600)) as daemon,
    ):
        assert {answer.status for answer in await many(daemon, 8)} == {200}
        assert upstream.refused == 0


async def test_an_exhausted_quota_does_not_keep_calls_waiting_for_ever(tmp_path: Path) -> None:
    """OmniRoute #297: behind a bucket that would not refill for hours, requests hung until the server was restarted."""
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, "requests_per_day = 1")) as daemon,
    ):
        await chat(daemon)
        async with asyncio.timeout(2):
            refused = await chat(daemon, {"X-LLMQD-Deadline": "0"})
        assert (refused.status, code_of(refused)) == (429, "would_exceed_deadline")
        assert int(refused.header("Retry-After") or 0) >= 1


async def test_upstreams_that_all_refuse_do_not_keep_calls_waiting_for_ever(tmp_path: Path) -> None:
    """OmniRoute #297: when the fallbacks were rate limited as well, calls waited without end, even after the reset."""
    route = '[[route]]\nmodel = "gpt-*"\nupstreams = ["openai", "groq"]\n[queue]\nmax_wait = "1s"\n'
    async with FakeUpstream(limited("0.1")) as first, FakeUpstream(limited("0.1")) as second:
        toml = upstream_toml("openai", first.url) + upstream_toml("groq", second.url) + route
        async with running(tmp_path, toml) as daemon:
            async with asyncio.timeout(5):
                answers = await many(daemon, 3)
            assert {answer.status for answer in answers} == {429}
            first.script = second.script = openai.chat()
            async with asyncio.timeout(5):
                assert (await chat(daemon)).status == 200


async def test_the_longest_wait_is_not_silently_ignored(tmp_path: Path) -> None:
    """OmniRoute #1694: maxWait went to a library that has no such option, and calls stayed queued indefinitely."""
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url) + '[queue]\nmax_wait = "300ms"\n') as daemon,
        held(daemon),
    ):
        loop = asyncio.get_running_loop()
        began = loop.time()
        refused = await chat(daemon)
        assert (refused.status, code_of(refused)) == (429, "deadline_exceeded")
        assert 0.29 <= loop.time() - began < 3
        assert not upstream.requests


@pytest.mark.parametrize("bound", ["header", "setting"])
async def test_a_deadline_for_waiting_does_not_kill_a_stream_that_has_begun(tmp_path: Path, bound: str) -> None:
    """OmniRoute #13592: maxWaitMs ran on after dispatch, and slow answers were cut with 504 in the middle."""
    headers = {"X-LLMQD-Deadline": "0.2"} if bound == "header" else {}
    queue = '[queue]\nmax_wait = "200ms"\n' if bound == "setting" else ""
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, "include_usage = false") + queue) as daemon,
    ):
        answer = openai.chat_stream()
        upstream.play(answer.but(before=[0.3], body=[*answer.body[:2], 0.4, *answer.body[2:]]))
        response = await chat(daemon, headers, body=STREAM)
        assert (response.status, response.complete, response.body) == (200, True, answer.data)


async def test_a_hopeless_deadline_is_told_before_the_wait_and_not_after_it(tmp_path: Path) -> None:
    """Gateway API inference extension, flow control: a request whose time could not suffice was evicted at its end."""
    async with FakeUpstream() as upstream, running(tmp_path, at_rate(upstream.url, 1)) as daemon:
        await chat(daemon)
        async with asyncio.timeout(2):
            refused = await chat(daemon, {"X-LLMQD-Deadline": "20"})
        assert code_of(refused) == "would_exceed_deadline"
        assert 30 < int(refused.header("Retry-After") or 0) <= 60
        assert 50_000 < int(refused.header("X-LLMQD-ETA-Ms") or 0) <= 61_000


async def test_a_pause_beyond_the_callers_deadline_is_not_waited_for(tmp_path: Path) -> None:
    """OmniRoute PR #495: calls waited for a reset that was further away than any of their callers would wait."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(limited("60"))
        async with asyncio.timeout(2):
            refused = await chat(daemon, {"X-LLMQD-Deadline": "10"})
        assert refused.status == 429
        assert int(refused.header("Retry-After") or 0) >= 40
        assert len(upstream.requests) == 1
        assert daemon.waiting == 0


async def test_a_deadline_does_not_begin_anew_at_each_fallback(tmp_path: Path) -> None:
    """OmniRoute #297: with each fallback the wait began anew, and the caller's patience did not count."""
    route = '[[route]]\nmodel = "gpt-*"\nupstreams = ["openai", "groq"]\n'
    async with FakeUpstream() as first, FakeUpstream() as second:
        toml = upstream_toml("openai", first.url, "retries = 0") + upstream_toml("groq", second.url) + route
        async with running(tmp_path, toml) as daemon, held(daemon, "groq"):
            loop = asyncio.get_running_loop()
            began = loop.time()
            first.play(openai.error(503, "no", "server_error"))
            async with held(daemon):
                waiting = asyncio.create_task(chat(daemon, {"X-LLMQD-Deadline": "1"}))
                await asyncio.sleep(0.6)
            assert (await waiting).status == 429
            assert loop.time() - began < 1.4


async def test_the_queue_has_a_bound_in_calls(tmp_path: Path) -> None:
    """OmniRoute #6593: the queue grew without bound, and each call in it held a socket until its wait was over."""
    toml = upstream_toml("openai", "http://127.0.0.1:9") + "[queue]\nmax_waiting = 3\n"
    async with running(tmp_path, toml) as daemon, held(daemon):
        waiting = [asyncio.create_task(chat(daemon)) for _ in range(3)]
        await daemon.until(lambda: daemon.waiting == 3)
        async with asyncio.timeout(2):
            refused = await chat(daemon)
        assert (refused.status, code_of(refused), daemon.waiting) == (429, "queue_full", 3)
        assert refused.header("X-LLMQD-Position") == "4"
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_the_queue_has_a_bound_in_bytes(tmp_path: Path) -> None:
    """OmniRoute #6593 in bytes: a bound on calls alone lets a few of them with very long contexts take all memory."""
    toml = upstream_toml("openai", "http://127.0.0.1:9") + '[queue]\nmax_waiting_bytes = "1MiB"\n'
    body = b'{"model":"gpt-4o","messages":[' + b" " * 700_000 + b"]}"
    async with running(tmp_path, toml) as daemon, held(daemon):
        waiting = asyncio.create_task(chat(daemon, body=body))
        await daemon.until(lambda: daemon.waiting == 1)
        async with asyncio.timeout(2):
            refused = await chat(daemon, body=body)
        assert (refused.status, code_of(refused), daemon.waiting) == (429, "queue_full", 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_whoever_wants_a_fast_429_gets_one(tmp_path: Path) -> None:
    """sub2api #939: callers with a better use of their time than waiting had no way to say so."""
    async with FakeUpstream() as upstream, running(tmp_path, at_rate(upstream.url, 1)) as daemon:
        await chat(daemon)
        async with asyncio.timeout(2):
            refused = await chat(daemon, {"X-LLMQD-No-Queue": "1"})
        assert (refused.status, code_of(refused)) == (429, "queue_full")
        assert 50 < int(refused.header("Retry-After") or 0) <= 61


async def test_a_call_that_waits_can_see_its_place_and_when_its_turn_comes(tmp_path: Path) -> None:
    """litellm #26693, ollama #5253: users who waited asked to be shown their place in the queue."""
    async with FakeUpstream() as upstream, running(tmp_path, at_rate(upstream.url, 60)) as daemon:
        await chat(daemon)
        async with RawClient.to(daemon.port) as one, RawClient.to(daemon.port) as two:
            for number, client in enumerate((one, two), 1):
                await client.send("POST", CHAT, PLAIN, JSON)
                await daemon.until(lambda number=number: daemon.waiting == number)  # type: ignore[misc]
            queue: Any = (await call(daemon.port, "GET", "/queue")).json()
            assert [place["position"] for place in queue["waiting"]] == [1, 2]
            first, second = (place["eta_ms"] for place in queue["waiting"])
            assert 0 <= first <= 1010
            assert second - first == pytest.approx(1000, abs=30)


async def test_more_than_a_thousand_callers_at_once_are_all_answered(tmp_path: Path) -> None:
    """vLLM production-stack #448: the router crashed with more than 1,000 concurrent requests."""
    async with (
        FakeUpstream(json_answer({"ok": True})) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, "max_concurrent = 50\nlearn = false")) as daemon,
    ):
        async with held(daemon):
            calls = [asyncio.create_task(chat(daemon)) for _ in range(1100)]
            await daemon.until(lambda: daemon.waiting == 1100, within=30)
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*calls)
        assert {(answer.status, answer.body) for answer in answers} == {(200, orjson.dumps({"ok": True}))}
        assert (len(upstream.requests), upstream.most_active <= 50) == (1100, True)


async def test_a_wait_that_is_set_is_in_force_and_shown(tmp_path: Path) -> None:
    """OmniRoute #4165: RATE_LIMIT_MAX_WAIT_MS was ignored, and the error did not say what had been in force."""
    toml = upstream_toml("openai", "http://127.0.0.1:9") + '[queue]\nmax_wait = "250ms"\n'
    async with running(tmp_path, toml) as daemon, held(daemon):
        shown: Any = (await call(daemon.port, "GET", "/config")).json()
        assert shown["queue"]["max_wait"] in (0.25, "250ms")
        message = orjson.loads((await chat(daemon)).body)["error"]["message"]
        assert "0.25 s" in message


ROUTE = '[[route]]\nmodel = "gpt-*"\nupstreams = ["openai", "groq"]\n'


async def test_a_pause_beyond_the_callers_deadline_does_not_block_the_fallback(tmp_path: Path) -> None:
    """OmniRoute PR #495: the queue waited for a reset, and the caller never got to the fallback."""
    async with FakeUpstream(limited("60")) as first, FakeUpstream(json_answer({"at": "groq"})) as second:
        toml = upstream_toml("openai", first.url) + upstream_toml("groq", second.url) + ROUTE
        async with running(tmp_path, toml) as daemon, asyncio.timeout(5):
            assert (await chat(daemon, {"X-LLMQD-Deadline": "10"})).json() == {"at": "groq"}
