"""What each provider's refusal means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.providers.presets import PRESETS
from llmqd.providers.refusals import LONG_WAIT, Kind, Verdict, judge

WALL = datetime(2026, 11, 21, 10, 0, tzinfo=UTC).timestamp()
MIDNIGHT_PACIFIC = datetime(2026, 11, 22, 8, 0, tzinfo=UTC).timestamp()
NEXT_MONTH = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
NEXT_DAY = datetime(2026, 11, 22, tzinfo=UTC).timestamp()

Headers = dict[str, str]


def judged(status: int, body: Any = None, headers: Headers | None = None, preset: str = "openai") -> Verdict:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return judge(status, headers or {}, raw, preset, WALL)


def openai(code: str | None, kind: str | None = None, message: str = "no") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(kind: str, message: str = "no", **details: str) -> dict[str, Any]:
    error: dict[str, Any] = {"type": kind, "message": message}
    return {"type": "error", "error": error | ({"details": details} if details else {}), "request_id": "req_1"}


def gemini(code: int, status: str, *details: dict[str, Any], message: str = "no") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def quota(*ids: str, value: str = "15") -> dict[str, Any]:
    violations = [{"quotaMetric": "generativelanguage", "quotaId": name, "quotaValue": value} for name in ids]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "35s"}
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
INPUT_TOKENS = "GenerateContentInputTokensPerModelPerMinute-FreeTier"
OPENROUTER_BUDGET = {"reason": "in_flight_budget_exhausted", "limit_source": "openrouter_in_flight_budget"}
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"

TABLE: list[tuple[str, int, Any, str, Kind]] = [
    ("openai", 429, openai("rate_limit_exceeded", "tokens"), "tokens", "wait"),
    ("openai", 429, openai("slow_down", "rate_limit_error"), "ramp", "slower"),
    ("openai", 503, openai("slow_down"), "ramp as it was", "slower"),
    ("openai", 429, openai("insufficient_quota", "insufficient_quota"), "no credit", "permanent"),
    ("openai", 429, openai("credit_balance_exhausted"), "no credit", "permanent"),
    ("openai", 429, openai("organization_spend_limit_exceeded"), "spend limit", "permanent"),
    ("openai", 429, openai("project_spend_limit_exceeded"), "spend limit", "permanent"),
    ("openai", 429, openai("organization_usage_limit_exceeded"), "usage limit", "permanent"),
    ("openai", 429, openai(None, "billing_hard_limit_reached"), "in the type", "permanent"),
    ("openai", 429, openai(None, "usage_not_included"), "plan", "permanent"),
    ("openai", 429, openai("flex_unavailable"), "flex tier", "retry"),
    ("openai", 429, openai("resource_unavailable"), "flex tier", "retry"),
    ("openai", 503, openai("server_is_overloaded", "service_unavailable_error"), "overloaded", "retry"),
    ("openai", 500, openai(None, "server_error"), "server", "retry"),
    ("openai", 502, HTML, "proxy", "retry"),
    ("openai", 504, HTML, "proxy", "retry"),
    ("openai", 520, HTML, "Cloudflare", "retry"),
    ("openai", 524, HTML, "Cloudflare", "retry"),
    ("openai", 429, HTML, "Cloudflare", "wait"),
    ("openai", 408, None, "timeout", "retry"),
    ("openai", 409, openai(None, "conflict"), "conflict", "retry"),
    ("openai", 501, None, "not implemented", "pass"),
    ("openai", 403, openai("misalignment_policy_violation"), "policy", "pass"),
    ("openai", 400, openai("context_length_exceeded"), "too long", "pass"),
    ("openai", 401, openai("invalid_api_key"), "key", "pass"),
    ("openai", 404, openai("model_not_found"), "model", "pass"),
    ("openai", 422, openai(None), "input", "pass"),
    ("openai", 200, b"", "no refusal at all", "pass"),
    ("azure", 429, openai("429", None, "Requests to the API have been limited"), "quota", "wait"),
    ("azure", 429, openai("429", None, "System is experiencing high demand"), "capacity", "wait"),
    ("azure", 403, {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 01:02:03."},
     "gateway quota", "permanent"),
    ("azure", 429, {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 7 seconds."}, "rate", "wait"),
    ("azure", 429, {"message": "Token limit is exceeded. Try again in 41 seconds."}, "tokens", "wait"),
    ("azure", 429, {"statusCode": 429, "message": "Token limit is exceeded."}, "can never fit", "pass"),
    ("azure", 400, openai("content_filter", None), "filter", "pass"),
    ("anthropic", 429, anthropic("rate_limit_error"), "rate", "wait"),
    ("anthropic", 429, anthropic("rate_limit_error", error_code="ramp_limit_exceeded"), "ramp", "slower"),
    ("anthropic", 429, anthropic("rate_limit_error", "Number of concurrent connections has exceeded your rate limit."),
     "together", "slower"),
    ("anthropic", 429, anthropic("rate_limit_error", "exceed your maximum usage increase rate for input tokens"),
     "acceleration", "slower"),
    ("anthropic", 429, anthropic("rate_limit_error", "Number of requests has exceeded your daily rate limit"),
     "a day's", "permanent"),
    ("anthropic", 429, anthropic("rate_limit_error", error_code="enforced_spend_limit_reached"), "spend", "permanent"),
    ("anthropic", 429, anthropic("rate_limit_error", error_code="contract_spend_limit_reached"), "spend", "permanent"),
    ("anthropic", 400, anthropic("invalid_request_error", "You have reached your specified API usage limits."),
     "own limit", "permanent"),
    ("anthropic", 400, anthropic("invalid_request_error", "You have reached your specified workspace API usage limits"),
     "own limit", "permanent"),
    ("anthropic", 400, anthropic("invalid_request_error", "Your credit balance is too low to access the API"),
     "credit", "permanent"),
    ("anthropic", 400, anthropic("invalid_request_error", "max_tokens: too large"), "input", "pass"),
    ("anthropic", 402, anthropic("billing_error", error_code="linked_organization_spend_limit_reached"),
     "bill", "permanent"),
    ("anthropic", 529, anthropic("overloaded_error"), "overloaded", "retry"),
    ("anthropic", 500, anthropic("api_error"), "server", "retry"),
    ("anthropic", 504, anthropic("timeout_error"), "timeout", "retry"),
    ("anthropic", 409, anthropic("conflict_error"), "conflict", "retry"),
    ("anthropic", 413, HTML, "Cloudflare", "pass"),
    ("anthropic", 400, anthropic("invalid_request_error", error_code="request_body_timeout"), "body", "pass"),
    ("gemini", 429, gemini(429, "RESOURCE_EXHAUSTED", quota(PER_MINUTE), RETRY_INFO), "minute", "wait"),
    ("gemini", 429, gemini(429, "RESOURCE_EXHAUSTED", quota(PER_DAY), RETRY_INFO), "day", "permanent"),
    ("gemini", 429, gemini(429, "RESOURCE_EXHAUSTED", quota(PER_MINUTE, PER_DAY), RETRY_INFO), "both", "permanent"),
    ("gemini", 429, [gemini(429, "RESOURCE_EXHAUSTED", quota(PER_MINUTE), RETRY_INFO)], "array", "wait"),
    ("gemini", 429, gemini(429, "RESOURCE_EXHAUSTED"), "spend in ten minutes", "wait"),
    ("gemini", 429, gemini(429, "RESOURCE_EXHAUSTED", quota(PER_MINUTE, value="0")), "not in plan", "permanent"),
    ("gemini", 429, openai("quota_exceeded"), "interactions", "permanent"),
    ("gemini", 429, openai("rate_limit_exceeded"), "interactions", "wait"),
    ("gemini", 402, gemini(402, "RESOURCE_EXHAUSTED"), "credit", "permanent"),
    ("gemini", 503, gemini(503, "UNAVAILABLE"), "overloaded", "retry"),
    ("gemini", 504, gemini(504, "DEADLINE_EXCEEDED"), "timeout", "retry"),
    ("gemini", 500, gemini(500, "INTERNAL"), "server", "retry"),
    ("gemini", 403, gemini(403, "PERMISSION_DENIED"), "key", "pass"),
    ("gemini", 400, gemini(400, "FAILED_PRECONDITION"), "region", "pass"),
    ("groq", 413, openai("rate_limit_exceeded", "tokens"), "too large", "pass"),
    ("groq", 498, openai("capacity_exceeded"), "flex", "retry"),
    ("groq", 424, openai(None), "dependency", "pass"),
    ("groq", 503, None, "server", "retry"),
    ("mistral", 402, {"message": "payment required"}, "bill", "permanent"),
    ("deepseek", 429, openai("rate_limit"), "concurrency", "slower"),
    ("deepseek", 402, openai(None, None, "Insufficient Balance"), "balance", "permanent"),
    ("openrouter", 429, {"error": {"code": 429, "metadata": {"error_type": "rate_limit_exceeded"}}}, "rate", "wait"),
    ("openrouter", 402, {"error": {"code": 402, "metadata": OPENROUTER_BUDGET}}, "in flight", "wait"),
    ("openrouter", 402, {"error": {"code": 402, "metadata": {"reason": "weight_exceeds_budget"}}}, "bill", "permanent"),
    ("openrouter", 402, {"error": {"code": 402, "metadata": {"reason": "openrouter_key_limit"}}}, "bill", "permanent"),
    ("openrouter", 502, {"error": {"code": 502, "metadata": {"error_type": "provider_unavailable"}}}, "host", "retry"),
    ("openrouter", 503, {"error": {"code": 503, "availability": {"retryable": False}}}, "says so", "pass"),
    ("together", 429, {"error": {"error_type": "dynamic_request_limited"}}, "adaptive", "slower"),
    ("together", 503, None, "server", "retry"),
    ("aws-bedrock", 429, {"message": "Too many", "__type": "ThrottlingException"}, "rate", "wait"),
    ("aws-bedrock", 400, {"message": "Too many", "__type": "com.amazon#ThrottlingException"}, "rate", "wait"),
    ("aws-bedrock", 429, {"__type": "ModelNotReadyException"}, "loading", "wait"),
    ("aws-bedrock", 400, {"__type": "ServiceQuotaExceededException"}, "quota", "permanent"),
    ("aws-bedrock", 408, {"__type": "ModelTimeoutException"}, "timeout", "retry"),
    ("aws-bedrock", 424, {"__type": "ModelErrorException"}, "model", "retry"),
    ("aws-bedrock", 503, {"__type": "ServiceUnavailableException"}, "server", "retry"),
    ("cohere", 429, b"too many requests", "rate", "wait"),
    ("cohere", 402, b"billing", "bill", "permanent"),
    ("ollama", 503, {"error": "server busy, please try again.  maximum pending requests exceeded"}, "full", "slower"),
    ("ollama", 499, {"error": "cancelled"}, "cancelled", "pass"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "status", "body", "kind"),
    [pytest.param(*row[:3], row[4], id=f"{row[0]} {row[1]} {row[3]}") for row in TABLE],
)
def test_what_a_refusal_means(preset: str, status: int, body: Any, kind: Kind) -> None:
    assert judged(status, body, preset=preset).kind == kind


def test_the_reason_is_what_the_provider_said_cut_to_a_line() -> None:
    assert judged(429, openai("x", None, "Too fast")).reason == "HTTP 429: Too fast"
    assert judged(429, openai("slow_down", None, "")).reason == "HTTP 429: slow_down"
    assert judged(502, HTML).reason == "HTTP 502"
    assert len(judged(429, openai("x", None, "y" * 9999)).reason) < 320


def test_groq_names_its_limit_in_the_sentence() -> None:
    text = (
        "Rate limit reached for model `llama` in organization `org` on tokens per minute (TPM): Limit 15000, "
        "Used 11972, Requested 4351. Please try again in 5.289s. Need more tokens? Upgrade"
    )
    verdict = judged(429, openai("rate_limit_exceeded", "tokens", text), preset="groq")
    assert (verdict.kind, verdict.dimension, verdict.window, verdict.limit) == ("wait", "tokens", 60, 15_000)
    assert verdict.wait == pytest.approx(5.289)


def test_openai_names_its_limit_in_the_sentence() -> None:
    text = (
        "Rate limit reached for gpt-4o in organization org-1 on requests per min (RPM): Limit 500, Used 500, "
        "Requested 1. Please try again in 120ms. Visit https://platform.openai.com/account/rate-limits"
    )
    verdict = judged(429, openai("rate_limit_exceeded", "requests", text))
    assert (verdict.kind, verdict.dimension, verdict.limit, verdict.wait) == ("wait", "requests", 500, 0.12)


def test_a_call_larger_than_the_limit_is_the_callers_to_mend() -> None:
    text = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 41,250. The input must shrink."
    assert judged(429, openai("rate_limit_exceeded", "tokens", text)).kind == "pass"


@pytest.mark.parametrize(
    ("again", "kind", "until"),
    [("7m12.5s", "permanent", WALL + 432.5), ("3.2s", "wait", None), (None, "permanent", NEXT_DAY)],
)
def test_a_days_limit_is_permanent_unless_it_refills_soon(again: str | None, kind: Kind, until: float | None) -> None:
    text = "Rate limit reached on requests per day (RPD): Limit 14400, Used 14400, Requested 1."
    text += f" Please try again in {again}." if again else ""
    verdict = judged(429, openai("rate_limit_exceeded", "requests", text), preset="groq")
    assert (verdict.kind, verdict.window, verdict.limit) == (kind, 86_400, 14_400)
    assert verdict.until == (None if until is None else pytest.approx(until))


def test_gemini_names_quota_and_wait_in_its_details() -> None:
    verdict = judged(429, gemini(429, "RESOURCE_EXHAUSTED", quota(INPUT_TOKENS, value="250000"), RETRY_INFO))
    assert (verdict.dimension, verdict.window, verdict.limit) == ("input_tokens", 60, 250_000)
    assert verdict.wait == 35


def test_geminis_day_ends_at_midnight_in_california_whatever_its_retry_delay_says() -> None:
    short = RETRY_INFO | {"retryDelay": "0.997s"}
    verdict = judged(429, gemini(429, "RESOURCE_EXHAUSTED", quota(PER_DAY), short), preset="gemini")
    assert (verdict.kind, verdict.wait, verdict.until) == ("permanent", None, MIDNIGHT_PACIFIC)


def test_anthropics_spend_limit_lasts_until_the_month_ends() -> None:
    verdict = judged(429, anthropic("rate_limit_error", error_code="enforced_spend_limit_reached"), preset="anthropic")
    assert (verdict.kind, verdict.until) == ("permanent", NEXT_MONTH)


def test_a_spend_limit_of_december_lasts_until_january() -> None:
    body = orjson.dumps(anthropic("rate_limit_error", error_code="contract_spend_limit_reached"))
    wall = datetime(2026, 12, 31, 23, 0, tzinfo=UTC).timestamp()
    assert judge(429, {}, body, "anthropic", wall).until == datetime(2027, 1, 1, tzinfo=UTC).timestamp()


def test_the_time_of_regained_access_is_read_from_the_sentence() -> None:
    text = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
    assert judged(400, anthropic("invalid_request_error", text), preset="anthropic").until == NEXT_MONTH


def test_a_plans_usage_limit_names_its_end() -> None:
    body = {"error": {"type": "usage_limit_reached", "message": "limit", "resets_at": WALL + 9000}}
    assert judged(429, body) == Verdict(kind="permanent", reason="HTTP 429: limit", until=WALL + 9000)
    body = {"error": {"type": "usage_limit_reached", "message": "limit", "resets_in_seconds": 300}}
    assert judged(429, body).until == WALL + 300


def test_a_gateways_quota_names_its_end() -> None:
    body = {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 01:02:03."}
    assert judged(403, body, preset="azure").until == WALL + 3723


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "2"}, 2),
        ({}, 41),
    ],
)
def test_headers_say_the_wait_before_the_body_does(headers: Headers, wait: float) -> None:
    body = {"statusCode": 429, "message": "Token limit is exceeded. Try again in 41 seconds."}
    assert judged(429, body, headers, "azure").wait == wait


def test_the_body_says_the_wait_better_than_a_reset_header() -> None:
    headers = {
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1m",
    }
    assert judged(429, openai("rate_limit_exceeded", "tokens", "Please try again in 6s."), headers).wait == 6
    assert judged(429, openai("rate_limit_exceeded", "tokens", "Wait."), headers).wait == 60


def test_openrouters_reset_stands_in_the_body_too() -> None:
    metadata = {"error_type": "rate_limit_exceeded", "headers": {"X-RateLimit-Reset": str(int(WALL + 20) * 1000)}}
    body = {"error": {"code": 429, "message": "free-models-per-min", "metadata": metadata}}
    assert judged(429, body, preset="openrouter").wait == 20
    metadata["headers"] = {"X-RateLimit-Reset": str(int(WALL + 7200) * 1000)}
    assert judged(429, body, preset="openrouter").until == WALL + 7200


def test_what_is_used_up_names_the_dimension_where_the_body_does_not() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "12",
        "anthropic-ratelimit-output-tokens-limit": "8000",
        "anthropic-ratelimit-output-tokens-remaining": "0",
        "retry-after": "11",
    }
    verdict = judged(429, anthropic("rate_limit_error"), headers, "anthropic")
    assert (verdict.kind, verdict.dimension, verdict.wait) == ("wait", "output_tokens", 11)


@pytest.mark.parametrize("preset", ["deepseek", "ollama"])
def test_too_many_calls_in_flight_are_named_so(preset: str) -> None:
    body = {"error": "server busy, please try again.  maximum pending requests exceeded"}
    assert judged(429 if preset == "deepseek" else 503, body, preset=preset).dimension == "concurrency"


def test_mistrals_limit_of_none_means_that_the_plan_lacks_the_model() -> None:
    assert judged(429, {"message": "no"}, {"x-ratelimit-limit-req-minute": "0"}, "mistral").kind == "permanent"
    assert judged(429, {"message": "no"}, {"x-ratelimit-limit-req-minute": "60"}, "mistral").kind == "wait"


def test_coheres_trial_names_its_limits() -> None:
    text = "You are using a Trial key, which is limited to {}. Contact us"
    month = judged(429, {"message": text.format("1000 API calls / month")}, preset="cohere")
    minute = judged(429, {"message": text.format("20 API calls / minute")}, preset="cohere")
    assert (month.kind, month.until) == ("permanent", NEXT_MONTH)
    assert (minute.kind, minute.limit, minute.window) == ("wait", 20, 60)


def test_a_wait_that_outlasts_every_client_is_no_wait() -> None:
    assert judged(429, None, {"retry-after": f"{LONG_WAIT:.0f}"}).kind == "wait"
    verdict = judged(429, None, {"retry-after": "36000"})
    assert (verdict.kind, verdict.wait, verdict.until) == ("permanent", None, WALL + 36_000)


@pytest.mark.parametrize(("status", "kind"), [(500, "pass"), (409, "pass"), (429, "permanent"), (400, "pass")])
def test_a_provider_that_forbids_retries_is_obeyed(status: int, kind: Kind) -> None:
    assert judged(status, None, {"X-Should-Retry": "false"}).kind == kind


def test_a_server_error_with_retry_after_says_how_long() -> None:
    assert judged(503, None, {"retry-after": "3"}) == Verdict(kind="retry", reason="HTTP 503", wait=3)


def test_an_aws_error_is_known_by_its_header_alone() -> None:
    headers = {"x-amzn-ErrorType": "ThrottlingException:http://internal.amazon.com/"}
    assert judged(400, {"message": "slow"}, headers, "aws-bedrock").kind == "wait"


KEYS = st.sampled_from(
    [
        *("error", "code", "type", "message", "details", "metadata", "headers", "violations", "quotaId"),
        *("quotaValue", "retryDelay", "X-RateLimit-Reset", "resets_at", "availability", "retry_after", "retryable"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | KEYS, inner, max_size=4),
    max_leaves=12,
)
TEXTS = st.sampled_from(["try again in 99999999999999s", "TPM: Limit 1,,, Requested ,", "retry in 1.2.3s", "in 1:2:3"])


@given(
    st.integers(100, 999),
    st.one_of(st.binary(max_size=60), JSON, TEXTS.map(lambda text: openai("x", "tokens", text))),
    st.sampled_from(["", *PRESETS]),
    st.dictionaries(
        st.sampled_from(["retry-after", "x-should-retry", "x-amzn-errortype", "date"]), st.text(max_size=30)
    ),
)
def test_no_answer_breaks_the_judgement(status: int, body: Any, preset: str, headers: Headers) -> None:
    if not isinstance(body, bytes):
        try:
            body = orjson.dumps(body)
        except (TypeError, orjson.JSONEncodeError):
            return
    verdict = judge(status, headers, body, preset, WALL)
    assert verdict.wait is None or 0 <= verdict.wait <= LONG_WAIT
    assert verdict.kind != "permanent" or verdict.wait is None
    assert status >= 400 or verdict.kind == "pass"
