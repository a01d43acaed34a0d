"""Text for people at a terminal."""

from __future__ import annotations

import pytest

from llmqd.cli.table import cell, per_minute, span, table


def test_columns_are_as_wide_as_their_longest_text_and_numbers_stand_right() -> None:
    assert list(table(("LANE", "N"), [("openai/a", 5), ("x", 1000)], right=("N",))) == [
        "LANE         N",
        "openai/a     5",
        "x         1000",
    ]


def test_a_table_without_rows_is_its_heads() -> None:
    assert list(table(("LANE", "N"), [])) == ["LANE  N"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        (0, "0"),
        ("größer 日本", "größer 日本"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\t", "two\\nlines\\t"),
        ("\u202eback", "\\u202eback"),
    ],
)
def test_nothing_that_a_client_names_can_steer_the_terminal(value: object, shown: str) -> None:
    assert cell(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0, "0.00s"),
        (0.254, "0.25s"),
        (9.999, "10s"),
        (59.6, "1m00s"),
        (185, "3m05s"),
        (3599.9, "1h00m"),
        (7800, "2h10m"),
        (4 * 86400 + 6 * 3600 + 59, "4d06h"),
    ],
)
def test_a_length_of_time_has_its_two_largest_units(seconds: float | None, shown: str) -> None:
    assert span(seconds) == shown


def test_a_rate_of_none_is_any() -> None:
    assert (per_minute(0), per_minute(0.5), per_minute(600.0)) == ("any", "0.5/min", "600/min")
