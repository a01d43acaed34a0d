"""Numbers and names from outside are checked before they count."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llmqd.providers.facts import Facts, Stage, amount, count, pico, text
from llmqd.usage import Usage


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (7, 7), (5.0, 5), (10**12, 10**12)])
def test_whole_numbers_count(value: object, expected: int) -> None:
    assert count(value) == expected


@pytest.mark.parametrize(
    "value", [True, False, None, -1, -0.5, 1.5, 10**12 + 1, float("nan"), float("inf"), "3", [], {}]
)
def test_anything_else_does_not_count(value: object) -> None:
    assert count(value) is None


@pytest.mark.parametrize("value", [True, None, -1, float("nan"), float("inf"), "3", 10**7])
def test_amounts_are_checked_likewise(value: object) -> None:
    assert amount(value) is None


def test_dollars_are_exact() -> None:
    value = amount(0.1)
    assert value == Decimal("0.1")
    assert pico(value) == 100_000_000_000


@pytest.mark.parametrize(
    ("value", "expected"), [("a", "a"), ("", None), (3, None), (None, None), ("x" * 300, "x" * 256)]
)
def test_names_are_strings_of_bounded_length(value: object, expected: str | None) -> None:
    assert text(value) == expected


def test_final_report_is_not_undone_by_a_running_one() -> None:
    facts = Facts()
    facts.report(Usage(1, 1, service_tier="flex"), Stage.RUNNING)
    facts.report(Usage(1, 5), Stage.FINAL)
    facts.report(Usage(1, 2), Stage.RUNNING)
    assert (facts.usage, facts.stage) == (Usage(1, 5, service_tier="flex"), Stage.FINAL)
    facts.report(Usage(1, 6), Stage.FINAL)
    assert facts.usage.output == 6
