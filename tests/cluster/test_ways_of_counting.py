"""Four daemons that share a lane before a strict provider of each kind, in virtual time: no refusal, full use, fair."""

from __future__ import annotations

import pytest

from llmqd.config.model import Limits
from tests.cluster.members import Provider, World
from tests.fake_upstream import Concurrency, FixedWindow, SlidingWindow, TokenBucket, quantised
from tests.fake_upstream.limiters import Charging, Meter, TokenLimit

LEAST = 0.98
"""The share of the limit that has to be used."""
FAIR = 0.03


@pytest.mark.parametrize(
    ("limits", "calls", "seconds"),
    [
        (Limits(600), TokenBucket(600, 1), 70),
        (Limits(600, algorithm="bucket", burst=20), TokenBucket(600, 20), 70),
        (Limits(600, algorithm="bucket", burst=600), TokenBucket(600, 600), 130),
        (Limits(600, quantum=1.0), quantised(600), 70),
        (Limits(600, algorithm="fixed"), FixedWindow(600), 130),
        (Limits(600, algorithm="sliding"), SlidingWindow(600), 130),
        (Limits(3000), TokenBucket(3000, 60), 40),
    ],
    ids=["bucket of 1", "bucket of 20", "bucket", "quantised", "fixed", "sliding", "fast"],
)
def test_calls_of_all_daemons_use_a_limit_and_never_pass_it(limits: Limits, calls: Meter, seconds: float) -> None:
    world = World(provider=Provider(calls=calls), limits=limits).play(seconds)
    assert world.refused == []
    assert world.use(limits.requests_per_minute, 10, 10 + (seconds - 10) // 60 * 60 if seconds > 69 else 40) >= LEAST
    if limits.algorithm in ("auto", "bucket"):  # else all go at once when a window begins, and nobody has to wait then
        assert world.unfairness <= FAIR


def test_a_call_that_leaves_late_keeps_the_next_one_away() -> None:
    provider = Provider(calls=TokenBucket(600, 1))
    world = World(provider=provider, limits=Limits(600), written_late=(0.1, 0.02)).play(60)
    assert world.refused == []


def test_slow_messages_cost_rate_but_no_refusal() -> None:
    limits = Limits(600, algorithm="bucket", burst=20)
    world = World(provider=Provider(calls=TokenBucket(600, 20)), limits=limits, hop=(0.01, 0.1)).play(40)
    assert world.refused == []
    assert world.use(600, 10, 40) >= 0.9


@pytest.mark.parametrize(("per_minute", "hop", "least"), [(1200, (0.03, 0.08), 0.35), (600, (0.15, 0.4), 0.15)])
def test_slow_messages_do_not_keep_calls_away_that_keep_their_distance(
    per_minute: int, hop: tuple[float, float], least: float
) -> None:
    provider = Provider(calls=TokenBucket(per_minute, 1))
    world = World(provider=provider, limits=Limits(per_minute), hop=hop).play(40)
    assert world.refused == []
    assert world.use(per_minute, 10, 40) >= least  # as many as messages go there and back


@pytest.mark.parametrize("places", [8, 20])
def test_places_are_used_but_for_the_way_of_the_news(places: int) -> None:
    provider = Provider(places=Concurrency(places), seconds=0.6)
    world = World(provider=provider, limits=Limits(0, max_concurrent=places)).play(40)
    assert world.refused == []
    assert world.places_used(places, 5, 35) >= LEAST
    assert world.unfairness <= FAIR


@pytest.mark.parametrize(("charging", "setting"), [("reserved", "max_tokens"), ("actual", "typical")])
def test_tokens_of_all_daemons_are_counted_together(charging: Charging, setting: str) -> None:
    limits = Limits(0, tokens_per_minute=200_000, reserve_output=setting)  # type: ignore[arg-type]
    tokens = TokenLimit(SlidingWindow(200_000), charging)
    world = World(provider=Provider(tokens=tokens, seconds=0.5), limits=limits, steady_from=60).play(190)
    assert world.refused == []
    assert world.tokens_used(200_000, 65, 185) >= 0.95


def test_a_limit_that_headers_name_is_learned_by_all() -> None:
    provider = Provider(calls=TokenBucket(600, 600), headers=600)
    world = World(provider=provider, limits=Limits(assumed=True), learns=True).play(130)
    assert len(world.refused) <= 3
    assert world.use(600, 65, 125) >= 0.95


def test_a_limit_that_nobody_names_is_found_by_all() -> None:
    provider = Provider(calls=TokenBucket(600, 1))
    world = World(provider=provider, limits=Limits(assumed=True), learns=True).play(310)
    assert len(world.refused) <= 10
    assert world.use(600, 180, 300) >= 0.85


def test_a_limit_that_is_halved_is_kept_at_once() -> None:
    provider = Provider(calls=TokenBucket(600, 1), headers=600, change=(30.0, 0.5))
    world = World(provider=provider, limits=Limits(600), learns=True).play(130)
    assert all(at < 45 for at in world.refused), world.refused
    assert world.use(300, 65, 125) >= 0.9
