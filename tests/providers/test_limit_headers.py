"""Limits and waits in the headers of every provider."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.providers.limit_headers import in_plan, read_limits, retry_after, wait_of
from llmqd.providers.limit_values import Observed, duration, moment_of, number, resets_in
from llmqd.providers.presets import PRESETS

WALL = 1_795_000_000.0
DAY = 86_400.0


def one(headers: dict[str, str], preset: str = "openai") -> Observed:
    found = read_limits(headers, preset, WALL)
    assert len(found) == 1, found
    return found[0]


def rate(name: str, limit: str, remaining: str | None = None, reset: str | None = None) -> dict[str, str]:
    values = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{part}-{name}": value for part, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("20ms", 0.02),
        ("12ms", 0.012),
        ("1m2.5s", 62.5),
        ("11m32.334s", 692.334),
        ("2s81ms", 2.081),
        ("7.66s", 7.66),
        ("2m59.56s", 179.56),
        ("1h0m0s", 3600),
        ("1d2h", 93_600),
        ("1s", 1),
        ("0s", 0),
        ("10", 10),
        ("0.5", 0.5),
        (" 3s ", 3),
    ],
)
def test_durations_are_read_as_their_providers_write_them(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "m", "-1s", "1x", "1s2m", "nan", "inf", "1e9", "٣s", "1 s", "1.s", None])
def test_what_is_no_duration_is_none(text: str | None) -> None:
    assert duration(text) is None


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e300", "", "12 34", "0x1", "²"])
def test_what_is_no_plain_number_is_none(text: str) -> None:
    assert number(text) is None


def test_a_moment_is_told_by_its_form_and_size() -> None:
    assert resets_in("2026-11-18T11:06:50Z", WALL) == (moment_of("2026-11-18T11:06:50+00:00") or 0.0) - WALL
    assert resets_in(f"{WALL + 90:.0f}", WALL) == 90
    assert resets_in(f"{(WALL + 90) * 1000:.0f}", WALL) == 90
    assert resets_in("90", WALL) == 90
    assert resets_in(f"{WALL - 90:.0f}", WALL) == 0


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "window"),
    [
        ("3000", "2999", "20ms", 60),
        ("60", "59", "1s", 60),
        ("200", "198", "11m32.334s", DAY),
        ("10000", "9999", "8.64s", DAY),
        ("10000", "10000", "0s", 60),
        ("600", "0", "60s", 60),
        ("600", "599", "25s", 60),
        ("600", "300", "500ms", 60),
        ("200", "195", "36m0s", DAY),
        ("1000", "400", "30m0s", 3600),
        ("600", "-5", "6m0s", 3600),
        ("1000", "990", "3h0m0s", DAY),
    ],
)
def test_a_minutes_limit_is_told_from_an_hours_and_a_days_by_the_time_in_which_it_refills(
    limit: str, remaining: str, reset: str, window: float
) -> None:
    assert one(rate("requests", limit, remaining, reset)).window == window


def test_openai_tokens() -> None:
    assert one(rate("tokens", "250000", "249900", "24ms")) == Observed(
        dimension="tokens",
        window=60,
        limit=250_000,
        remaining=249_900,
        resets_in=0.024,
        header="x-ratelimit-limit-tokens",
    )


def test_openai_limits_of_a_project_are_limits_too() -> None:
    headers = rate("tokens", "150000", "149984", "6ms") | rate("project-tokens", "50000", "49984", "20ms")
    assert [(seen.dimension, seen.limit) for seen in read_limits(headers, "openai", WALL)] == [
        ("tokens", 150_000),
        ("tokens", 50_000),
    ]


def test_header_names_in_any_case_are_known() -> None:
    assert one({"X-RateLimit-Limit-Requests": "60", "X-RateLimit-Remaining-Requests": "59"}).remaining == 59


def test_azure_resets_are_whole_seconds_and_its_minute_ends_at_once() -> None:
    seen = one(rate("requests", "60", "59", "10"), "azure")
    assert (seen.window, seen.resets_in, seen.continuous) == (60, 10, False)


@pytest.mark.parametrize("limit", ["0", "-1", "", "many", "1e5"])
def test_limits_that_mean_nothing_are_left_out(limit: str) -> None:
    assert read_limits(rate("tokens", limit, "-1", "0"), "azure-openai", WALL) == ()


def test_groq_requests_are_a_days_and_tokens_a_minutes() -> None:
    headers = rate("requests", "14400", "14370", "2m59.56s") | rate("tokens", "18000", "17997", "7.66s")
    assert [(seen.dimension, seen.window, seen.limit) for seen in read_limits(headers, "groq", WALL)] == [
        ("requests", DAY, 14_400),
        ("tokens", 60, 18_000),
    ]


def test_groq_seconds_of_audio_are_no_limit_that_is_kept_here() -> None:
    assert read_limits(rate("audio-seconds", "7200", "7100", "30s"), "groq", WALL) == ()


def anthropic(name: str, limit: int, remaining: int, reset: str = "2026-11-18T09:07:30Z") -> dict[str, str]:
    values = {"limit": str(limit), "remaining": str(remaining), "reset": reset}
    return {f"anthropic-ratelimit-{name}-{part}": value for part, value in values.items()}


def test_anthropic_times_are_absolute_and_measured_by_the_answers_own_clock() -> None:
    server = moment_of("2026-11-18T09:07:00Z")
    assert server is not None
    headers = anthropic("requests", 4000, 3999) | {"date": formatdate(server, usegmt=True)}
    found = read_limits(headers, "anthropic", server + 1000)
    assert [(seen.dimension, seen.limit, seen.remaining, seen.resets_in) for seen in found] == [
        ("requests", 4000, 3999, 30)
    ]


def test_anthropic_remaining_tokens_are_rounded_so_less_may_be_left() -> None:
    found = read_limits(anthropic("input-tokens", 50_000, 49_000), "anthropic", WALL)
    assert [(seen.dimension, seen.remaining) for seen in found] == [("input_tokens", 48_500)]


def test_anthropic_most_restrictive_tokens_are_no_further_limit() -> None:
    headers = anthropic("input-tokens", 50_000, 49_000) | anthropic("output-tokens", 10_000, 10_000)
    found = read_limits(headers | anthropic("tokens", 10_000, 10_000), "anthropic", WALL)
    assert [seen.dimension for seen in found] == ["input_tokens", "output_tokens"]
    found = read_limits(headers | anthropic("tokens", 8_000, 8_000), "anthropic", WALL)
    assert [(seen.dimension, seen.limit) for seen in found][-1] == ("tokens", 8_000)


def test_anthropic_pools_apart_from_the_standard_limits_are_left_out() -> None:
    headers = {
        f"anthropic-{pool}-{way}-tokens-limit": "1000" for pool in ("priority", "fast") for way in ("input", "output")
    }
    assert read_limits(headers, "anthropic", WALL) == ()


def test_a_subscription_reports_shares_of_its_plan() -> None:
    headers = {
        "anthropic-ratelimit-unified-status": "allowed_warning",
        "anthropic-ratelimit-unified-5h-utilization": "0.92",
        "anthropic-ratelimit-unified-5h-reset": f"{WALL + 600:.0f}",
        "anthropic-ratelimit-unified-7d-utilization": "1.2",
    }
    found = read_limits(headers, "anthropic", WALL)
    assert [(seen.window, seen.remaining, seen.resets_in) for seen in found] == [
        (18_000, pytest.approx(0.08), 600),
        (7 * DAY, 0.0, None),
    ]
    assert wait_of(headers, WALL) is None


@pytest.mark.parametrize("status", ["rejected", "rate_limited", "over_limit", "throttled"])
def test_a_subscription_that_is_not_allowed_any_more_waits_for_its_reset(status: str) -> None:
    reset = f"{WALL + 5400:.0f}"
    headers = {"anthropic-ratelimit-unified-status": status, "anthropic-ratelimit-unified-reset": reset}
    assert wait_of(headers, WALL) == 5400
    assert one(headers, "anthropic").remaining == 0


def test_mistral() -> None:
    headers = {
        "x-ratelimit-limit-req-minute": "60",
        "x-ratelimit-remaining-req-minute": "59",
        "x-ratelimit-limit-tokens-minute": "500000",
        "x-ratelimit-remaining-tokens-minute": "499000",
        "x-ratelimit-tokens-query-cost": "1000",
    }
    found = read_limits(headers, "mistral", WALL)
    assert [(seen.dimension, seen.window, seen.limit) for seen in found] == [
        ("requests", 60, 60),
        ("tokens", 60, 500_000),
    ]
    assert in_plan(headers)
    assert not in_plan({"X-RateLimit-Limit-Req-Minute": "0"})


def test_mistrals_older_names() -> None:
    headers = {
        "x-ratelimitbysize-limit-minute": "500000",
        "x-ratelimitbysize-remaining-minute": "499000",
        "ratelimitbysize-reset": "37",
        "x-ratelimitbysize-limit-month": "1000000000",
    }
    found = read_limits(headers, "mistral", WALL)
    assert [(seen.dimension, seen.window, seen.resets_in) for seen in found] == [
        ("tokens", 60, 37),
        ("tokens", 30 * DAY, None),
    ]


def test_openrouter_resets_are_epoch_milliseconds() -> None:
    headers = {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0"}
    soon = one(headers | {"X-RateLimit-Reset": f"{(WALL + 30) * 1000:.0f}"}, "openrouter")
    late = one(headers | {"X-RateLimit-Reset": f"{(WALL + 7200) * 1000:.0f}"}, "openrouter")
    assert (soon.window, soon.limit, soon.remaining, soon.resets_in) == (60, 20, 0, 30)
    assert (late.window, late.resets_in) == (DAY, 7200)
    hourly = one(headers | {"X-RateLimit-Reset": f"{WALL + 1800:.0f}"}, "openrouter")
    assert (hourly.window, hourly.resets_in) == (3600, 1800)


def test_bare_names_without_a_reset_say_nothing() -> None:
    assert read_limits({"x-ratelimit-limit": "20", "x-ratelimit-remaining": "3"}, "openrouter", WALL) == ()


def test_together_counts_by_the_second() -> None:
    headers = {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "9", "x-ratelimit-reset": "1"}
    found = read_limits(headers | {"x-tokenlimit-limit": "3000", "x-tokenlimit-remaining": "2900"}, "together", WALL)
    assert [(seen.dimension, seen.window, seen.limit, seen.remaining) for seen in found] == [
        ("requests", 1, 10, 9),
        ("tokens", 1, 3000, 2900),
    ]


def test_fireworks_names_its_tokens_otherwise() -> None:
    headers = rate("requests", "600", "599") | rate("tokens-prompt", "60000", "50000")
    headers |= rate("tokens-generated", "12000", "11000") | rate("tokens-cache-adjusted-prompt", "50000", "40000")
    found = read_limits(headers, "fireworks", WALL)
    assert [seen.dimension for seen in found] == ["requests", "input_tokens", "output_tokens", "input_tokens"]


def test_cerebras_names_its_windows() -> None:
    headers = rate("requests-day", "14400", "14399", "40123.5") | rate("tokens-minute", "60000", "59000", "12.25")
    found = read_limits(headers, "cerebras", WALL)
    assert [(seen.dimension, seen.window, seen.resets_in) for seen in found] == [
        ("requests", DAY, 40_123.5),
        ("tokens", 60, 12.25),
    ]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after-ms": "2500", "retry-after": "7"}, 2.5),
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": formatdate(WALL + 12, usegmt=True)}, 12),
        ({"retry-after": formatdate(WALL - 12, usegmt=True)}, 0),
        ({"retry-after": formatdate(WALL + 12, usegmt=True), "date": formatdate(WALL + 2, usegmt=True)}, 10),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": "6m0s"}, 360),
        ({"retry-after": "20s"}, 20),
        ({"retry-after": f"{WALL + 40:.0f}"}, 40),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "99999999999"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({}, None),
    ],
)
def test_the_wait_that_is_asked_for(headers: dict[str, str], wait: float | None) -> None:
    assert retry_after(headers, WALL) == wait
    assert wait_of(headers, WALL) == wait


def test_without_retry_after_the_wait_is_until_what_is_used_up_resets() -> None:
    headers = rate("requests", "60", "0", "4s") | rate("tokens", "1000", "500", "30s")
    assert wait_of(headers, WALL) == 4
    assert wait_of(rate("tokens", "1000", "500", "30s"), WALL) is None


NAMES = st.sampled_from(
    [
        *("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "date"),
        *("anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-reset", "retry-after", "retry-after-ms"),
        *("anthropic-ratelimit-unified-status", "anthropic-ratelimit-unified-reset", "x-ratelimit-limit"),
        *("x-ratelimit-reset", "x-ratelimitbysize-limit-minute", "ratelimitbysize-reset", "x-tokenlimit-limit"),
        *("anthropic-ratelimit-unified-5h-utilization", "x-ratelimit-limit-req-minute"),
    ]
)
VALUES = st.one_of(
    st.text(max_size=30),
    st.floats().map(str),
    st.integers().map(str),
    st.from_regex(r"\A[0-9]{0,20}[dhms.]{0,3}[0-9]{0,20}(ms|s|m)?\Z"),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "Mon, 99 Foo 0000 00:00:00 GMT"]),
)


@given(st.dictionaries(NAMES, VALUES), st.sampled_from(["", *PRESETS]))
def test_no_header_breaks_the_reading(headers: dict[str, str], preset: str) -> None:
    for seen in read_limits(headers, preset, WALL):
        assert 0 < seen.limit < float("inf")
        assert seen.window in (1, 60, 3600, 18_000, DAY, 7 * DAY, 30 * DAY)
        assert seen.remaining is None or seen.remaining >= 0
        assert seen.resets_in is None or 0 <= seen.resets_in <= 366 * DAY
    wait = wait_of(headers, WALL)
    assert wait is None or 0 <= wait <= 366 * DAY
    in_plan(headers)
