"""What a provider's error answer means: wait and try again, slow down, give up, or the caller's own fault.

The same status means different things: a 429 can be a full minute or an empty purse, a 402 can be worth a retry, a 400
can be a spend limit. Sources: the error references of OpenAI, Azure OpenAI, Anthropic, Gemini, Groq, Mistral, DeepSeek,
OpenRouter, Together, Bedrock, Cohere and Ollama.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from llmqd.providers.error_bodies import ErrorBody, parse
from llmqd.providers.limit_headers import in_plan, lowered, read_limits, retry_after, wait_of
from llmqd.providers.limit_values import DAY, MINUTE, Dimension

Kind = Literal["wait", "permanent", "slower", "retry", "pass"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do about a refusal.

    `wait`: the limit is used up for now, everybody on this key waits. `slower`: the same, and the key allows less than
    was thought (ramp limits, calls in flight). `permanent`: no call will succeed before `until`, or before a human acts
    where that is None. `retry`: this call failed by chance and may be tried again. `pass`: the caller's to mend.

    `wait` is in seconds, None when nothing was said; `until` in Unix seconds. `dimension`, `window` (seconds) and
    `limit` are what the answer names of the limit that was hit.
    """

    kind: Kind
    reason: str
    wait: float | None = None
    until: float | None = None
    dimension: Dimension | None = None
    window: float | None = None
    limit: float | None = None


LONG_WAIT = 600.0
"""Seconds from which a wait counts as permanent: official SDKs give a call up after ten minutes."""

_PERMANENT = frozenset(
    {"insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded"}
    | {"project_spend_limit_exceeded", "organization_usage_limit_exceeded", "billing_hard_limit_reached"}
    | {"usage_limit_reached", "usage_not_included", "billing_error", "quota_exceeded", "insufficient_credits"}
    | {"ServiceQuotaExceededException"}
)
_UNTIL_NEXT_MONTH = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached"})
_SLOWER = frozenset({"slow_down", "ramp_limit_exceeded", "dynamic_request_limited", "dynamic_token_limited"})
_THROTTLED = frozenset({"ThrottlingException", "ModelNotReadyException", "TooManyRequestsException"})
_BY_CHANCE = frozenset(
    {"flex_unavailable", "resource_unavailable", "ModelTimeoutException"}
    | {"ModelErrorException", "ModelStreamErrorException", "InternalServerException", "ServiceUnavailableException"}
)
_SPENT_TEXT = re.compile(
    r"^You have reached your specified (?:workspace )?API usage limits|credit balance is too low"
    r"|out of call volume quota|quota will be replenished",
    re.IGNORECASE,
)
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 498})
_LASTING_SERVER_ERRORS = frozenset({501, 505, 506, 508, 510, 511})
_SHOULD_RETRY = {"true": True, "false": False}


def judge(status: int, headers: Mapping[str, str], body: bytes, preset: str, wall: float) -> Verdict:
    """The meaning of an answer with this status.

    `body` is the decoded body, or as much of its beginning as is at hand; `preset` the provider's name as in
    `llmqd.providers.presets`; `wall` the time in Unix seconds. Never raises, whatever the answer holds.
    """
    if status < 400:
        return Verdict(kind="pass", reason=f"HTTP {status}")
    headers = lowered(headers)
    error = parse(body, headers.get("x-amzn-errortype", ""))
    reason = f"HTTP {status}" + (f": {error.said}" if error.said else "")
    # A reset header tells when all of a limit is back, which is later than the next call: the body knows better.
    wait = next((wait for wait in (retry_after(headers, wall), error.wait(wall)) if wait is not None), None)
    if wait is None:
        wait = wait_of(headers, wall)
    found = Verdict(kind="pass", reason=reason, wait=wait)
    verdict = _permanent(status, error, found, wall) or (
        _limited(error, headers, preset, wall, found) if _is_limit(status, error) else _failed(status, error, found)
    )
    return _last_word(verdict, headers, wall)


