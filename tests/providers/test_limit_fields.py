"""Limits in the RateLimit fields of the IETF's drafts and in the bare ones of gateways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.providers.limit_headers import read_limits, wait_of
from llmqd.providers.limit_values import Observed

WALL = 1_795_000_000.0
DAY = 86_400.0

Seen = tuple[str, float, float, float | None, float | None]


def seen(headers: dict[str, str], preset: str = "openai") -> list[Seen]:
    """Dimension, window, limit, remaining and reset of each."""
    return [
        (one.dimension, one.window, one.limit, one.remaining, one.resets_in)
        for one in read_limits(headers, preset, WALL)
    ]


def three(limit: str, remaining: str, reset: str, prefix: str = "RateLimit") -> dict[str, str]:
    return {f"{prefix}-Limit": limit, f"{prefix}-Remaining": remaining, f"{prefix}-Reset": reset}


def test_the_three_fields_of_the_first_drafts() -> None:
    assert read_limits(three("300", "280", "53"), "openai", WALL) == (
        Observed(
            dimension="requests",
            window=60,
            limit=300,
            remaining=280,
            resets_in=53,
            continuous=False,
            header="ratelimit-limit",
        ),
    )


@pytest.mark.parametrize(
    ("limit", "found"),
    [
        ("100, 100;w=60", [("requests", 60, 100, 50, 30)]),
        ("100, 100; w=10", [("requests", 10, 100, 50, None)]),
        ("100;w=60", [("requests", 60, 100, 50, 30)]),
        (
            "50, 10;w=1, 50;w=60, 1000;w=3600",
            [("requests", 1, 10, None, None), ("requests", 60, 50, 50, 30), ("requests", 3600, 1000, None, None)],
        ),
        (
            '100, 100;w=60;name="minute, of all", 5000;window=1000;w=86400;burst=1000;comment="a bucket; leaks"',
            [("requests", 60, 100, 50, 30), ("requests", DAY, 5000, None, None)],
        ),
        ("100, 100;w=1, 100;w=60", [("requests", 1, 100, None, None), ("requests", 60, 100, 50, 30)]),
    ],
)
def test_windows_that_stand_with_the_limit(limit: str, found: list[Seen]) -> None:
    assert seen(three(limit, "50", "30")) == found


def test_windows_that_stand_apart_as_express_rate_limit_sends_them() -> None:
    headers = {"ratelimit-policy": "100;w=900"} | three("100", "99", "58")
    assert seen(headers) == [("requests", 900, 100, 99, 58)]


def test_a_policy_of_which_only_the_rest_is_told() -> None:
    headers = {"RateLimit-Policy": "20;w=60, 200;w=3600", "RateLimit-Remaining": "3", "RateLimit-Reset": "12"}
    assert seen(headers) == [("requests", 60, 20, 3, 12), ("requests", 3600, 200, None, None)]


def test_the_one_field_of_the_seventh_draft() -> None:
    headers = {"RateLimit": "limit=100, remaining=99, reset=3000", "RateLimit-Policy": "10;w=1, 100;w=3600"}
    assert seen(headers) == [("requests", 1, 10, None, None), ("requests", 3600, 100, 99, 3000)]
    assert seen({"RateLimit": "limit=100, remaining=50, reset=5"}) == [("requests", 60, 100, 50, 5)]


@pytest.mark.parametrize(
    ("policy", "state", "found"),
    [
        ('"default";q=100;w=60', '"default";r=50;t=30', [("requests", 60, 100, 50, 30)]),
        ('"10-in-1sec"; q=10; w=1; pk=:MTIz:', '"10-in-1sec"; r=9; t=1', [("requests", 1, 10, 9, 1)]),
        ("default;q=60;w=60", "default;r=0;t=60", [("requests", 60, 60, 0, 60)]),
        (
            '"burst";q=100;w=60,"daily";q=1000;w=86400',
            '"daily";r=0;t=40000',
            [("requests", 60, 100, None, None), ("requests", DAY, 1000, 0, 40_000)],
        ),
        ('"hour";q=500', '"hour";r=7;t=1800', [("requests", 3600, 500, 7, 1800)]),
        ('"permin";q=50;w=60', "", [("requests", 60, 50, None, None)]),
        ('"a, b; q=7";q=50;w=60', '"a, b; q=7";r=1;t=2', [("requests", 60, 50, 1, 2)]),
    ],
)
def test_policies_and_what_is_left_by_names(policy: str, state: str, found: list[Seen]) -> None:
    assert seen({"RateLimit-Policy": policy, "RateLimit": state}) == found


def test_what_is_counted_is_told_by_unit_or_by_name() -> None:
    policy = '"requests";q=100;w=60, "input-tokens";q=40000;w=60, "out";q=8000;w=60;qu="output-tokens"'
    policy += ', "tpm";q=50000;w=60;qu="tokens", "bytes";q=9;w=60;qu="content-bytes", "spent";q=5;w=60;qu="cents"'
    assert [one[0] for one in seen({"RateLimit-Policy": policy})] == [
        *("requests", "input_tokens", "output_tokens", "tokens")
    ]


def test_envoy_sends_the_first_drafts_under_older_names() -> None:
    headers = three("10, 10;w=1, 100;w=60", "2", "1", "x-ratelimit")
    assert seen(headers) == [("requests", 1, 10, 2, 1), ("requests", 60, 100, None, None)]


def test_kong_has_a_name_for_each_window_beside_the_standard_ones() -> None:
    headers = {"X-RateLimit-Limit-Minute": "5", "X-RateLimit-Remaining-Minute": "4"} | three("5", "4", "60")
    assert seen(headers) == [("requests", 60, 5, 4, None), ("requests", 60, 5, 4, 60)]


@pytest.mark.parametrize("reset", ["1800", f"{WALL + 1800:.0f}", f"{(WALL + 1800) * 1000:.0f}", "30m0s"])
def test_bare_numbers_have_a_reset_in_any_unit(reset: str) -> None:
    assert seen(three("20", "0", reset, "X-RateLimit"), "openrouter") == [("requests", 3600, 20, 0, 1800)]


def test_the_standard_fields_go_before_the_bare_ones() -> None:
    assert seen(three("100, 100;w=3600", "9", "40") | three("100", "9", "40", "X-RateLimit")) == [
        ("requests", 3600, 100, 9, 40)
    ]


@pytest.mark.parametrize(
    ("limit", "remaining", "reset"),
    [
        ("0", "0", "30"),
        ("-1", "0", "30"),
        ("2147483647", "2147483646", "30"),
        ("9223372036854775807", "1", "30"),
        ("many", "1", "30"),
        ("100", "99", "99999999999999999"),
        ("100", "99", "soon"),
        ("100", "99", "-5"),
        ("100", "99", ""),
        ("", "99", "30"),
        ("100;w=0, 100;w=-1", "99", "tomorrow"),
        ("100, 100;w=99999999999", "99", ""),
    ],
)
@pytest.mark.parametrize("prefix", ["RateLimit", "X-RateLimit"])
def test_what_makes_no_sense_says_nothing(prefix: str, limit: str, remaining: str, reset: str) -> None:
    assert seen(three(limit, remaining, reset, prefix)) == []


@pytest.mark.parametrize(
    "policy", ['"d";q=0;w=60', '"d";q=x;w=60', '"d";w=60', '"d"', ";;;", '"', "", '"d";q=5', "=,="]
)
def test_a_policy_that_makes_no_sense_says_nothing(policy: str) -> None:
    assert seen({"RateLimit-Policy": policy}) == []


def test_more_than_all_cannot_remain_nor_a_window_last_longer_than_it_is() -> None:
    assert seen(three("100, 100;w=60", "500", "3000")) == [("requests", 60, 100, 100, None)]


@pytest.mark.parametrize(
    ("remaining", "reset", "continuous"), [(0, 60, True), (90, 6, True), (0, 21, False), (90, 59, False)]
)
def test_what_refills_all_the_time_is_told_by_the_time_until_it_is_whole(
    remaining: int, reset: int, continuous: bool
) -> None:
    headers = {"RateLimit-Policy": '"default";q=100;w=60', "RateLimit": f'"default";r={remaining};t={reset}'}
    assert [one.continuous for one in read_limits(headers, "", WALL)] == [continuous]


def test_a_refused_caller_waits_until_the_reset_of_what_is_used_up() -> None:
    assert (
        wait_of({"RateLimit-Policy": '"a";q=10;w=60, "b";q=5;w=60', "RateLimit": '"a";r=0;t=7, "b";r=2;t=50'}, 0) == 7
    )
    assert wait_of(three("100", "0", "41"), WALL) == 41


NAMES = [f"{prefix}{part}" for prefix in ("ratelimit", "x-ratelimit") for part in ("", "-limit", "-policy")]
PIECES = ['"', ",", ";", "=", "\\", ";q=", ";w=", ";r=", ";t=", ";qu=", '"a"', "limit=", "0", "60", "9" * 20, " ", "-1"]
ITEMS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@given(st.dictionaries(st.sampled_from([*NAMES, "ratelimit-reset", "ratelimit-remaining"]), st.text() | ITEMS))
def test_no_field_breaks_the_reading(headers: dict[str, str]) -> None:
    for one in read_limits(headers, "", WALL):
        assert 0 < one.limit < 2**31
        assert 1 <= one.window <= 366 * DAY
        assert one.remaining is None or 0 <= one.remaining <= one.limit
        assert one.resets_in is None or 0 <= one.resets_in <= 366 * DAY
