"""What a call counts for."""

from __future__ import annotations

from typing import Any

import pytest

from llmqd.budgets.charge import NOTHING, Amount, charged

CALL: dict[str, Any] = {
    "status": "done", "error": None, "http_status": 200, "waited": True, "attempts": 1, "tokens": 30, "pico": 7,
    "reserved": (100, 50),
}  # fmt: skip

UNKNOWN: dict[str, Any] = {"tokens": None, "pico": None}


@pytest.mark.parametrize(
    ("case", "amount"),
    [
        ({}, Amount(1, 30, 7)),
        ({"pico": None}, Amount(1, 30, 50)),
        ({"http_status": 400, "tokens": None, "pico": None}, Amount(1, 0, 0)),
        ({"status": "cancelled", "http_status": None, "tokens": None, "pico": None}, Amount(1, 100, 50)),
        ({"status": "cancelled", "tokens": 12, "pico": 3}, Amount(1, 12, 3)),
        ({"status": "interrupted", "tokens": None, "pico": None}, Amount(1, 100, 50)),
        ({"status": "cut", "http_status": 500, "tokens": None, "pico": None}, Amount(1, 0, 0)),
        (UNKNOWN | {"status": "failed", "error": "upstream_timeout", "http_status": 504}, Amount(1, 100, 50)),
        (UNKNOWN | {"status": "failed", "error": "upstream_unreachable", "http_status": 502}, NOTHING),
        ({"status": "refused", "tokens": None, "pico": None}, NOTHING),
        ({"status": "abandoned", "attempts": 0, "tokens": None, "pico": None}, NOTHING),
        ({"waited": False}, NOTHING),
    ],
)  # fmt: skip
def test_what_may_have_to_be_paid_counts_and_nothing_else(case: dict[str, Any], amount: Amount) -> None:
    assert charged(**CALL | case) == amount