def _permanent(status: int, error: ErrorBody, found: Verdict, wall: float) -> Verdict | None:
    """The refusals that no wait of ours can mend, whatever their status."""
    if status not in (400, 402, 403, 429):
        return None
    permanent = replace(found, kind="permanent", wait=None)
    if error.kinds & _UNTIL_NEXT_MONTH:
        return replace(permanent, until=_next_month(wall))
    if error.kinds & _PERMANENT or _SPENT_TEXT.search(error.message):
        return replace(permanent, until=error.resets_at(wall) or (None if found.wait is None else wall + found.wait))
    if status == 402:
        if "in_flight_budget_exhausted" in error.kinds:
            return replace(found, kind="wait")
        return permanent
    return None


def _is_limit(status: int, error: ErrorBody) -> bool:
    return status == 429 or bool(error.kinds & (_SLOWER | _THROTTLED)) or _ollama_is_full(status, error)


def _ollama_is_full(status: int, error: ErrorBody) -> bool:
    return status == 503 and "maximum pending requests exceeded" in error.message


def _limited(error: ErrorBody, headers: Mapping[str, str], preset: str, wall: float, found: Verdict) -> Verdict:
    """A limit was hit: which one, and is it one that passes by itself soon?"""
    if error.kinds & _BY_CHANCE:
        return replace(found, kind="retry")
    if not in_plan(headers) or error.limit == 0:
        return replace(found, kind="permanent", wait=None, limit=0.0, dimension=error.dimension)
    if error.can_never_fit:
        return replace(found, kind="pass", wait=None)
    verdict = replace(found, kind="wait", dimension=error.dimension, window=error.window, limit=error.limit)
    if error.kinds & _SLOWER or "maximum usage increase rate" in error.message:
        return replace(verdict, kind="slower")
    at_once = error.dimension == "concurrency" or "maximum pending requests exceeded" in error.message
    if preset == "deepseek" or at_once:
        return replace(verdict, kind="slower", dimension="concurrency")
    if verdict.dimension is None:
        verdict = replace(verdict, dimension=_used_up(headers, preset, wall))
    if error.by_pacific_day:
        # The retryDelay beside a day's quota is that of some other limit; the day ends at midnight Pacific.
        return replace(verdict, kind="permanent", wait=None, until=_pacific_midnight(wall))
    if verdict.window is not None and verdict.window > DAY:
        return replace(verdict, kind="permanent", wait=None, until=_next_month(wall))
    if verdict.window == DAY and (verdict.wait is None or verdict.wait > MINUTE):
        until = _next_utc_day(wall) if verdict.wait is None else wall + verdict.wait
        return replace(verdict, kind="permanent", wait=None, until=until)
    return verdict


def _failed(status: int, error: ErrorBody, found: Verdict) -> Verdict:
    """Neither a limit nor the end of the money: worth another try, or not."""
    if error.kinds & _BY_CHANCE or status in _TRANSIENT_STATUSES:
        return replace(found, kind="retry")
    if status >= 500 and status not in _LASTING_SERVER_ERRORS and error.retryable is not False:
        return replace(found, kind="retry")
    return replace(found, kind="pass", wait=None)


def _last_word(verdict: Verdict, headers: Mapping[str, str], wall: float) -> Verdict:
    """`x-should-retry: false` forbids every retry; a wait that outlasts all clients is no wait."""
    wanted = _SHOULD_RETRY.get(headers.get("x-should-retry", "").strip().lower())
    long = verdict.wait is not None and verdict.wait > LONG_WAIT
    if verdict.kind in ("wait", "slower") and (long or wanted is False):
        until = wall + verdict.wait if verdict.wait is not None else None
        return replace(verdict, kind="permanent", wait=None, until=until)
    if verdict.kind == "retry" and wanted is False:
        return replace(verdict, kind="pass", wait=None)
    if verdict.kind == "retry" and long:
        return replace(verdict, wait=None)
    return verdict


def _used_up(headers: Mapping[str, str], preset: str, wall: float) -> Dimension | None:
    spent = [seen.dimension for seen in read_limits(headers, preset, wall) if seen.remaining == 0]
    return spent[0] if spent else None


def _next_month(wall: float) -> float:
    now = datetime.fromtimestamp(wall, UTC)
    return datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC).timestamp()


def _next_utc_day(wall: float) -> float:
    return (wall // DAY + 1) * DAY


def _pacific_midnight(wall: float) -> float:
    zone: tzinfo
    try:
        zone = ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:  # a machine without tzdata: standard time is never early
        zone = timezone(timedelta(hours=-8))
    tomorrow = datetime.fromtimestamp(wall, zone).date() + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone).timestamp()
