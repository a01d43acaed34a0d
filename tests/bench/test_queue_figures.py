"""How the queue bench counts and judges, on figures whose outcome is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.queue_figures import judged, settle_time, used
from bench.queue_rows import Row, Target, alone, rows
from bench.queue_upstream import Spec, provider
from tests.fake_upstream.limiters import TokenLimit, Tokens

ROW = Row(name="r", spec=Spec(kind="bucket"), settings="", target=Target(utilisation=(0.99, 9.0)), steady_after=10.0)


def counted(accepted: list[float], refused: list[float], **more: Any) -> dict[str, Any]:
    figures = {
        "began": 1000.0,
        "refused_at": refused,
        "refused": len(refused),
        "faulty": 0,
        "accepted": [(at, 100, 200, 1000) for at in accepted],
    }
    return figures | more


def paced(per_minute: float, start: float = 1000.0, seconds: float = 70.0) -> list[float]:
    return [start + number * 60 / per_minute for number in range(round(per_minute * seconds / 60))]


@pytest.mark.parametrize(("per_minute", "verdict"), [(600, "met"), (597, "met"), (580, "missed")])
def test_the_whole_quota_must_be_used(per_minute: float, verdict: str) -> None:
    figures = judged(ROW, counted(paced(per_minute), []), 0, 0, [], until=1070.0)
    assert figures.verdict == verdict
    assert figures.utilisation == pytest.approx(per_minute / 600, abs=0.002)


def test_a_burst_before_the_steady_part_does_not_count() -> None:
    accepted = [1000.0] * 600 + paced(300)
    assert used(ROW, [(at, 0, 0, 0) for at in accepted], 1010.0, 1070.0) == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize(("refused", "client_429", "errors"), [([1005.0], 0, 0), ([], 1, 0), ([], 0, 1)])
def test_one_429_or_error_misses_the_target(refused: list[float], client_429: int, errors: int) -> None:
    assert judged(ROW, counted(paced(600), refused), client_429, errors, [], until=1070.0).verdict == "missed"


def test_an_upstream_that_never_saw_a_call_misses_the_target() -> None:
    nothing = counted([], [], began=None)
    assert judged(ROW, nothing, 0, 0, [], until=1070.0).verdict == "missed"


def test_of_several_limits_the_fullest_counts_as_the_upstream_counts_it() -> None:
    spec = Spec(tokens={"input-tokens": ("input", "bucket", 60_000), "output-tokens": ("output", "bucket", 400_000)})
    accepted = [(at, 100, 200, 1000) for at in paced(600)]
    assert used(replace(ROW, spec=spec), accepted, 1010.0, 1070.0) == pytest.approx(1.0, abs=0.002)
    reserved = Spec(tokens={"tokens": ("reserved", "bucket", 660_000)})
    assert used(replace(ROW, spec=reserved), accepted, 1010.0, 1070.0) == pytest.approx(1.0, abs=0.002)


def test_places_are_used_by_the_seconds_that_calls_take() -> None:
    spec = Spec(concurrency=4, seconds=0.1, seconds_per_token=0.001)
    accepted = [(at, 100, 200, 1000) for at in paced(600)]
    assert used(replace(ROW, spec=spec), accepted, 1010.0, 1070.0) == pytest.approx(10 * 0.3 / 4, abs=0.002)


@pytest.mark.parametrize(
    ("refused", "settled"),
    [([], None), ([5.0], 0.0), ([5.0, 9.0, 12.0], 7.0), ([5.0, 9.0, 60.0], 4.0), ([5.0, 30.0, 55.0], 50.0)],
)
def test_a_lane_has_settled_when_429s_cease(refused: list[float], settled: float | None) -> None:
    assert settle_time(refused) == settled


@pytest.mark.parametrize(
    ("refused", "verdict"),
    [([1041.0, 1045.0], "met"), ([1041.0, 1055.0], "missed"), ([1020.0, 1041.0], "missed"), ([], "missed")],
)
def test_a_change_must_be_met_settled_in_time_and_not_announced_by_earlier_429s(
    refused: list[float], verdict: str
) -> None:
    row = replace(ROW, spec=Spec(kind="bucket", change=(40.0, 0.5)), target=Target(settled=10.0))
    assert judged(row, counted(paced(600), refused), 0, 0, [], until=1070.0).verdict == verdict


def test_every_row_has_a_name_of_its_own_and_a_provider_that_can_be_built() -> None:
    for long in (False, True):
        every = [*rows(long=long), *alone(long=long)]
        assert len({row.name for row in every}) == len(every)
        for row in every:
            provider(row.spec)
            assert row.steady_after < row.seconds


def test_token_limits_are_counted_as_they_are_charged() -> None:
    tokens = Tokens(100, 200, 1000)
    for row in rows(long=False):
        for limit, _ in provider(row.spec).tokens.values():
            assert isinstance(limit, TokenLimit)
            assert limit.counted(tokens) in (100, 200, 300, 1100)
