"""Complaints about 429: storms, retries in step, pauses that end too soon, and waits for what does not come back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fake_upstream import FakeUpstream, Received, json_answer
from tests.fake_upstream import openai_answers as openai
from tests.fake_upstream.script import Answer
from tests.regressions.chat import CHAT, JSON, PLAIN, chat, limited, many, times
from tests.under_test import DaemonUnderTest, call, running, upstream_toml

ROUTE = '[[route]]\nmodel = "gpt-*"\nupstreams = ["openai", "groq"]\n'


def paused(daemon: DaemonUnderTest) -> bool:
    return next(iter(daemon.lanes)).paused is not None


@pytest.mark.parametrize("hint", ["retry-after", "retry-after-ms", "text"])
async def test_the_wait_that_the_upstream_asks_for_is_waited(tmp_path: Path, hint: str) -> None:
    """litellm #3646, #7669: calls failed or came back too early although the 429 said when to come back."""
    refusals = {
        "retry-after": limited("0.4"),
        "retry-after-ms": limited(None).with_headers(("retry-after-ms", "400")),
        "text": openai.error(429, "Please try again in 400ms.", "requests", "rate_limit_exceeded"),
    }
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(refusals[hint])
        assert (await chat(daemon)).status == 200
        first, second = times(upstream)
        assert 0.4 <= second - first < 1.0


async def test_one_429_does_not_send_everybody_else_into_the_same_wall(tmp_path: Path) -> None:
    """hermes-agent PR #14029: nine more calls went out for each 429, all of them in vain."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(limited("0.5"))
        first = asyncio.create_task(chat(daemon))
        await daemon.until(lambda: paused(daemon))
        others = [asyncio.create_task(chat(daemon)) for _ in range(9)]
        await daemon.until(lambda: daemon.waiting == 10)
        assert {answer.status for answer in await asyncio.gather(first, *others)} == {200}
        assert (len(upstream.requests), upstream.requests[1].at - upstream.requests[0].at >= 0.5) == (11, True)


async def test_a_pause_holds_from_the_moment_of_the_429(tmp_path: Path) -> None:
    """litellm PR #34836: cooldowns were looked up every ten seconds or so, and calls went out meanwhile."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(limited("30"))
        refused = asyncio.create_task(chat(daemon))
        await daemon.until(lambda: paused(daemon))
        late = [await chat(daemon, {"X-LLMQD-Deadline": "1"}) for _ in range(20)]
        assert {answer.status for answer in late} == {429}
        assert len(upstream.requests) == 1
        refused.cancel()
        await asyncio.gather(refused, return_exceptions=True)


@pytest.mark.parametrize("waits", [("0.2", "0.8"), ("0.8", "0.2")])
async def test_of_two_pauses_the_longer_one_counts(tmp_path: Path, waits: tuple[str, str]) -> None:
    """litellm #40130: a second 429 during a cooldown left the shorter deadline in force."""
    gates = [asyncio.Event(), asyncio.Event()]
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(*(limited(wait).but(before=[gate]) for wait, gate in zip(waits, gates, strict=True)))
        calls = [asyncio.create_task(chat(daemon)) for _ in range(2)]
        await upstream.until(lambda: len(upstream.requests) == 2)
        loop = asyncio.get_running_loop()
        for number, gate in enumerate(gates, 1):
            refused_at = loop.time()
            gate.set()
            await daemon.until(lambda number=number: next(iter(daemon.lanes)).refusals == number)  # type: ignore[misc]
        assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
        assert times(upstream)[2] - refused_at >= 0.78


async def test_after_a_pause_one_call_tries_the_ground_before_the_others_follow(tmp_path: Path) -> None:
    """teamclaude PR #89: 429s were answered by moving on at full speed; what helps is to pause and then to ramp up."""
    gate = asyncio.Event()
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(limited("0.2"), openai.chat().but(before=[gate]))
        calls = [asyncio.create_task(chat(daemon))]
        await daemon.until(lambda: paused(daemon))
        calls += [asyncio.create_task(chat(daemon)) for _ in range(30)]
        await upstream.until(lambda: len(upstream.requests) == 2)
        await asyncio.sleep(0.2)  # as long as the others need to follow, if they may
        assert (len(upstream.requests), daemon.waiting) == (2, 30)
        gate.set()
        assert {answer.status for answer in await asyncio.gather(*calls)} == {200}


async def test_an_upstream_that_refuses_for_ever_is_not_asked_a_hundred_thousand_times(tmp_path: Path) -> None:
    """ProbOS #201: a retry storm of 101,000 requests in 90 minutes."""
    async with (
        FakeUpstream(limited("0.01")) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url)) as daemon,
    ):
        assert {answer.status for answer in await many(daemon, 3)} == {429}
        assert len(upstream.requests) <= 24


