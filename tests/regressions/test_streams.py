"""Complaints about streams: buffered, altered, counted wrongly, or broken off in a way that looks like their end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fake_upstream import Answer, FakeUpstream, rechunked, sse
from tests.fake_upstream import anthropic_answers as anthropic
from tests.fake_upstream import openai_answers as openai
from tests.regressions.chat import CHAT, JSON, MESSAGES, STREAM, chat, record_of
from tests.under_test import RawClient, running, upstream_toml

CLAUDE = b'{"model":"claude-sonnet-4-6","max_tokens":9,"stream":true,"messages":[]}'
WITH_USAGE = b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[]}'


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_an_error_for_a_stream_keeps_its_status_and_its_body(tmp_path: Path, status: int) -> None:
    """cylestio-perimeter: a streaming call was answered 200 text/event-stream whatever the upstream had said."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        refusal = openai.error(status, "no such thing", "invalid_request_error")
        upstream.play(refusal)
        response = await chat(daemon, body=STREAM)
        assert (response.status, response.body) == (status, refusal.data)
        assert response.header("content-type") == "application/json"


async def test_a_429_for_a_stream_keeps_its_status_too(tmp_path: Path) -> None:
    """cylestio-perimeter: with 200 in front of it, no retry logic of any client could see the 429."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(openai.error(429, "slow down", "requests").with_headers(("retry-after", "7")))
        response = await chat(daemon, {"X-LLMQD-No-Queue": "1"}, body=STREAM)
        assert (response.status, response.header("retry-after")) == (429, "7")


async def test_every_piece_of_a_stream_goes_out_when_it_comes(tmp_path: Path) -> None:
    """litellm #26102, marketconnect/llm-queue-proxy: streams were buffered, in part or up to their end."""
    answer = openai.chat_stream(include_usage=True)
    gates = [asyncio.Event() for _ in answer.body]
    steps = [step for pair in zip(gates, answer.body, strict=True) for step in pair]
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(answer.but(body=steps))
        async with RawClient.to(daemon.port) as client, asyncio.timeout(10):
            await client.send("POST", CHAT, WITH_USAGE, JSON)
            assert (await client.head()).status == 200
            for gate, piece in zip(gates, answer.body, strict=True):
                gate.set()
                assert await client._chunk() == piece


async def test_many_streams_flow_at_the_same_time(tmp_path: Path) -> None:
    """GetBusbar/benchmarking: four of twelve gateways had none or one of their concurrent streams without a stall."""
    gate = asyncio.Event()
    async with (
        FakeUpstream(openai.chat_stream(include_usage=True).paused(gate)) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url, "learn = false")) as daemon,
    ):

        async def first_piece_while_all_are_open() -> int:
            async with RawClient.to(daemon.port) as client:
                await client.send("POST", CHAT, WITH_USAGE, JSON)
                await client.head()
                size = len(await client._chunk())
                await upstream.until(lambda: upstream.active == 100, timeout=20)
                return size

        streams = [asyncio.create_task(first_piece_while_all_are_open()) for _ in range(100)]
        async with asyncio.timeout(30):
            assert min(await asyncio.gather(*streams)) > 0


async def test_usage_is_known_for_a_stream_that_did_not_ask_for_it_and_nobody_sees_how(tmp_path: Path) -> None:
    """litellm #5632, agentgateway: usage was missing, or asked for on the quiet with the extra chunk left in."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        response = await chat(daemon, body=STREAM)
        assert response.body == openai.chat_stream(include_usage=False).data
        usage = (await record_of(daemon, response)).outcome.usage
        assert usage is not None
        assert (usage.source, usage.input, usage.output) == ("exact", 19, 11)


async def test_reasoning_tokens_are_not_left_out_of_a_stream(tmp_path: Path) -> None:
    """litellm PR #35290: streams of reasoning models were undercounted by more than 90 %."""
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        chat_usage = (await record_of(daemon, await chat(daemon, body=STREAM))).outcome.usage
        body = b'{"model":"gpt-4o","input":"x","stream":true}'
        responses = (await record_of(daemon, await chat(daemon, body=body, path="/v1/responses"))).outcome.usage
    assert chat_usage is not None
    assert responses is not None
    assert (chat_usage.output, chat_usage.reasoning) == (11, 3)
    assert (responses.output, responses.reasoning) == (87, 20)


