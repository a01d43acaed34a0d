"""Error bodies of every dialect in one shape."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.providers.error_bodies import ErrorBody, parse


def read(body: Any) -> ErrorBody:
    return parse(orjson.dumps(body))


def said(message: str) -> ErrorBody:
    return read({"error": {"message": message}})


@pytest.mark.parametrize(
    ("body", "kinds", "message"),
    [
        ({"error": {"message": "m", "type": "tokens", "code": "rate"}}, {"tokens", "rate"}, "m"),
        ({"error": {"message": "m", "type": None, "code": 429}}, set(), "m"),
        ([{"error": {"status": "RESOURCE_EXHAUSTED", "message": "m"}}], {"RESOURCE_EXHAUSTED"}, "m"),
        (
            {"type": "error", "error": {"type": "rate_limit_error", "details": {"error_code": "ramp"}, "message": "m"}},
            {"error", "rate_limit_error", "ramp"},
            "m",
        ),
        ({"error": {"metadata": {"error_type": "limited", "reason": "why"}, "message": "m"}}, {"limited", "why"}, "m"),
        ({"error": "busy"}, set(), "busy"),
        ({"statusCode": 429, "message": "m"}, set(), "m"),
        ({"__type": "com.amazon.bedrock#ThrottlingException", "message": "m"}, {"ThrottlingException"}, "m"),
        ([], set(), ""),
        ("text", set(), ""),
        (None, set(), ""),
    ],
)
def test_every_shape_gives_its_kinds_and_its_message(body: Any, kinds: set[str], message: str) -> None:
    error = read(body)
    assert error.kinds == kinds
    assert error.message == message


def test_a_body_that_is_no_json_has_no_words() -> None:
    error = parse(b"<html>429</html>")
    assert (error.kinds, error.said, error.limit, error.wait(0.0)) == (frozenset(), "", None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 5.289s.", 5.289),
        ("Please try again in 7m12.5s. Visit", 432.5),
        ("Please try again in 120ms.", 0.12),
        ("Please retry after 6 seconds. Please contact Azure support", 6),
        ("Please try again after 250 milliseconds.", 0.25),
        ("Please try again in 1h2m3s", 3723),
        ("Try again in 41 seconds.", 41),
        ("Try again in 1 second.", 1),
        ("Try again in 2 minutes.", 120),
        ("Please retry in 35.123456789s.", 35.123456789),
        ("Quota will be replenished in 01:02:03.", 3723),
        ("Try again later.", None),
        ("Try again in a while", None),
        ("try again in 1.2.3s", None),
    ],
)
def test_the_wait_in_a_sentence(text: str, seconds: float | None) -> None:
    wait = said(text).wait(0.0)
    assert wait == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "dimension", "window", "limit"),
    [
        ("on tokens per minute (TPM): Limit 15000, Used 11972", "tokens", 60, 15_000),
        ("on tokens per day (TPD): Limit 500,000, Used 1", "tokens", 86_400, 500_000),
        ("on requests per min (RPM): Limit: 3 / min.", "requests", 60, 3),
        ("on requests per day (RPD): Limit 200, Used 200", "requests", 86_400, 200),
        ("input tokens (ITPM): Limit 1000", "input_tokens", 60, 1000),
        ("output tokens (OTPM): Limit 1000", "output_tokens", 60, 1000),
        ("limited to 1000 API calls / month", "requests", 2_592_000, 1000),
        ("nothing of the kind", None, None, None),
    ],
)
def test_the_limit_in_a_sentence(text: str, dimension: str | None, window: float | None, limit: float | None) -> None:
    error = said(text)
    assert (error.dimension, error.window, error.limit) == (dimension, window, limit)


def test_the_type_names_the_dimension_where_the_sentence_does_not() -> None:
    error = read({"error": {"type": "requests", "message": "slow"}})
    assert (error.dimension, error.window, error.limit) == ("requests", None, None)


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("(TPM): Limit 30000, Requested 41250.", True),
        ("(TPM): Limit 30000, Used 29000, Requested 1250.", False),
        ("Token limit is exceeded.", True),
        ("Token limit is exceeded. Try again in 4 seconds.", False),
    ],
)
def test_a_call_that_can_never_fit_is_told_from_one_that_came_too_soon(text: str, never: bool) -> None:
    assert said(text).can_never_fit is never


def test_retry_hints_of_openrouter() -> None:
    error = read({"error": {"availability": {"retryable": True, "retry_after": 4}}})
    assert (error.retryable, error.wait(0.0)) == (True, 4)
    assert read({"error": {"metadata": {"availability": {"retryable": False}}}}).retryable is False
    assert read({"error": {}}).retryable is None


@given(st.text(max_size=80), st.floats(0, 4e9))
def test_no_sentence_breaks_the_reading(text: str, wall: float) -> None:
    error = said(f"Limit {text} try again in {text}")
    wait = error.wait(wall)
    assert wait is None or wait >= 0
    error.resets_at(wall)
    assert error.limit is None or error.limit >= 0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "This request would exceed your organization's rate limit of 40,000 input tokens per minute (org: x).",
            ("input_tokens", 60.0, 40_000.0),
        ),
        (
            "This request would exceed the rate limit for your organization (1f-2) of 8,000 output tokens per minute.",
            ("output_tokens", 60.0, 8_000.0),
        ),
        ("would exceed your organization's rate limit of 50 requests per minute", ("requests", 60.0, 50.0)),
        ("Number of request tokens has exceeded your per-minute rate limit (https://", ("tokens", 60.0, None)),
        ("Number of requests has exceeded your per-minute rate limit", ("requests", 60.0, None)),
        ("Number of request tokens has exceeded your daily rate limit", ("tokens", 86_400.0, None)),
        ("Number of concurrent connections has exceeded your rate limit.", ("concurrency", None, None)),
        (
            "This request would exceed your organization's maximum usage increase rate for input tokens per minute.",
            ("input_tokens", 60.0, None),
        ),
        ("under Azure OpenAI API version 2024-02-01 have exceeded token rate limit of your", ("tokens", 60.0, None)),
        ("under Azure OpenAI API version 2024-02-01 have exceeded call rate limit of your", ("requests", 60.0, None)),
        ("Too many tokens, please wait before trying again.", ("tokens", 60.0, None)),
        ("Too many tokens per day, please wait before trying again.", ("tokens", 86_400.0, None)),
        ("Too many requests, please wait before trying again.", ("requests", 60.0, None)),
        ("Requests rate limit exceeded", (None, None, None)),
        ("Please slow down.", (None, None, None)),
    ],
)
def test_a_limit_that_words_alone_name_is_understood(
    text: str, named: tuple[str | None, float | None, float | None]
) -> None:
    error = said(text)
    assert (error.dimension, error.window, error.limit) == named
