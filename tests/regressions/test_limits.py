"""Complaints about counting: limits overshot, limits left unused, and calls that no limit can ever hold."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmqd.config.limits import Limits
from llmqd.lane.limiting import meter_for
from tests.fake_upstream import FakeUpstream, json_answer, quantised
from tests.fake_upstream import openai_answers as openai
from tests.fake_upstream.limiters import SlidingWindow, TokenLimit
from tests.fake_upstream.sized_answers import Lengths
from tests.fake_upstream.strict import StrictProvider
from tests.lane.saturated import play
from tests.regressions.chat import at_rate, chat, code_of, gaps, many, times
from tests.under_test import call, running, upstream_toml

BEFORE_ANY_REFILL = 30.0
"""Seconds within which no load lets a call be late, and yet no limit that was used up by mistake has room again."""


def body_of(tokens: int, allowed: int) -> bytes:
    """A call with about so many input tokens, and as many output tokens as it allows."""
    message = {"role": "user", "content": "word " * max(tokens - 20, 1)}
    return orjson.dumps({"model": "gpt-4o", "max_tokens": allowed, "messages": [message]})


async def test_calls_that_were_refused_here_do_not_use_up_the_limit(tmp_path: Path) -> None:
    """litellm #39309: requests that max_parallel_requests had rejected were counted, and kept the next ones out."""
    gate = asyncio.Event()
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, at_rate(upstream.url, 60, "max_concurrent = 1\nlearn = false")) as daemon,
    ):
        upstream.play(openai.chat().but(before=[gate]))
        first = asyncio.create_task(chat(daemon))
        await upstream.until(lambda: len(upstream.requests) == 1)
        refused = await many(daemon, 30, {"X-LLMQD-No-Queue": "1"})
        assert {answer.status for answer in refused} == {429}
        gate.set()
        assert ((await first).status, (await chat(daemon)).status) == (200, 200)
        [gap] = gaps(times(upstream))
        assert gap < 15  # had they counted, thirty seconds and more


@pytest.mark.parametrize("status", [429, 503])
async def test_calls_that_the_upstream_did_not_serve_do_not_use_up_the_tokens(tmp_path: Path, status: int) -> None:
    """sourcegraph #51879, new-api PR #6528: calls that had failed upstream were booked against the quota."""
    more = 'retries = 0\nlearn = false\ntokens_per_minute = 1000\nalgorithm = "bucket"\nreserve_output = "max_tokens"\n'
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, more)) as daemon,
    ):
        upstream.play(openai.error(status, "no", "x").with_headers(("retry-after", "0")))
        headers = {"X-LLMQD-No-Queue": "1"}
        assert (await chat(daemon, headers, body=body_of(20, 800))).status == status
        async with asyncio.timeout(BEFORE_ANY_REFILL):  # had they counted, 37 seconds
            assert (await chat(daemon, body=body_of(20, 800))).status == 200


async def test_calls_at_the_same_time_do_not_slip_past_the_token_limit_together(tmp_path: Path) -> None:
    """litellm #18730: concurrent requests all saw the same counter, and six times the limit went out."""
    provider = StrictProvider(
        tokens={"tokens": (TokenLimit(SlidingWindow(60_000), "reserved"), 60_000)},
        lengths=Lengths(10, 20, seed=1),
        seconds=0.05,
    )
    more = 'learn = false\ntokens_per_minute = 60000\nreserve_output = "max_tokens"\n'
    async with (
        FakeUpstream(provider) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, more)) as daemon,
    ):
        calls = [asyncio.create_task(chat(daemon, body=body_of(20, 1000))) for _ in range(80)]
        await upstream.until(lambda: len(upstream.requests) >= 1)
        await asyncio.sleep(2)  # as long as the calls need to slip past, if they can
        assert len(upstream.requests) <= 60
        assert not provider.refused
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_tokens_that_were_reserved_and_not_used_are_not_lost(tmp_path: Path) -> None:
    """litellm #18953, #24677: keys were locked out, for up to five minutes, at 60 to 90 % of their limit."""
    more = 'learn = false\ntokens_per_minute = 60000\nalgorithm = "bucket"\nreserve_output = "refunded"\n'
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url, more)) as daemon:
        async with asyncio.timeout(BEFORE_ANY_REFILL):
            for _ in range(100):  # 100 x 4,000 reserved tokens would be seven minutes; used are 3,000 in all
                assert (await chat(daemon, body=body_of(20, 4000))).status == 200


async def test_a_call_larger_than_the_bucket_does_not_wait_for_ever(tmp_path: Path) -> None:
    """openlimit #8: a request with more tokens than the bucket holds waited for a moment that never comes."""
    more = 'tokens_per_minute = 1000\nreserve_output = "max_tokens"\n'
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url, more)) as daemon:
        async with asyncio.timeout(BEFORE_ANY_REFILL):
            refused = await chat(daemon, body=body_of(20, 5000))
        assert (refused.status, code_of(refused)) == (413, "request_too_large_for_limit")
        assert "tokens_per_minute" in orjson.loads(refused.body)["error"]["message"]
        assert not upstream.requests


