"""How the queue bench judges, on figures whose outcome is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.queue.figures import judged, settle_time
from bench.queue.rows import Row, Target, waves
from bench.queue.upstream import Spec, provider

ROW = Row(name="r", spec=Spec(kind="bucket of 1"), settings="", target=Target(utilisation=0.99), steady_after=10.0)


def counted(accepted: list[float], refused: list[float], **more: Any) -> dict[str, Any]:
    figures = {
        "began": 1000.0,
        "refused_at": refused,
        "refused": len(refused),
        "faulty": 0,
        "accepted": [(at, 100, 200, 1000) for at in accepted],
        "places": [],
    }
    return figures | more


def paced(per_minute: float, start: float = 1000.0, seconds: float = 70.0) -> list[float]:
    return [start + number * 60 / per_minute for number in range(round(per_minute * seconds / 60))]


@pytest.mark.parametrize(("per_minute", "verdict"), [(600, "met"), (597, "met"), (580, "missed")])
def test_the_whole_quota_must_be_used(per_minute: float, verdict: str) -> None:
    figures = judged(ROW, counted(paced(per_minute), []), 0, 0, [], until=1070.0)
    assert figures.verdict == verdict
    assert figures.utilisation == pytest.approx(per_minute / 600, abs=0.002)
    assert figures.per_minute == pytest.approx(per_minute, abs=2)


@pytest.mark.parametrize(("per_minute", "verdict"), [(600, "met"), (597, "met"), (590, "missed"), (610, "missed")])
def test_a_rate_must_be_held_in_both_directions(per_minute: float, verdict: str) -> None:
    row = replace(ROW, spec=Spec(kind="bucket"), target=Target(per_minute=600))
    assert judged(row, counted(paced(per_minute), []), 0, 0, [], until=1070.0).verdict == verdict


def test_more_than_was_allowed_is_a_fault_of_the_yardstick_and_not_a_success() -> None:
    row = replace(ROW, spec=Spec(kind="sliding"))
    assert judged(row, counted(paced(660), []), 0, 0, [], until=1070.0).verdict == "missed"


@pytest.mark.parametrize(("refused", "client_429", "errors"), [([1005.0], 0, 0), ([], 1, 0), ([], 0, 1)])
def test_one_429_or_error_misses_the_target(refused: list[float], client_429: int, errors: int) -> None:
    assert judged(ROW, counted(paced(600), refused), client_429, errors, [], until=1070.0).verdict == "missed"


def test_an_upstream_that_never_saw_a_call_misses_the_target() -> None:
    nothing = counted([], [], began=None)
    assert judged(ROW, nothing, 0, 0, [], until=1070.0).verdict == "missed"


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


@pytest.mark.parametrize("long", [False, True])
def test_every_row_has_a_name_of_its_own_and_a_provider_that_can_be_built(long: bool) -> None:
    every = [row for wave in waves(long=long) for row in wave.rows]
    assert len({row.name for row in every}) == len(every) == 25
    for row in every:
        provider(row.spec)


def test_who_is_judged_to_the_millisecond_has_little_company() -> None:
    for wave in waves(long=False):
        exact = [row for row in wave.rows if row.spec.kind in ("bucket of 1", "quantised")]
        assert not exact or len(wave.rows) <= 5


def test_the_short_form_is_over_within_twenty_minutes() -> None:
    assert sum(max(row.seconds for row in wave.rows) for wave in waves(long=False)) <= 17 * 60


def test_what_is_bounded_for_ten_minutes_runs_so_long_in_the_long_form() -> None:
    bounded = [row for wave in waves(long=True) for row in wave.rows if row.name.startswith("unknown")]
    assert len(bounded) == 10
    assert all(row.seconds >= 600 for row in bounded)
