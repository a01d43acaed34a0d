"""Nobody sees a 429: refused calls wait at their place, failed ones are repeated, hopeless ones are told so at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from tests.fake_upstream import Answer, FakeUpstream, json_answer
from tests.fake_upstream import openai_answers as openai
from tests.restless import Restless
from tests.under_test import DaemonUnderTest, RawResponse, call, running, upstream_toml

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[]}'
JSON = {"Content-Type": "application/json"}
ROUTE = '[[route]]\nmodel = "gpt-*"\nupstreams = ["openai", "groq"]\n'


def limited(wait: str = "0.2", code: str = "rate_limit_exceeded") -> Answer:
    return openai.error(429, "slow down", "requests", code).with_headers(("retry-after", wait))


async def ask(daemon: DaemonUnderTest, **headers: str) -> RawResponse:
    return await call(daemon.port, "POST", CHAT, BODY, JSON | headers)


async def record(daemon: DaemonUnderTest, response: RawResponse) -> tuple[str, int, int | None]:
    found = (await daemon.record(response.header("X-LLMQD-Request-Id") or "")).outcome
    return found.status, found.attempts, found.http_status


async def test_a_429_is_waited_out_and_the_caller_sees_a_plain_success(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(limited(), limited())
        response = await ask(daemon)
        assert (response.status, response.header("X-LLMQD-Attempts")) == (200, "3")
        assert await record(daemon, response) == ("done", 3, 200)
        gaps = [later.at - earlier.at for earlier, later in zip(upstream.requests, upstream.requests[1:], strict=False)]
        assert min(gaps) >= 0.2


async def test_one_429_pauses_the_lane_once_for_everybody(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(limited("0.3"))
        first = asyncio.create_task(ask(daemon))
        await upstream.until(lambda: len(upstream.requests) == 1)
        await daemon.until(lambda: next(iter(daemon.lanes)).paused is not None)
        others = [asyncio.create_task(ask(daemon)) for _ in range(20)]
        await daemon.until(lambda: daemon.waiting == 21)
        answers = await asyncio.gather(first, *others)
        assert [answer.status for answer in answers] == [200] * 21
        assert len(upstream.requests) == 22
        assert upstream.requests[1].at - upstream.requests[0].at >= 0.3


async def test_a_refused_call_goes_first_when_the_pause_is_over(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(limited("0.3"))
        refused = asyncio.create_task(ask(daemon, **{"X-Mark": "first"}))
        await daemon.until(lambda: next(iter(daemon.lanes)).paused is not None)
        late = asyncio.create_task(ask(daemon, **{"X-Mark": "late"}))
        await asyncio.gather(refused, late)
        assert [request.header("x-mark") for request in upstream.requests] == ["first", "first", "late"]


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 529])
async def test_a_failure_before_the_answer_is_repeated(tmp_path: Path, status: int) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(openai.error(status, "no", "server_error"))
        response = await ask(daemon)
        assert (response.status, response.header("X-LLMQD-Attempts")) == (200, "2")


async def test_a_reset_connection_is_repeated(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(Answer(end="reset", headers_sent=False))
        response = await ask(daemon)
        assert (response.status, response.header("X-LLMQD-Attempts")) == (200, "2")


async def test_after_the_last_repetition_the_upstream_s_own_answer_passes(tmp_path: Path) -> None:
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, "retries = 1")) as daemon,
    ):
        upstream.play(*[openai.error(503, f"no {number}", "server_error") for number in range(2)])
        response = await ask(daemon)
        assert (response.status, response.header("X-LLMQD-Attempts")) == (503, "2")
        assert response.body == openai.error(503, "no 1", "server_error").data
        assert await record(daemon, response) == ("done", 2, 503)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_the_caller_s_own_faults_are_not_repeated(tmp_path: Path, status: int) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(openai.error(status, "your fault", "invalid_request_error"))
        response = await ask(daemon)
        assert (response.status, len(upstream.requests)) == (status, 1)


async def test_an_exhausted_quota_is_told_at_once_and_not_to_be_retried(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(openai.error(429, "You exceeded your current quota", "insufficient_quota", "insufficient_quota"))
        response = await ask(daemon)
        assert (response.status, response.header("x-should-retry"), len(upstream.requests)) == (429, "false", 1)
        assert orjson.loads(response.body)["error"]["code"] == "insufficient_quota"
        assert (await ask(daemon)).status == 200, "a spent quota of one model must not stop the lane"


async def test_a_reset_hours_away_does_not_block_the_fallback(tmp_path: Path) -> None:
    async with FakeUpstream() as first, FakeUpstream(json_answer({"at": "groq"})) as second:
        toml = upstream_toml("openai", first.url) + upstream_toml("groq", second.url) + ROUTE
        async with running(tmp_path, toml) as daemon:
            first.play(limited("7200"))
            response = await ask(daemon)
            assert (response.status, response.json()) == (200, {"at": "groq"})
            assert response.header("X-LLMQD-Upstream") == "groq"
            assert (await daemon.record(response.header("X-LLMQD-Request-Id") or "")).call.upstream == "groq"


async def test_a_long_pause_is_gone_past_where_the_route_has_an_upstream_that_does_not_pause(tmp_path: Path) -> None:
    async with FakeUpstream() as first, FakeUpstream(json_answer({"at": "groq"})) as second:
        toml = upstream_toml("openai", first.url) + upstream_toml("groq", second.url) + ROUTE
        async with running(tmp_path, toml) as daemon:
            first.play(limited("30"))
            answers = [await ask(daemon), await ask(daemon)]
            assert [answer.json() for answer in answers] == [{"at": "groq"}] * 2
            assert [answer.header("X-LLMQD-Attempts") for answer in answers] == ["2", "1"]
            found = [await daemon.record(each.header("X-LLMQD-Request-Id") or "") for each in answers]
            assert [each.reason for each in found[1].outcome.tried] == ["lane openai pauses"]
            assert len(first.requests) == 1


async def test_a_short_pause_is_waited_for_though_the_route_goes_on(tmp_path: Path) -> None:
    async with FakeUpstream(json_answer({"at": "openai"})) as first, FakeUpstream() as second:
        toml = upstream_toml("openai", first.url) + upstream_toml("groq", second.url) + ROUTE
        async with running(tmp_path, toml) as daemon:
            first.play(limited("0.2"))
            assert (await ask(daemon)).json() == {"at": "openai"}
            assert second.requests == []


async def test_what_an_operator_pauses_is_gone_past_and_comes_last_when_the_others_fail(tmp_path: Path) -> None:
    async with FakeUpstream(json_answer({"at": "openai"})) as first:
        toml = upstream_toml("openai", first.url) + upstream_toml("groq", "http://127.0.0.1:9", "retries = 0") + ROUTE
        async with running(tmp_path, toml) as daemon:
            await call(daemon.port, "POST", "/queue/openai/pause", b"", JSON)
            asked = asyncio.create_task(ask(daemon))
            await daemon.until(lambda: sum(lane.waiting for lane in daemon.lanes) == 1)
            await call(daemon.port, "POST", "/queue/openai/resume", b"", JSON)
            response = await asked
            assert response.json() == {"at": "openai"}
            found = await daemon.record(response.header("X-LLMQD-Request-Id") or "")
            assert [(each.upstream, each.verdict) for each in found.outcome.tried] == [
                ("openai", "wait"),
                ("groq", "retry"),
            ]


async def test_who_finds_all_lanes_of_the_route_in_a_pause_waits_for_the_first(tmp_path: Path) -> None:
    async with FakeUpstream(json_answer({"at": "openai"})) as first, FakeUpstream() as second:
        toml = upstream_toml("openai", first.url) + upstream_toml("groq", second.url) + ROUTE
        async with running(tmp_path, toml) as daemon:
            for lane in ("openai", "groq"):
                await call(daemon.port, "POST", f"/queue/{lane}/pause", b"", JSON)
            asked = asyncio.create_task(ask(daemon))
            await daemon.until(lambda: sum(lane.waiting for lane in daemon.lanes) == 1)
            await call(daemon.port, "POST", "/queue/openai/resume", b"", JSON)
            assert (await asked).json() == {"at": "openai"}


async def test_a_pause_of_some_models_moves_no_others(tmp_path: Path) -> None:
    async with (
        FakeUpstream(json_answer({"at": "openai"})) as first,
        FakeUpstream(json_answer({"at": "groq"})) as second,
    ):
        limit = '\n[[upstream.limit]]\nmodels = ["gpt-4o"]\nrequests_per_minute = 600\n'
        toml = upstream_toml("openai", first.url, limit) + upstream_toml("groq", second.url) + ROUTE
        async with running(tmp_path, toml) as daemon:
            first.play(limited("30"))
            assert (await ask(daemon)).json() == {"at": "groq"}
            other = BODY.replace(b"gpt-4o", b"gpt-5")
            assert (await call(daemon.port, "POST", CHAT, other, JSON)).json() == {"at": "openai"}


async def test_a_dead_upstream_goes_on_to_the_next_and_stalls_no_other_lane(tmp_path: Path) -> None:
    async with FakeUpstream(json_answer({"at": "groq"})) as second:
        toml = upstream_toml("openai", "http://127.0.0.1:9", "retries = 0") + upstream_toml("groq", second.url) + ROUTE
        async with running(tmp_path, toml) as daemon:
            answers = await asyncio.gather(*(ask(daemon) for _ in range(5)))
            assert [answer.json() for answer in answers] == [{"at": "groq"}] * 5


async def test_a_second_key_takes_over_while_the_first_one_pauses(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        toml = (
            f'[[upstream]]\nname = "openai"\nbase_url = "{upstream.url}"\nrequests_per_minute = 0\n'
            '[[upstream.key]]\nname = "a"\napi_key = "sk-a"\n[[upstream.key]]\nname = "b"\napi_key = "sk-b"\n'
        )
        async with running(tmp_path, toml) as daemon:
            upstream.play(limited("30"))
            response = await ask(daemon)
            assert response.status == 200
            assert [request.header("authorization") for request in upstream.requests] == ["Bearer sk-a", "Bearer sk-b"]


async def test_whoever_will_not_queue_gets_the_upstream_s_refusal(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(limited())
        response = await ask(daemon, **{"X-LLMQD-No-Queue": "1"})
        assert (response.status, response.header("retry-after"), len(upstream.requests)) == (429, "0.2", 1)


async def test_an_upstream_that_refuses_for_ever_is_not_asked_for_ever(tmp_path: Path) -> None:
    async with (
        FakeUpstream(limited("0.01")) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url)) as daemon,
    ):
        response = await ask(daemon)
        assert (response.status, len(upstream.requests)) == (429, 8)
        assert response.body == limited().data
        assert await record(daemon, response) == ("done", 8, 429)


async def test_a_call_that_could_never_fit_is_refused_at_once_with_the_reason(tmp_path: Path) -> None:
    more = "tokens_per_minute = 1000\n"
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url, more)) as daemon:
        body = b'{"model":"gpt-4o","max_tokens":5000,"messages":[]}'
        response = await call(daemon.port, "POST", CHAT, body, JSON)
        error = orjson.loads(response.body)["error"]
        assert (response.status, error["code"]) == (413, "request_too_large_for_limit")
        assert "tokens_per_minute" in error["message"]
        assert not upstream.requests


async def test_a_client_that_leaves_during_a_pause_is_recorded_and_sends_nothing_more(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(limited("30"))
        leaving = asyncio.create_task(ask(daemon))
        await daemon.until(lambda: next(iter(daemon.lanes)).paused is not None)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await daemon.until(lambda: daemon.waiting == 0)
        assert await daemon.ledger.settled(5)
        assert await daemon.ledger.count_by_status() == {"cancelled": 1}
        assert len(upstream.requests) == 1


async def test_what_happens_is_announced_in_order(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        heard = daemon.events.subscribe(lambda: None)
        upstream.play(limited("0.05"))
        await ask(daemon)
        kinds = [one.event.type for one in heard.take() if hasattr(one, "event")]
        assert [kind for kind in kinds if kind not in ("limit_learned", "alert")] == [
            "started", "paused", "resumed", "started", "finished",
        ]  # fmt: skip


async def test_a_call_that_met_a_stale_connection_goes_again_in_a_turn_of_its_own(tmp_path: Path) -> None:
    async with Restless.serving() as restless:
        toml = upstream_toml("openai", restless.url).replace("minute = 0", "minute = 300") + "retries = 0\n"
        async with running(tmp_path, toml) as daemon:
            answers = [await ask(daemon) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert [answer.header("X-LLMQD-Attempts") for answer in answers] == ["1", "2", "2"]
    gaps = [later - earlier for earlier, later in zip(restless.asked, restless.asked[1:], strict=False)]
    assert len(restless.asked) == 5
    assert min(gaps) >= 0.15  # 300 a minute is one in 0.2 s, and not even the repetition comes sooner


async def test_a_call_that_needs_no_turn_is_sent_again_at_once_over_a_fresh_connection(tmp_path: Path) -> None:
    async with Restless.serving() as restless, running(tmp_path, upstream_toml("openai", restless.url)) as daemon:
        answers = [await call(daemon.port, "GET", "/v1/files") for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3


async def test_a_call_that_may_not_wait_goes_to_the_fallback_that_has_a_turn(tmp_path: Path) -> None:
    async with FakeUpstream() as first, FakeUpstream(json_answer({"at": "groq"})) as second:
        toml = upstream_toml("openai", first.url) + upstream_toml("groq", second.url) + ROUTE
        async with running(tmp_path, toml) as daemon, asyncio.timeout(5):
            daemon.lanes.pick("openai").pause(None, "test")
            assert (await ask(daemon, **{"X-LLMQD-No-Queue": "1"})).json() == {"at": "groq"}
    assert not first.requests


async def test_each_attempt_is_recorded_with_its_lane_its_status_and_why(tmp_path: Path) -> None:
    async with FakeUpstream() as first, FakeUpstream(json_answer({"at": "groq"})) as second:
        toml = upstream_toml("openai", first.url, "retries = 1") + upstream_toml("groq", second.url) + ROUTE
        async with running(tmp_path, toml) as daemon:
            first.play(limited(), *[openai.error(503, "sk-proj-" + "aB3" * 16, "server_error") for _ in range(2)])
            response = await ask(daemon)
            assert (response.status, response.header("X-LLMQD-Attempts")) == (200, "4")
            outcome = (await daemon.record(response.header("X-LLMQD-Request-Id") or "")).outcome
        assert outcome.lane == "groq"
        tried = outcome.tried
        assert [(each.upstream, each.lane, each.http_status, each.verdict) for each in tried] == [
            ("openai", "openai", 429, "wait"),
            ("openai", "openai", 503, "retry"),
            ("openai", "openai", 503, "retry"),
        ]
        assert tried[0].reason == "HTTP 429: slow down"
        assert "aB3aB3" not in tried[1].reason, "what an upstream says may hold a key"
        times = [at for each in tried for at in (each.at_ms or -1, each.ended_ms)] + [outcome.sent_ms or 0]
        assert times == sorted(times)
        assert times[0] >= 0


async def test_a_lane_that_had_no_turn_is_recorded_as_an_attempt_that_never_began(tmp_path: Path) -> None:
    async with FakeUpstream() as first, FakeUpstream(json_answer({"at": "groq"})) as second:
        small = "[[upstream.limit]]\nmodels = ['*']\ntokens_per_minute = 10\n"
        toml = upstream_toml("openai", first.url) + small + upstream_toml("groq", second.url) + ROUTE
        async with running(tmp_path, toml) as daemon:
            body = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "word " * 400}]})
            response = await call(daemon.port, "POST", CHAT, body, JSON)
            outcome = (await daemon.record(response.header("X-LLMQD-Request-Id") or "")).outcome
        assert (response.status, outcome.attempts, len(first.requests)) == (200, 1, 0)
        [tried] = outcome.tried
        assert (tried.upstream, tried.at_ms, tried.http_status, tried.verdict) == ("openai", None, None, "permanent")
        assert "tokens" in tried.reason
