"""Money is told in full."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from llmqd.usage import PICO, dollars


def test_dollars_have_the_digits_that_count() -> None:
    assert [dollars(pico) for pico in (0, 1, 1_350_000_000, 12 * PICO, 12_500 * PICO // 10, -3 * PICO // 2)] == [
        "0", "0.000000000001", "0.00135", "12", "1250", "-1.5",
    ]  # fmt: skip


@given(st.integers(-(2**63), 2**63))
def test_dollars_are_exact(pico: int) -> None:
    assert Decimal(dollars(pico)) == Decimal(pico).scaleb(-12)