async def test_a_call_that_only_might_be_larger_than_the_bucket_is_sent(tmp_path: Path) -> None:
    """openlimit #8, the other way round: tokens are a guess, and a guess is no reason to refuse a call or to hang."""
    more = 'learn = false\ntokens_per_minute = 1000\nreserve_output = "typical"\n'
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url, more)) as daemon:
        async with asyncio.timeout(BEFORE_ANY_REFILL):
            assert (await chat(daemon, body=body_of(900, 5000))).status == 200


async def test_a_call_too_large_for_the_upstream_is_not_sent_again_and_again(tmp_path: Path) -> None:
    """openlimit #8 at the provider: "Request too large" comes as a 429 too, and no pause makes the call smaller."""
    text = "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 50000."
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(openai.error(429, text, "tokens", "rate_limit_exceeded"))
        async with asyncio.timeout(BEFORE_ANY_REFILL):
            assert (await chat(daemon)).status == 429
            assert [lane.paused for lane in daemon.lanes] == [None]
            assert (await chat(daemon)).status == 200
        assert len(upstream.requests) == 2


async def test_a_new_daemon_does_not_send_a_whole_minute_at_once(tmp_path: Path) -> None:
    """OpenAI cookbook, api_request_parallel_processor.py: it began with a full bucket and ran into 429 at once."""
    async with FakeUpstream() as upstream, running(tmp_path, at_rate(upstream.url, 300)) as daemon:
        await many(daemon, 8)
        assert min(gaps(times(upstream))) >= 0.195


async def test_a_minute_enforced_in_seconds_is_used_and_not_overshot(tmp_path: Path) -> None:
    """OpenAI forum 611241, Portkey #1179: 60,000 a minute, enforced as 1,000 a second; clients met 429, or idled."""
    async with (
        FakeUpstream(json_answer({}), limiter=quantised(1200)) as upstream,
        running(tmp_path, at_rate(upstream.url, 1200)) as daemon,
    ):
        await many(daemon, 60)
        asked = times(upstream)
        assert upstream.refused == 0
        assert asked[-1] - asked[0] >= 59 * 0.05 * 0.98
    played = play(meter_for("requests_per_minute", 1200, Limits(1200), 0.0), quantised(1200), 1200)
    assert played.refused == 0
    assert played.utilisation >= 0.98


async def test_calls_that_are_the_callers_own_fault_count_too(tmp_path: Path) -> None:
    """litellm #21312: a client that kept sending bad requests was held by no limit at all."""
    more = 'algorithm = "bucket"\nburst = 3\nlearn = false'
    async with FakeUpstream() as upstream, running(tmp_path, at_rate(upstream.url, 300, more)) as daemon:
        upstream.script = openai.error(400, "bad", "invalid_request_error")
        assert {(await chat(daemon)).status for _ in range(8)} == {400}
        asked = times(upstream)
        assert asked[-1] - asked[0] >= 5 * 0.2 * 0.95


async def test_a_step_of_the_wall_clock_neither_floods_nor_stalls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI cookbook, api_request_parallel_processor.py: capacity came from time.time(), which NTP may set."""
    real, steps = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + steps[0])
    async with FakeUpstream() as upstream, running(tmp_path, at_rate(upstream.url, 600)) as daemon:
        calls = [asyncio.create_task(chat(daemon)) for _ in range(12)]
        for number, step in ((4, -3600.0), (8, 7200.0)):
            await upstream.until(lambda number=number: len(upstream.requests) >= number)  # type: ignore[misc]
            steps[0] = step
        async with asyncio.timeout(BEFORE_ANY_REFILL):  # a stall would last an hour or two
            assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
        assert min(gaps(times(upstream))) >= 0.095


async def test_a_limit_that_the_upstream_states_is_kept_to(tmp_path: Path) -> None:
    """OmniRoute #13594: limits were learned and stored, and calls still went out faster than they allow."""
    stated = [
        ("x-ratelimit-limit-requests", "300"),
        ("x-ratelimit-remaining-requests", "299"),
        ("x-ratelimit-reset-requests", "200ms"),
    ]
    async with (
        FakeUpstream(json_answer({}, 200, *stated)) as upstream,
        running(tmp_path, at_rate(upstream.url, 6000)) as daemon,
    ):
        await chat(daemon)
        queue: Any = (await call(daemon.port, "GET", "/queue")).json()
        [limit] = [one for one in queue["lanes"][0]["limits"] if one["dimension"] == "requests_per_minute"]
        assert limit["limit"] <= 300
        assert limit["source"]
        await many(daemon, 6)
        assert min(gaps(times(upstream))[1:]) >= 0.19
