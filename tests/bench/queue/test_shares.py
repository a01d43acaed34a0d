"""What the bench says of the order: each promise, at its bound."""

from __future__ import annotations

import pytest

from bench.queue.shares import aged, equal, flooded, overtaken, shares, weighted


def test_every_promise_about_the_order_is_kept() -> None:
    assert [one.name for one in shares() if not one.met] == []


def test_a_flood_delays_another_tenant_by_two_grants_at_most() -> None:
    assert flooded() <= 2


def test_a_high_call_passes_a_thousand_low_ones() -> None:
    assert overtaken() == 0


@pytest.mark.parametrize("weight", [1.0, 3.0, 4.0])
def test_grants_follow_weights(weight: float) -> None:
    assert weighted(weight) == pytest.approx(weight, rel=0.02)


def test_equal_tenants_get_equal_tokens_whatever_single_calls_cost() -> None:
    assert equal() >= 0.99


def test_a_batch_call_is_served_within_its_ageing_but_not_before_it_is_due() -> None:
    assert 200 <= aged() <= 300
