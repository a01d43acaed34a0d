"""The strict provider: how it counts tokens, what its headers say, how it refuses and fails; on a clock of the test."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_upstream.limit_headers import Shown, go_duration, limit_headers
from tests.fake_upstream.limiters import (
    Charging,
    FixedWindow,
    Meter,
    SlidingWindow,
    TokenBucket,
    TokenLimit,
    Tokens,
    quantised,
)
from tests.fake_upstream.request import Received
from tests.fake_upstream.script import Answer
from tests.fake_upstream.sized_answers import Lengths, sized, tokens_of
from tests.fake_upstream.strict import Change, Faults, RequestLimit, StrictProvider

CALL = Tokens(input=100, output=200, max_output=1000)


def request(at: float, path: str = "/v1/chat/completions", **fields: Any) -> Received:
    body = orjson.dumps({"model": "m", "messages": [], **fields})
    return Received(method="POST", target=path, version="HTTP/1.1", raw_headers=[], body=body, at=at)


def used(meter: Meter, limit: float, now: float) -> float:
    return limit - meter.remaining(now)


@pytest.mark.parametrize(
    ("charging", "at_start", "at_end"),
    [("reserved", 1100, 1100), ("refunded", 1100, 300), ("actual", 0, 300), ("input", 100, 100), ("output", 0, 200)],
)
def test_each_charging_takes_what_its_name_says(charging: Charging, at_start: float, at_end: float) -> None:
    for meter in (SlidingWindow(10_000), FixedWindow(10_000)):
        limit = TokenLimit(meter, charging)
        limit.start(120.0, CALL, ends=124.0)
        assert used(meter, 10_000, 120.0) == at_start
        limit.settle(124.0)
        assert used(meter, 10_000, 124.0) == pytest.approx(at_end)


def test_output_is_charged_while_it_is_produced() -> None:
    meter = SlidingWindow(10_000)
    limit = TokenLimit(meter, "output")
    limit.start(0.0, CALL, ends=4.0)
    limit.settle(2.0)
    assert used(meter, 10_000, 2.0) == pytest.approx(100)


def test_a_reservation_is_asked_for_in_full_and_actual_only_that_something_is_left() -> None:
    bucket = TokenBucket(per_minute=6000, burst=1000)
    assert TokenLimit(bucket, "reserved").wait(0.0, CALL) == float("inf")
    assert TokenLimit(bucket, "actual").wait(0.0, CALL) == 0


def test_actual_tokens_can_put_a_bucket_into_debt_that_must_be_waited_off() -> None:
    limit = TokenLimit(TokenBucket(per_minute=6000, burst=250), "actual")
    limit.start(0.0, CALL, ends=1.0)
    assert limit.wait(0.5, CALL) == 0
    assert limit.wait(1.0, CALL) == pytest.approx(51 / 100)


def test_a_refund_belongs_to_the_window_in_which_it_was_charged() -> None:
    fixed, sliding = FixedWindow(2000), SlidingWindow(2000)
    for meter in (fixed, sliding):
        limit = TokenLimit(meter, "refunded")
        limit.start(59.0, CALL, ends=61.0)
        limit.start(60.5, CALL, ends=100.0)
        limit.settle(62.0)
    assert used(fixed, 2000, 62.0) == 1100
    assert used(sliding, 2000, 62.0) == 1400


@given(
    st.sampled_from(["reserved", "refunded", "actual", "input", "output"]),
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 500), st.integers(1, 500), st.floats(0.01, 5)), max_size=60),
)
def test_in_the_end_every_call_has_been_charged_what_counts(
    charging: Charging, calls: list[tuple[float, int, int, float]]
) -> None:
    meter = SlidingWindow(1e9, window=1e9)
    limit = TokenLimit(meter, charging)
    now, expected = 0.0, 0.0
    for gap, given_in, out, seconds in calls:
        now += gap
        tokens = Tokens(given_in, out, out * 2)
        assert limit.wait(now, tokens) == 0
        limit.start(now, tokens, now + seconds)
        expected += limit.counted(tokens)
    limit.settle(now + 10)
    assert used(meter, 1e9, now + 10) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("meter", [TokenBucket(600, burst=600), FixedWindow(600), SlidingWindow(600), quantised(600)])
def test_a_limit_that_is_halved_lets_half_through(meter: Meter) -> None:
    def minute(begin: float) -> int:
        return sum(_passes(meter, begin + step * 0.01) for step in range(6000))

    minute(600.0)
    assert minute(660.0) == pytest.approx(600, abs=6)
    meter.scale(0.5, 720.0)
    minute(720.0)
    assert minute(780.0) == pytest.approx(300, abs=6)


def _passes(meter: Meter, now: float) -> bool:
    if meter.wait(now) > 0:
        return False
    meter.take(now)
    return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.02, "20ms"),
        (7.66, "7.66s"),
        (360.0, "6m0s"),
        (692.334, "11m32.334s"),
        (3600.0, "1h0m0s"),
        (0.9996, "1s"),
    ],
)
def test_go_durations(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


def test_headers_speak_each_providers_format() -> None:
    shown = [Shown("requests", 600, 599.0, 0.1), Shown("tokens", 150_000, 149_400.7, 0.24)]
    assert dict(limit_headers("openai", shown, 0.0)) == {
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "599",
        "x-ratelimit-reset-requests": "100ms",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149400",
        "x-ratelimit-reset-tokens": "240ms",
    }
    azure = dict(limit_headers("azure", shown, 0.0))
    assert azure["x-ratelimit-reset-requests"] == "1"
    anthropic = dict(limit_headers("anthropic", shown, 1_790_000_000.5))
    assert anthropic["anthropic-ratelimit-requests-remaining"] == "599"
    assert anthropic["anthropic-ratelimit-tokens-remaining"] == "149000"
    assert anthropic["anthropic-ratelimit-tokens-reset"] == "2026-09-21T14:13:21Z"


def test_the_reset_of_a_bucket_is_the_time_to_full() -> None:
    limit = RequestLimit.of(TokenBucket(600, burst=1), 600, minute_meter=False)
    provider = StrictProvider(requests=limit, lengths=Lengths(10, 10, 1), headers="openai")
    provider(request(100.0))
    answer = provider(request(100.1))
    headers = dict(answer.headers)
    reset, remaining = float(headers["x-ratelimit-reset-requests"][:-2]), 599
    assert reset / 1000 == pytest.approx((600 - remaining) / 600 * 60, abs=0.001)


def test_a_refusal_tells_only_what_it_is_told_to_tell() -> None:
    def refused(**options: Any) -> Answer:
        limit = RequestLimit.of(FixedWindow(1), 1, minute_meter=True)
        provider = StrictProvider(requests=limit, lengths=Lengths(10, 10, 1), **options)
        assert provider(request(90.0)).status == 200
        answer = provider(request(90.5))
        assert answer.status == 429
        assert provider.refused == [90.5]
        return answer

    silent = refused(retry_after=False)
    assert not {name for name, _ in silent.headers} & {"Retry-After", "x-ratelimit-limit-requests"}
    assert b"29.5" not in silent.data
    told = refused(headers="azure", explains=True)
    assert dict(told.headers)["Retry-After"] == "30"
    assert dict(told.headers)["retry-after-ms"] == "29500"
    assert dict(told.headers)["x-ratelimit-remaining-requests"] == "0"
    assert b"requests per minute. Please try again in 29.500s" in told.data


def test_a_refused_call_costs_nothing_in_any_limit() -> None:
    tokens = SlidingWindow(1000)
    provider = StrictProvider(
        requests=RequestLimit.of(FixedWindow(1), 1, minute_meter=True),
        tokens={"tokens": (TokenLimit(tokens, "reserved"), 1000)},
        lengths=Lengths(10, 10, 1),
    )
    provider(request(90.0, max_tokens=50))
    before = tokens.remaining(90.0)
    provider(request(91.0, max_tokens=50))
    assert tokens.remaining(91.0) == before
    assert len(provider.accepted) == 1


def test_the_limit_changes_once_in_mid_run() -> None:
    limit = RequestLimit.of(quantised(600), 600, minute_meter=False)
    provider = StrictProvider(
        requests=limit, lengths=Lengths(10, 10, 1), headers="openai", change=Change(after=10.0, factor=0.5)
    )
    statuses = [provider(request(100.0 + step / 20)).status for step in range(400)]
    assert statuses[:200].count(200) == 100
    assert statuses[200:].count(200) == 50
    assert limit.per_minute == 300


def test_faults_come_at_their_share_and_of_every_kind() -> None:
    provider = StrictProvider(lengths=Lengths(10, 10, 1), faults=Faults(0.02, seed=3))
    answers = [provider(request(step / 100)) for step in range(10_000)]
    assert provider.faulty == pytest.approx(200, rel=0.25)
    assert {answer.status for answer in answers} == {200, 500, 502, 503, 529}
    resets = [answer for answer in answers if answer.end == "reset"]
    assert len(resets) > 10
    assert not any(answer.headers_sent for answer in resets)


def test_lengths_vary_over_the_whole_range_and_repeat_with_the_seed() -> None:
    drawn = [Lengths(100, 2000, seed=7).draw() for _ in range(2)]
    assert drawn[0] == drawn[1]
    lengths = Lengths(100, 2000, seed=7)
    many = [lengths.draw() for _ in range(2000)]
    assert min(many) < 110
    assert max(many) > 1900
    assert sum(length < 447 for length in many) == pytest.approx(1000, rel=0.1)


@pytest.mark.parametrize("spoken", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_usage_of_an_answer_is_what_the_limits_count(spoken: str, stream: bool) -> None:
    body = {"model": "m", "stream": stream, "stream_options": {"include_usage": True}, "max_tokens": 50}
    tokens = tokens_of(body, size=401, wanted=80)
    assert tokens == Tokens(101, 50, 50)
    answer = sized(spoken, body, tokens, 1.5)
    assert answer.data.count(b" word") == 50
    expected = {
        "openai": [b'"prompt_tokens":101,"completion_tokens":50'],
        "anthropic": [b'"input_tokens":101', b'"output_tokens":50'],
    }
    assert all(part in answer.data for part in expected[spoken])
    pauses = [step for step in itertools.chain(answer.before, answer.body) if isinstance(step, float)]
    assert sum(pauses) == pytest.approx(1.5)