async def test_usage_that_is_stated_again_and_again_is_not_added_up(tmp_path: Path) -> None:
    """litellm #11789: ten times too much was booked for streams whose events each state all tokens so far."""
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url) + upstream_toml("anthropic", upstream.url)) as daemon,
    ):
        events = [
            b'data: {"id":"c","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"index":0,"delta":'
            b'{"content":"x"}}],"usage":{"prompt_tokens":19,"completion_tokens":%d,"total_tokens":%d}}' % (n, 19 + n)
            for n in range(1, 12)
        ]
        upstream.play(sse([*events, b"data: [DONE]"]))
        cumulative = (await record_of(daemon, await chat(daemon, body=WITH_USAGE))).outcome.usage
        claude = await chat(daemon, {"anthropic-version": "2023-06-01"}, body=CLAUDE, path=MESSAGES)
        messages = (await record_of(daemon, claude)).outcome.usage
    assert cumulative is not None
    assert messages is not None
    assert (cumulative.input, cumulative.output) == (19, 11)
    assert messages.output == anthropic.USAGE["output_tokens"]


async def test_bytes_cut_anywhere_arrive_as_they_were(tmp_path: Path) -> None:
    """ai-gateway-bench: chunk fidelity is one of its scenarios; gateways that parse a stream put it together anew."""
    answer = openai.chat_stream(include_usage=True)
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        upstream.play(rechunked(answer, range(len(answer.data))))
        response = await chat(daemon, body=STREAM)
        assert response.body == openai.chat_stream(include_usage=False).data
        usage = (await record_of(daemon, response)).outcome.usage
        assert usage is not None
        assert usage.source == "exact"


async def test_comments_and_events_that_nobody_knows_pass(tmp_path: Path) -> None:
    """new-api #971, axonhub #2146: silent streams were cut on the way; signs of life have to get through."""
    answer = sse(
        [
            b": OPENROUTER PROCESSING",
            b"event: something.new\ndata: {not json",
            b"id: 7\nretry: 100",
            b'data: {"choices":[]}',
            b"data: [DONE]",
        ]
    )
    async with FakeUpstream(answer) as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        assert (await chat(daemon, body=WITH_USAGE)).body == answer.data


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_a_stream_that_broke_off_does_not_look_whole(tmp_path: Path, path: str) -> None:
    """unity-gateway PR #352: after a drop in mid-stream the client took it for the end, and did not retry."""
    answer = (openai.chat_stream(include_usage=True) if path == CHAT else anthropic.message_stream()).but(end="cut")
    toml = upstream_toml("openai", "{0}") + upstream_toml("anthropic", "{0}")
    async with FakeUpstream() as upstream, running(tmp_path, toml.replace("{0}", upstream.url)) as daemon:
        upstream.play(answer.but(body=[*answer.body[:3], 0.05]))
        headers = {"anthropic-version": "2023-06-01"} if path == MESSAGES else {}
        response = await chat(daemon, headers, body=CLAUDE if path == MESSAGES else WITH_USAGE, path=path)
        assert (response.status, response.complete) == (200, False)
        outcome = (await record_of(daemon, response)).outcome
        assert (outcome.status, outcome.error) == ("cut", "upstream_cut")


async def test_nothing_is_put_into_answers_that_are_no_streams(tmp_path: Path) -> None:
    """llama-swap PR #735: signs of life for event streams went into other answers as well, and damaged them."""
    answer = Answer(headers=[("Content-Type", "audio/mpeg")], body=[b"\xff\xf3", 0.3, b"\x00\n\n\x00"])
    async with FakeUpstream(answer) as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        body = b'{"model":"tts-1","input":"x","voice":"alloy"}'
        assert (await chat(daemon, body=body, path="/v1/audio/speech")).body == answer.data
