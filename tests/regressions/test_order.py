"""Complaints about whose turn it is: priorities that are lost or leak, and one caller that starves all the others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import pytest

from tests.fake_upstream import FakeUpstream
from tests.regressions.chat import chat, held
from tests.under_test import running, upstream_toml

ONE_BY_ONE = "max_concurrent = 1\nlearn = false"

Marked = tuple[str, Mapping[str, str]]


async def served(tmp_path: Path, arrivals: Sequence[Marked], queue: str = "") -> list[str]:
    """The marks of these calls in the order of their turns; they arrive one after the other while nobody may go."""
    async with FakeUpstream() as upstream:
        toml = upstream_toml("openai", upstream.url, ONE_BY_ONE) + f"[queue]\n{queue}\n"
        async with running(tmp_path, toml) as daemon:
            calls = []
            async with held(daemon):
                for mark, headers in arrivals:
                    calls.append(asyncio.create_task(chat(daemon, {"X-Mark": mark, **headers})))
                    await daemon.until(lambda: daemon.waiting == len(calls))
            assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
        return [request.header("x-mark") or "" for request in upstream.requests]


def of(priority: str) -> dict[str, str]:
    return {"X-LLMQD-Priority": priority}


async def test_priority_0_is_not_taken_for_none(tmp_path: Path) -> None:
    """litellm #33213: priority=0, the most urgent there is, was dropped because zero is false."""
    arrivals = [("normal", {}), ("one", of("1")), ("zero", of("0"))]
    assert await served(tmp_path, arrivals) == ["zero", "one", "normal"]


@pytest.mark.parametrize("default", ["0", "high"])
async def test_a_default_priority_neither_fails_the_calls_nor_is_lost(tmp_path: Path, default: str) -> None:
    """litellm #36774: with default_priority set, calls that named no priority were answered with 500."""
    arrivals = [("low", of("low")), ("named", of("2")), ("unnamed", {})]
    assert await served(tmp_path, arrivals, f'priority = "{default}"') == ["unnamed", "named", "low"]


async def test_the_priority_is_obeyed_while_the_lane_is_full(tmp_path: Path) -> None:
    """litellm PR #7540: with a priority given, the queue was processed at once, as if nobody had to wait."""
    arrivals = [(f"batch{number}", of("batch")) for number in range(10)]
    arrivals += [("high", of("high")), ("normal", {})]
    order = await served(tmp_path, arrivals)
    assert order == ["high", "normal", *(f"batch{number}" for number in range(10))]


async def test_what_is_meant_for_the_queue_is_not_forwarded(tmp_path: Path) -> None:
    """litellm #7144: the priority went on to the provider, which refused the call with 400."""
    control = {
        "X-LLMQD-Priority": "high",
        "X-LLMQD-Deadline": "30",
        "X-LLMQD-No-Queue": "0",
        "X-LLMQD-Session": "s",
        "X-LLMQD-Agent": "a",
        "X-LLMQD-User": "u",
        "X-LLMQD-Conversation": "c",
        "X-LLMQD-Tags": "x:y",
        "X-LLMQD-Store": "usage",
        "X-LLMQD-Anything-Else": "z",
    }
    body = b'{"model":"gpt-4o", "messages":[], "user":"u"}'
    async with (
        FakeUpstream(tolerant=True) as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url)) as daemon,
    ):
        assert (await chat(daemon, control, body=body)).status == 200
        [seen] = upstream.requests
        assert not [name for name in seen.header_names if "llmqd" in name]
        assert seen.body == body


@pytest.mark.parametrize(
    ("fair_by", "flood", "other"),
    [
        ("key", {"X-LLMQD-User": "runaway"}, {"X-LLMQD-User": "other"}),
        ("user", {"X-LLMQD-User": "runaway"}, {"X-LLMQD-User": "other"}),
        ("session", {"X-LLMQD-Session": "runaway"}, {"X-LLMQD-Session": "other"}),
        ("agent", {"X-LLMQD-Agent": "runaway"}, {"X-LLMQD-Agent": "other"}),
    ],
)
async def test_one_runaway_caller_does_not_starve_the_others(
    tmp_path: Path, fair_by: str, flood: Mapping[str, str], other: Mapping[str, str]
) -> None:
    """litellm #18128, llm-d #396: noisy neighbours; whoever sent the most had the key, and others waited behind it."""
    arrivals: list[Marked] = [(f"flood{number}", flood) for number in range(100)]
    order = await served(tmp_path, [*arrivals, ("single", other)], f'fair_by = "{fair_by}"')
    assert order.index("single") <= 2


async def test_fairness_counts_tokens_where_tokens_are_what_is_short(tmp_path: Path) -> None:
    """llm-d router #1182: fair by the number of requests, a tenant with long prompts took most of the tokens."""
    sizes = {"long": 20, "short": 1}
    async with FakeUpstream() as upstream:
        more = f"{ONE_BY_ONE}\ntokens_per_minute = 1000000000\n"
        toml = upstream_toml("openai", upstream.url, more) + '[queue]\nfair_by = "user"\n'
        async with running(tmp_path, toml) as daemon:
            calls = []
            async with held(daemon):
                for _ in range(30):
                    for user, size in sizes.items():
                        message = {"role": "user", "content": "word " * 2000 * size}
                        body = orjson.dumps({"model": "gpt-4o", "max_tokens": 10, "messages": [message]})
                        headers = {"X-LLMQD-User": user, "X-Mark": user}
                        calls.append(asyncio.create_task(chat(daemon, headers, body=body)))
                        await daemon.until(lambda: daemon.waiting == len(calls))
            await asyncio.gather(*calls)
        order = [request.header("x-mark") for request in upstream.requests]
    assert order[:22].count("long") <= 3
