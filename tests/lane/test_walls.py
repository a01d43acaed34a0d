"""What a refusal says, by what was read when it came and at the one before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.lane.walls import Wall, judge

UNKNOWN = float("inf")
GROWING = Wall(
    sent_at=100.0,
    amount=1.0,
    wait=1.0,
    rate=1500.0,
    proven=1400.0,
    minute=600.0,
    bucket=320.0,
    through=UNKNOWN,
    window=None,
    held=0.0,
    soon=0,
    sure=False,
    quiet=False,
    young=False,
)
"""A first wall, met while the rate was doubling."""


def test_the_end_of_a_window_that_was_named_says_it_all() -> None:
    assert judge(GROWING._replace(window=450.0), None)[:3] == pytest.approx((0.97 * 450, 450, 0.97 * 450))


def test_a_first_wall_is_a_full_minute_at_most_and_a_bucket_at_least() -> None:
    found = judge(GROWING, None)
    assert found[:3] == pytest.approx((0.97 * (600 * 320) ** 0.5, 1500, 1.03 * 600))
    assert found.trial


def test_a_wall_at_once_that_a_bucket_explains_again_is_taken_for_one_until_more_goes() -> None:
    again = GROWING._replace(sent_at=104.0, rate=425.0, minute=580.0, bucket=322.0, soon=1)
    assert judge(again, GROWING)[:2] == pytest.approx((0.97 * 322, 425))


def test_the_same_minute_to_the_call_is_a_window_though_the_rate_is_near_as_well() -> None:
    again = GROWING._replace(sent_at=180.0, rate=1450.0, minute=601.0, through=550.0)
    assert judge(again, GROWING)[:3] == pytest.approx((0.97 * 601, 601, 0.97 * 601))


def test_what_went_through_up_to_a_try_beyond_the_ceiling_is_no_bucket() -> None:
    tried = GROWING._replace(sent_at=300.0, rate=602.0, minute=589.0, bucket=351.0, through=468.0, held=610.0)
    again = tried._replace(sent_at=309.0, rate=601.0, minute=575.0, through=475.0, held=0.0, soon=1, sure=True)
    assert judge(again, tried).rate == pytest.approx(0.93 * 601)


def test_the_same_minute_again_at_once_is_a_window() -> None:
    again = GROWING._replace(sent_at=103.0, rate=582.0, soon=1)
    assert judge(again, GROWING)[:2] == pytest.approx((0.97 * 600, 600))


def test_the_same_rate_again_is_an_even_one() -> None:
    again = GROWING._replace(sent_at=140.0, rate=1480.0, minute=900.0, through=800.0)
    found = judge(again, GROWING)
    assert found.rate == pytest.approx(0.93 * 1480)
    assert found.sure


def test_what_went_through_between_walls_is_a_bucket_where_its_burst_says_the_same() -> None:
    bucket = GROWING._replace(sent_at=140.0, rate=1100.0, minute=1150.0, bucket=602.0, through=600.0)
    assert judge(bucket, GROWING._replace(minute=1170.0, bucket=604.0)).rate == pytest.approx(0.97 * 602)


def test_while_the_rate_is_steady_the_lower_reading_holds() -> None:
    assert judge(GROWING._replace(rate=610.0), None)[:2] == pytest.approx((0.97 * 600, 600))


def test_a_wall_at_once_after_a_cut_halves_the_rate() -> None:
    steady = GROWING._replace(rate=600.0)
    assert judge(steady._replace(sent_at=102.0, rate=582.0, soon=1), steady).rate == 291


def test_a_wall_at_once_after_a_step_of_growth_goes_back_to_the_rate_before_the_step() -> None:
    grown = GROWING._replace(rate=324.0, proven=297.0, minute=390.0)
    again = grown._replace(sent_at=102.0, rate=314.0, proven=0.0, soon=1)
    assert judge(again, grown).rate == pytest.approx(0.97 * 297)
    assert judge(again._replace(soon=2), grown).rate < 0.97 * 297


def test_a_wall_at_once_after_a_cut_that_was_almost_sure_does_not() -> None:
    steady = GROWING._replace(rate=600.0)
    assert judge(steady._replace(rate=582.0, soon=1, sure=True), steady).rate == pytest.approx(0.93 * 582)


def test_in_the_first_minute_of_work_the_minute_says_nothing() -> None:
    young = GROWING._replace(rate=70.0, proven=65.0, minute=8.0, bucket=7.0, young=True)
    assert judge(young, None).rate == pytest.approx(0.93 * 70)
    assert judge(young._replace(proven=10.0), None).rate == 35


def test_a_try_that_failed_near_by_leaves_what_had_been_let_through_before() -> None:
    assert judge(GROWING._replace(rate=612.0, held=600.0), None)[:2] == pytest.approx((0.985 * 600, 600))
    assert judge(GROWING._replace(rate=700.0, held=600.0), None).ceiling == 700
    assert judge(GROWING._replace(rate=500.0, held=600.0), None).rate < 500


def test_with_little_demand_only_the_rate_says_something() -> None:
    quiet = GROWING._replace(rate=600.0, minute=30.0, window=20.0, quiet=True)
    assert judge(quiet, None).rate == pytest.approx(0.93 * 600)
    assert judge(quiet._replace(soon=1), quiet).rate == 300


def test_a_first_refusal_where_nothing_was_limited_begins_with_what_the_minute_held() -> None:
    assert judge(GROWING._replace(rate=UNKNOWN), None).rate == pytest.approx(0.97 * 600)
    assert judge(GROWING._replace(rate=UNKNOWN, amount=200.0), None).rate == UNKNOWN


AMOUNTS = st.floats(0.1, 1e5)
WALLS = st.builds(
    Wall,
    sent_at=st.floats(0, 1000),
    amount=AMOUNTS,
    wait=st.floats(0, 60),
    rate=AMOUNTS,
    proven=AMOUNTS,
    minute=st.one_of(st.just(0.0), AMOUNTS),
    bucket=st.one_of(st.just(0.0), AMOUNTS),
    through=st.one_of(st.just(UNKNOWN), AMOUNTS),
    window=st.one_of(st.none(), AMOUNTS),
    held=st.one_of(st.just(0.0), AMOUNTS),
    soon=st.integers(0, 3),
    sure=st.booleans(),
    quiet=st.booleans(),
    young=st.booleans(),
)


@given(WALLS, st.one_of(st.none(), WALLS))
def test_a_wall_always_says_a_finite_rate_that_is_below_the_one_refused(wall: Wall, earlier: Wall | None) -> None:
    wall = wall._replace(window=None, minute=min(wall.minute, wall.rate))
    found = judge(wall, earlier)
    assert 0 <= found.rate < wall.rate or found.rate <= 0.97 * max(wall.bucket, wall.through)
    assert found.ceiling < UNKNOWN
