"""Limits that nobody has told are found, on every kind of upstream, near and far: the whole lane in virtual time."""

from __future__ import annotations

import pytest

from llmqd.config.limits import Limits
from llmqd.providers.presets import Algorithm
from tests.lane.unknown_limit import KINDS, TELLS, Case, Play, Tells


def told(case: Case) -> str:
    course = case.play()
    return (
        f"{case.name}: {len(course.walls)} walls, {course.errors} errors,"
        f" {course.use(case.limit, case.steady_from, 600.0):.3f} used"
    )


@pytest.mark.parametrize("tells", TELLS)
@pytest.mark.parametrize("delay", [0.05, 0.2, 1.0, 5.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_small_limit_is_found_with_few_refusals_that_no_client_sees(kind: str, delay: float, tells: Tells) -> None:
    case = Case(kind, 60, delay, tells)
    assert case.is_met(case.play()), told(case)


@pytest.mark.parametrize("tells", TELLS)
@pytest.mark.parametrize("delay", [0.05, 5.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_usual_limit_is_found_with_few_refusals_that_no_client_sees(kind: str, delay: float, tells: Tells) -> None:
    case = Case(kind, 600, delay, tells)
    assert case.is_met(case.play()), told(case)


@pytest.mark.parametrize(
    ("kind", "delay", "tells"), [("quantised", 0.2, "Retry-After"), ("sliding minute", 1.0, "nothing")]
)
def test_a_large_limit_is_found_with_few_refusals_that_no_client_sees(kind: str, delay: float, tells: Tells) -> None:
    case = Case(kind, 3000, delay, tells)
    assert case.is_met(case.play()), told(case)


@pytest.mark.parametrize("answers", [0.05, 0.2, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_near_or_far_hardly_more_calls_are_refused_than_there_are_walls(kind: str, answers: float) -> None:
    course = Case(kind, 600, answers, "Retry-After").play(refusal=min(answers, 0.2))
    assert len(course.refused) <= 10
    assert course.errors == 0
    assert course.use(600, 180, 600) >= 0.9


@pytest.mark.parametrize(("answers", "late"), [(0.05, 0.02), (0.2, 0.0), (0.2, 0.2)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_halved_by_the_provider_is_settled_within_ten_seconds(kind: str, answers: float, late: float) -> None:
    """Calls arrive up to `late` seconds late, but less where that alone would make the upstream refuse them."""
    late = min(late, 0.02) if kind in ("bucket of 1", "quantised") else late
    limits = Limits(requests_per_minute=600)
    play = Play(KINDS[kind](600), delay=answers, change=(150.0, 0.5), seconds=480.0, limits=limits, slow=(1.0, late))
    course = play.run()
    first = next(at for at in course.refused if at >= 150.0)
    assert not [at for at in course.refused if first + 10 < at < first + 35]
    assert course.errors == 0
    assert course.use(300, 300, 480) >= 0.75


@pytest.mark.parametrize("kind", ["bucket of 1", "quantised", "sliding minute"])
def test_a_limit_halved_by_the_provider_is_in_use_again_within_the_minute(kind: str) -> None:
    limits = Limits(requests_per_minute=600)
    course = Play(KINDS[kind](600), change=(60.0, 0.5), seconds=180.0, limits=limits).run()
    assert course.errors == 0
    assert course.use(300, 95, 180) >= 0.9


@pytest.mark.parametrize("kind", ["bucket of 1", "sliding minute"])
def test_a_limit_doubled_by_the_provider_is_found_again_within_minutes(kind: str) -> None:
    course = Play(KINDS[kind](300), change=(300.0, 2.0), seconds=840.0).run()
    assert course.errors == 0
    assert course.use(600, 720, 840) >= 0.85


def test_a_limit_doubled_in_the_headers_is_used_as_soon_as_they_agree() -> None:
    course = Play(KINDS["bucket of 1"](300), "headers", change=(120.0, 2.0), seconds=300.0, header_limit=300.0).run()
    assert course.refused == []
    assert course.use(600, 190, 300) >= 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_limit_that_is_configured_is_never_refused_and_never_changed(kind: str) -> None:
    limits = Limits(requests_per_minute=600)
    play = Play(KINDS[kind](600), "nothing", limits=limits, seconds=300.0)
    course = play.run()
    assert course.refused == []
    assert play.throttle.learned(0.0) == []
    assert course.use(600, 60, 300) >= 0.99


@pytest.mark.parametrize("tells", ["headers", "Retry-After"])
def test_calls_that_are_slow_on_the_way_now_and_then_cost_a_known_limit_little(tells: Tells) -> None:
    limits = Limits(assumed=True) if tells == "headers" else Limits(requests_per_minute=600)
    play = Play(KINDS["bucket of 1"](600), tells, limits=limits, header_limit=600.0, slow=(0.0005, 0.04), seed=2)
    course = play.run()
    assert course.walls
    assert course.errors == 0
    assert course.use(600, 60, 600) >= 0.975


@pytest.mark.parametrize("kind", KINDS)
def test_a_configured_limit_that_is_too_high_is_lowered(kind: str) -> None:
    course = Play(KINDS[kind](600), limits=Limits(requests_per_minute=3000)).run()
    assert course.errors == 0
    assert len(course.walls) <= 10
    assert course.use(600, 180, 600) >= 0.9


@pytest.mark.parametrize("limit", [300, 600])
@pytest.mark.parametrize("kind", ["bucket of 1", "quantised", "sliding minute"])
@pytest.mark.parametrize(("algorithm", "burst"), [("bucket", 300), ("fixed", 1), ("sliding", 1), ("auto", 100)])
def test_a_way_of_counting_that_is_configured_wrongly_costs_little(
    algorithm: Algorithm, burst: int, kind: str, limit: float
) -> None:
    limits = Limits(requests_per_minute=600, algorithm=algorithm, burst=burst)
    course = Play(KINDS[kind](limit), limits=limits).run()
    assert course.errors == 0
    assert len(course.walls) <= 10
    assert course.use(limit, 180, 600) >= 0.9


def test_what_is_learned_never_passes_what_is_configured() -> None:
    limits = Limits(requests_per_minute=300)
    course = Play(KINDS["bucket of 1"](600), "headers", limits=limits, seconds=180.0, header_limit=600.0).run()
    assert course.refused == []
    assert len([at for at in course.accepted if 60 <= at < 120]) <= 301


@pytest.mark.parametrize("named", [1200.0, 14_400.0])
def test_a_header_that_names_more_than_is_let_through_misleads_only_once(named: float) -> None:
    course = Play(KINDS["bucket of 1"](600), "headers", header_limit=named).run()
    assert course.errors == 0
    assert len([at for at in course.walls if at > 60]) <= 6
    assert course.use(600, 180, 600) >= 0.9
