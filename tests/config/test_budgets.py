"""`[[budget]]`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.budgets import PERIODS, Allowance, Budget, amount_text, parse_allowance
from llmqd.config.load import load
from llmqd.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "amount", "unit", "period"),
    [
        ("20/day", 20 * 10**12, "usd", "day"),
        ("$0.50/hour", 5 * 10**11, "usd", "hour"),
        ("100 USD/life", 10**14, "usd", "life"),
        ("1M tokens/month", 10**6, "tokens", "month"),
        ("1.5k token/hour", 1500, "tokens", "hour"),
        ("500 calls/Day", 500, "calls", "day"),
    ],
)
def test_an_allowance_is_written_in_a_word(text: str, amount: int, unit: str, period: str) -> None:
    found = parse_allowance(text)
    assert (found.amount, found.unit, found.period) == (amount, unit, period)


@given(st.sampled_from(PERIODS), st.integers(1, 10**15))
def test_an_allowance_reads_back_as_it_was_written(period: str, nano: int) -> None:
    for allowance in (
        Allowance(nano * 1000, "usd", period),  # type: ignore[arg-type]
        Allowance(nano % 10**12 or 1, "tokens", period),  # type: ignore[arg-type]
    ):
        assert parse_allowance(str(allowance)) == allowance


@given(st.text(max_size=30))
def test_any_other_text_is_refused_in_words(text: str) -> None:
    try:
        found = parse_allowance(text)
    except ValueError:
        return
    assert found.amount > 0


def test_money_is_shown_to_people_without_needless_digits() -> None:
    assert [amount_text(pico, "usd") for pico in (2 * 10**13, 123_456_789_012, 9_150_000, 0)] == [
        "20 USD", "0.1235 USD", "0.00000915 USD", "0 USD",
    ]  # fmt: skip


def test_names_are_patterns() -> None:
    budget = Budget(limit=parse_allowance("1/day"), names=("team-*", "x"))
    assert [budget.has(name) for name in ("team-a", "x", "y")] == [True, True, False]


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[[budget]]\nby = "user"\n[[budget]]\nlimit = "20/week"\n' + 2 * '[[budget]]\nlimit = "5/day"\n')
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    first, second, third = caught.value.faults
    assert "line 1" in first
    assert "limit: missing" in first
    assert "line 4" in second
    assert "an amount and a period" in second
    assert "line 7" in third
    assert "give it a name" in third
