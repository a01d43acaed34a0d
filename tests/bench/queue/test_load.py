"""The bench's own clients and upstream, against each other."""

from __future__ import annotations

import random

import orjson
import pytest

from bench.queue.load import Calls, Load
from bench.queue.upstream import Spec, figures, provider
from tests.fake_upstream import FakeUpstream, json_answer


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_saturating_clients_and_upstream_count_the_same(path: str) -> None:
    played = provider(Spec(kind="bucket", per_minute=600_000, seconds=0.0, lengths=(10, 200)))
    async with FakeUpstream(played, tolerant=True) as upstream:
        load = Load(upstream.port, Calls(path=path, prompt_bytes=(100, 2000), max_tokens=(100, 100)))
        await load.run(clients=4, seconds=0.4)
    counted = figures(played, upstream.refused)
    assert load.failed == load.refused == counted["refused"] == 0
    assert 0 <= len(counted["accepted"]) - load.statuses[200] <= 4
    assert load.statuses[200] > 20


async def test_refusals_and_faults_are_told_apart() -> None:
    played = provider(Spec(kind="fixed", per_minute=5, seconds=0.0, faults=1.0))
    async with FakeUpstream(played, tolerant=True) as upstream:
        load = Load(upstream.port, Calls())
        await load.run(clients=10, seconds=0.3)
    assert load.failed == played.faulty == 5
    assert load.refused == len(played.refused) > 0
    assert load.errors


async def test_an_answer_that_breaks_off_counts_as_an_error() -> None:
    async with FakeUpstream(json_answer({"a": 1}).but(length=99, end="cut"), tolerant=True) as upstream:
        load = Load(upstream.port, Calls())
        await load.run(clients=1, seconds=0.1)
    assert load.broken == 1
    assert "IncompleteReadError" in load.errors[0]


def test_calls_vary_within_their_bounds() -> None:
    rng = random.Random(5)
    calls = Calls(prompt_bytes=(200, 4000), max_tokens=(100, 2000))
    bodies = [orjson.loads(calls.draw(rng).partition(b"\r\n\r\n")[2]) for _ in range(500)]
    sizes = [len(body["messages"][0]["content"]) for body in bodies]
    assert 200 <= min(sizes) < 250
    assert 3500 < max(sizes) <= 4000
    assert {body["max_tokens"] > 447 for body in bodies} == {True, False}
    assert sum("stream" in body for body in bodies) == pytest.approx(250, abs=50)
