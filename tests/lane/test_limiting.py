"""Which meter keeps which limit, and that the default is safe whatever the provider does."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from itertools import pairwise

import pytest

from llmqd.config.limits import Limits
from llmqd.lane.limiting import meter_for
from llmqd.lane.meters import Bucket, Combined, Concurrency
from llmqd.lane.spacing import Even
from llmqd.lane.windows import FixedPeriods, FixedWindow, SlidingWindow
from llmqd.providers.presets import Algorithm
from tests.fake_upstream.limiters import FixedWindow as StrictFixed
from tests.fake_upstream.limiters import Limiter, TokenBucket, TokenLimit, quantised
from tests.fake_upstream.limiters import Meter as Strict
from tests.fake_upstream.limiters import SlidingWindow as StrictSliding
from tests.lane.answering import play_answers
from tests.lane.saturated import play

TPM = 200_000.0


def strict(kind: str, limit: float) -> Strict:
    kinds: dict[str, Callable[[], Strict]] = {
        "bucket": lambda: TokenBucket(limit, limit),
        "fixed": lambda: StrictFixed(limit),
        "sliding": lambda: StrictSliding(limit),
    }
    return kinds[kind]()


def twentyfold(chance: random.Random) -> float:
    return math.exp(chance.uniform(math.log(500), math.log(10_000)))


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        (Limits(), Even),
        (Limits(algorithm="even", burst=9), Even),
        (Limits(algorithm="bucket"), Even),
        (Limits(algorithm="bucket", burst=9), Bucket),
        (Limits(burst=9), Combined),
        (Limits(algorithm="fixed"), FixedPeriods),
        (Limits(algorithm="sliding"), SlidingWindow),
    ],
)
def test_calls_have_the_meter_of_their_algorithm(limits: Limits, kind: type) -> None:
    assert type(meter_for("requests_per_minute", 600, limits, 0.0)) is kind
    assert type(meter_for("requests_per_second", 10, limits, 0.0)) is (Combined if kind is Bucket else kind)


def test_days_and_places_have_their_own_whatever_the_algorithm() -> None:
    assert type(meter_for("requests_per_day", 5, Limits(day_zone="America/Los_Angeles"), 0.0)) is FixedWindow
    assert type(meter_for("max_concurrent", 5, Limits(algorithm="fixed"), 0.0)) is Concurrency


@pytest.mark.parametrize(("algorithm", "burst"), [("auto", 1), ("auto", 300), ("bucket", 300), ("sliding", 1)])
def test_a_second_is_a_second_whatever_a_minute_allows_at_once(algorithm: Algorithm, burst: int) -> None:
    meter = meter_for("requests_per_second", 5, Limits(algorithm=algorithm, burst=burst), 0.0)
    played = play(meter, StrictFixed(5, 1.0), 300)
    assert played.refused == 0
    assert played.utilisation >= 0.99


@pytest.mark.parametrize(
    ("algorithm", "burst", "quantum", "provider"),
    [
        ("auto", 20, 0, TokenBucket(600, 600)),
        ("auto", 20, 0, TokenBucket(600, 20)),
        ("auto", 20, 0, StrictFixed(600)),
        ("auto", 20, 0, StrictSliding(600)),
        ("auto", 20, 1, quantised(600, 1)),
        ("auto", 200, 10, quantised(600, 10)),
        ("bucket", 20, 0, TokenBucket(600, 20)),
        ("bucket", 20, 1, quantised(600, 1)),
        ("fixed", 1, 0, StrictFixed(600)),
        ("fixed", 1, 10, quantised(600, 10)),
        ("sliding", 1, 0, StrictSliding(600)),
        ("sliding", 1, 1, quantised(600, 1)),
    ],
)
def test_calls_by_a_chosen_algorithm_are_never_refused_by_their_provider(
    algorithm: Algorithm, burst: int, quantum: float, provider: Limiter
) -> None:
    meter = meter_for("requests_per_minute", 600, Limits(algorithm=algorithm, burst=burst, quantum=quantum), 0.0)
    played = play(meter, provider, 600, steady_from=120)
    assert played.refused == 0
    assert played.utilisation >= 0.99


@pytest.mark.parametrize("kind", ["bucket", "fixed", "sliding"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_tokens_by_default_are_never_refused_and_used_to_95_percent(kind: str, seed: int) -> None:
    meter = meter_for("tokens_per_minute", TPM, Limits(), 0.0)
    played = play(meter, strict(kind, TPM), TPM, steady_from=120, cost=twentyfold, seed=seed)
    assert played.refused == 0
    assert 0.95 <= played.utilisation <= 1.0


@pytest.mark.parametrize("algorithm", ["bucket", "fixed", "sliding"])
def test_tokens_by_a_chosen_algorithm_are_used_to_97_percent(algorithm: Algorithm) -> None:
    meter = meter_for("tokens_per_minute", TPM, Limits(algorithm=algorithm, reserve_output="max_tokens"), 0.0)
    played = play(meter, strict(algorithm, TPM), TPM, steady_from=120, cost=twentyfold)
    assert played.refused == 0
    assert played.utilisation >= 0.97


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_prompts_that_are_longer_than_they_look_overdraw_no_bucket_before_they_are_known(seed: int) -> None:
    meter = meter_for("input_tokens_per_minute", TPM, Limits(algorithm="bucket"), 0.0)
    provider, chance, now = strict("bucket", TPM), random.Random(seed), 1000.0
    under_way: deque[tuple[float, float, float]] = deque()
    while now < 1300.0:
        amount = twentyfold(chance) / 4
        now = max(now, meter.ready_at(amount, now))
        meter.take(amount, now)
        real = amount * chance.uniform(0.8, 1.2)
        assert provider.wait(now, real) <= 0
        provider.take(now, real)
        under_way.append((now + 3.0, now, real - amount))
        while under_way[0][0] <= now:
            _, at, change = under_way.popleft()
            meter.correct(change, now, at)


def test_tokens_are_paced_so_that_something_is_left_for_who_comes_later() -> None:
    meter = meter_for("tokens_per_minute", TPM, Limits(), 0.0)
    now = 1000.0
    while meter.ready_at(1000, now) <= now:
        meter.take(1000, now)
    assert meter.used(now) < 0.25
    assert meter.ready_at(1000, now) - now < 1


def test_a_heap_of_tokens_at_the_beginning_makes_no_gap_in_every_minute_after() -> None:
    meter = meter_for("tokens_per_minute", TPM, Limits(), 0.0)
    chance, now, times = random.Random(5), 1000.0, list[float]()
    while now < 1600.0:
        amount = twentyfold(chance) / 4
        due = meter.ready_at(amount, now)
        waited, now = due > now, max(due, now)
        meter.take(amount, now, waited=waited)
        times.append(now)
    assert max(later - earlier for earlier, later in pairwise(times) if earlier > 1070) < 6


def test_a_lane_that_was_idle_for_a_while_lets_ten_seconds_worth_go_at_once() -> None:
    meter = meter_for("tokens_per_minute", TPM, Limits(), 0.0)
    for now in (1000.0, 1100.0):
        for _ in range(15):
            assert meter.ready_at(2000, now) <= now
            meter.take(2000, now)


@pytest.mark.parametrize("kind", ["bucket", "fixed", "sliding"])
@pytest.mark.parametrize("seed", [1, 2])
def test_max_tokens_reserved_200k(kind: str, seed: int) -> None:
    limits = Limits(requests_per_minute=0, tokens_per_minute=TPM, reserve_output="max_tokens")
    answers = play_answers(limits, [TokenLimit(strict(kind, TPM), "reserved")], [TPM], seed=seed)
    assert answers.refused == 0
    assert answers.utilisation[0] >= 0.95


@pytest.mark.parametrize("kind", ["bucket", "fixed", "sliding"])
def test_max_tokens_reserved_and_refunded_200k(kind: str) -> None:
    limits = Limits(requests_per_minute=0, tokens_per_minute=TPM, reserve_output="refunded")
    answers = play_answers(limits, [TokenLimit(strict(kind, TPM), "refunded")], [TPM])
    assert answers.refused == 0
    assert answers.utilisation[0] >= 0.95


@pytest.mark.parametrize("kind", ["bucket", "fixed", "sliding"])
@pytest.mark.parametrize("says_max", [True, False])
def test_actual_output_200k(kind: str, says_max: bool) -> None:
    limits = Limits(requests_per_minute=0, tokens_per_minute=TPM)
    answers = play_answers(limits, [TokenLimit(strict(kind, TPM), "actual")], [TPM], says_max=says_max)
    assert answers.refused == 0
    assert answers.utilisation[0] >= 0.95


@pytest.mark.parametrize("kind", ["bucket", "fixed", "sliding"])
def test_input_alone_200k(kind: str) -> None:
    limits = Limits(requests_per_minute=0, tokens_per_minute=TPM, reserve_output="none")
    answers = play_answers(limits, [TokenLimit(strict(kind, TPM), "input")], [TPM])
    assert answers.refused == 0
    assert answers.utilisation[0] >= 0.95


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("otpm", "scarce"), [(30_000, 1), (90_000, 0)], ids=["output", "input"])
@pytest.mark.parametrize("algorithm", ["auto", "bucket"])
def test_input_and_output_apart_in_buckets(algorithm: Algorithm, otpm: float, scarce: int, seed: int) -> None:
    limits = Limits(
        requests_per_minute=0, input_tokens_per_minute=TPM, output_tokens_per_minute=otpm, algorithm=algorithm
    )
    provider = [TokenLimit(strict("bucket", TPM), "input"), TokenLimit(strict("bucket", otpm), "output")]
    answers = play_answers(limits, provider, [TPM, otpm], seed=seed)
    assert answers.refused == 0
    assert answers.utilisation[scarce] >= 0.95


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_slow_answers_cost_a_bucket_nothing_of_its_rate(seed: int) -> None:
    limits = Limits(
        requests_per_minute=0, input_tokens_per_minute=TPM, output_tokens_per_minute=30_000, algorithm="bucket"
    )
    provider = [TokenLimit(strict("bucket", TPM), "input"), TokenLimit(strict("bucket", 30_000), "output")]
    answers = play_answers(limits, provider, [TPM, 30_000], speed=30, seconds=1200, seed=seed)
    assert answers.refused == 0
    assert answers.utilisation[1] >= 0.97
