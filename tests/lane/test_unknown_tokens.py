"""Limits on tokens that nobody has told are found, though answers and prompts vary twentyfold: in virtual time."""

from __future__ import annotations

import pytest

from tests.lane.unknown_tokens import KINDS, LIMITS, Case, Course


def told(case: Case, course: Course) -> str:
    share = course.use(case.steady_from, 600.0)
    return f"{case.name}: {len(course.walls)} walls, {course.errors} errors, {share:.3f} used"


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_that_are_reserved_are_found_as_they_are_counted(kind: str) -> None:
    """What comes out says nothing about a limit that counts what a request allows."""
    case = Case("TPM reserved", kind, "named")
    course = case.play()
    assert case.is_met(course), told(case, course)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limits", LIMITS)
def test_limits_that_headers_name_are_used_and_kept(limits: str, kind: str) -> None:
    case = Case(limits, kind, "headers", calls=True)
    course = case.play()
    assert case.is_met(course), told(case, course)


@pytest.mark.parametrize("limits", ["OTPM and ITPM", "ITPM and OTPM"])
def test_a_bucket_that_was_refused_is_taken_to_be_empty(limits: str) -> None:
    """A limit that is learned because nothing is left of it must not begin with a whole minute's tokens."""
    case = Case(limits, "bucket", "named")
    course = case.play()
    assert case.is_met(course), told(case, course)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limits", ["OTPM and ITPM", "ITPM and OTPM"])
def test_a_refusal_that_names_no_limit_is_not_blamed_on_calls_that_had_passed_as_fast_before(
    limits: str, kind: str, seed: int
) -> None:
    """First calls are met, then tokens, then calls again: what was found of the first is not given up meanwhile."""
    case = Case(limits, kind, "Retry-After", calls=True)
    course = case.play(seed)
    assert case.is_met(course), told(case, course)