async def test_daemons_that_share_a_key_do_not_come_back_in_step(tmp_path: Path) -> None:
    """hermes-agent PR #109234: 19 of 20 agents retried at exactly 600.0 s, together, and were refused together."""
    names = [f"host{number}" for number in range(20)]
    seen: dict[str, list[float]] = {name: [] for name in names}

    def refuse_first(request: Received) -> Answer:
        asked = seen[request.path.split("/")[1]]
        asked.append(request.at)
        return limited("1") if len(asked) == 1 else json_answer({})

    async with FakeUpstream(refuse_first) as upstream:
        toml = "".join(
            f'[[upstream]]\nname = "{name}"\ntype = "openai"\nbase_url = "{upstream.url}/{name}"\n'
            "requests_per_minute = 0\n"
            for name in names
        )
        async with running(tmp_path, toml) as daemon:
            await asyncio.gather(*(chat(daemon, path=f"/{name}{CHAT}") for name in names))
    waited = [second - first for first, second in seen.values()]
    assert min(waited) >= 1
    assert max(waited) - min(waited) > 0.03


async def test_a_reset_hours_away_does_not_block_the_fallback(tmp_path: Path) -> None:
    """OmniRoute PR #495: the queue waited for a reset in hours, and the caller never got to the fallback."""
    async with FakeUpstream(limited("14400")) as first, FakeUpstream(json_answer({"at": "groq"})) as second:
        toml = upstream_toml("openai", first.url, "max_concurrent = 1") + upstream_toml("groq", second.url) + ROUTE
        async with running(tmp_path, toml) as daemon:
            async with asyncio.timeout(5):
                answers = await many(daemon, 5)
            assert [answer.json() for answer in answers] == [{"at": "groq"}] * 5


async def test_a_reset_hours_away_is_told_and_not_waited_for(tmp_path: Path) -> None:
    """OmniRoute PR #495: without a fallback, all queued requests hung until the window of hours was over."""
    async with (
        FakeUpstream(limited("14400")) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, "max_concurrent = 1")) as daemon,
    ):
        async with asyncio.timeout(5):
            answers = await many(daemon, 5)
        assert {(answer.status, answer.header("retry-after")) for answer in answers} == {(429, "14400")}
        assert {answer.header("x-should-retry") for answer in answers} == {"false"}


async def test_an_empty_purse_is_not_waited_for_like_a_full_minute(tmp_path: Path) -> None:
    """freellmapi PR #92: a key whose quota was gone was asked again and again, and its callers waited for nothing."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(openai.error(429, "You exceeded your current quota", "insufficient_quota", "insufficient_quota"))
        async with asyncio.timeout(2):
            refused = await chat(daemon)
        assert (refused.status, refused.header("x-should-retry"), len(upstream.requests)) == (429, "false", 1)


async def test_a_full_minute_is_not_taken_for_an_empty_purse(tmp_path: Path) -> None:
    """OmniRoute #1231: a plain "Too Many Requests" was read as an exhausted quota, and the key stayed locked."""
    answer = json_answer({"status": 429, "title": "Too Many Requests"}, 429)
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(answer)
        async with asyncio.timeout(5):
            assert (await chat(daemon)).status == 200
            assert (await chat(daemon)).status == 200


async def test_a_limit_on_the_slope_is_waited_out_like_any_other(tmp_path: Path) -> None:
    """deer-flow PR #4294: a 429 for rising too fast (limit_burst_rate) is none of the limits that clients know."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        text = "Request rate increased too quickly. To ensure system stability, please adjust your client logic."
        upstream.play(openai.error(429, text, "limit_burst_rate", "limit_burst_rate"))
        assert (await chat(daemon)).status == 200
        first, second = times(upstream)
        assert second - first >= 0.9


async def test_a_pause_of_one_upstream_is_not_one_of_the_others(tmp_path: Path) -> None:
    """ai-gateway-bench, head-of-line blocking: one limited provider held up the callers of all the others."""
    async with FakeUpstream() as limited_one, FakeUpstream() as other:
        toml = upstream_toml("openai", limited_one.url) + upstream_toml("groq", other.url)
        async with running(tmp_path, toml) as daemon:
            limited_one.play(limited("30"))
            refused = asyncio.create_task(chat(daemon))
            await daemon.until(lambda: daemon.waiting == 1)
            async with asyncio.timeout(2):
                answer = await call(daemon.port, "POST", "/groq/openai/v1/chat/completions", PLAIN, JSON)
            assert answer.status == 200
            refused.cancel()
            await asyncio.gather(refused, return_exceptions=True)
