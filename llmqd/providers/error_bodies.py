"""Reads the bodies of error answers of every dialect into one shape: kinds, message, and the limit that they name.

Grammars: OpenAI and Groq name the limit in the sentence ("on tokens per minute (TPM): Limit 15000, Used 11972,
Requested 4351. Please try again in 5.289s."), Gemini in google.rpc.QuotaFailure and RetryInfo details (an array around
it on its OpenAI-compatible endpoint), OpenRouter in `metadata`, Azure API Management in a bare `message`. Anthropic
("rate limit of 40,000 input tokens per minute"), Azure ("exceeded call rate limit") and Bedrock ("Too many tokens per
day, please wait") say it in words alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from llmqd.providers.facts import Message, member, members, text
from llmqd.providers.limit_values import DAY, HOUR, MINUTE, MONTH, SECOND, Dimension, duration, number, resets_in

_LONGEST_REASON = 300

_LIMIT = re.compile(r"\b(RPS|RPM|RPD|TPS|TPM|TPD|ITPM|OTPM)\)?:? *Limit:? *([\d,]+)", re.IGNORECASE)
_REQUESTED = re.compile(r"\bRequested:? *([\d,]+)", re.IGNORECASE)
_COHERE_TRIAL = re.compile(r"limited to ([\d,]+) API calls */ *(minute|month)", re.IGNORECASE)
_AGAIN_IN = re.compile(
    r"(?:try again|retry|replenished) (?:in|after) (?:(?P<go>[0-9.]+(?:ms|[dhms])[0-9.dhms]*)"
    r"|(?P<plain>\d[\d.]*) *(?P<unit>ms|milli|s|m)|(?P<clock>\d{1,3}:\d\d:\d\d))",
    re.IGNORECASE,
)
_UNITS = {"ms": 0.001, "milli": 0.001, "s": SECOND, "m": MINUTE}
_PER = re.compile(
    r"(?:limit\b.{0,80}? of (?P<limit>[\d,]+) )?\b(?P<what>(?:input |output )?tokens|requests)"
    r" per (?P<window>second|min|hour|day)",
    re.IGNORECASE,
)
_EXCEEDED = re.compile(
    r"number of (?:request )?(?P<anthropic>(?:output )?tokens|requests) has exceeded your (?P<its>per-minute|daily)"
    r"|exceeded (?P<azure>token|call) rate limit"
    r"|too many (?P<bedrock>tokens|requests)(?P<day> per day)?, please wait",
    re.IGNORECASE,
)
_TOGETHER = re.compile(r"\bconcurren(?:t|cy)\b", re.IGNORECASE)
_WINDOWS = {"second": SECOND, "min": MINUTE, "hour": HOUR, "day": DAY}
_ACRONYMS: Mapping[str, tuple[Dimension, float]] = {
    "RPS": ("requests", SECOND),
    "RPM": ("requests", MINUTE),
    "RPD": ("requests", DAY),
    "TPS": ("tokens", SECOND),
    "TPM": ("tokens", MINUTE),
    "TPD": ("tokens", DAY),
    "ITPM": ("input_tokens", MINUTE),
    "OTPM": ("output_tokens", MINUTE),
}
_OPENAI_TYPES: Mapping[str, Dimension] = {
    "requests": "requests",
    "tokens": "tokens",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "dynamic_request_limited": "requests",
    "dynamic_token_limited": "tokens",
}


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An error answer in one shape.

    `kinds` are all the words by which it names itself (codes, types, statuses, reasons); `body` is the object around
    the error, `error` the error itself, both empty where the body is no JSON.
    """

    kinds: frozenset[str] = frozenset()
    message: str = ""
    body: Message | None = None
    error: Message | None = None

    @property
    def said(self) -> str:
        """The message, or the kinds where there is none; cut to what fits a log line."""
        return (self.message or ", ".join(sorted(self.kinds)))[:_LONGEST_REASON]

    @property
    def dimension(self) -> Dimension | None:
        """Which kind of limit was hit, where the body says it."""
        return (self._named() or (None, None, None))[0]

    @property
    def window(self) -> float | None:
        """The seconds over which that limit counts."""
        return (self._named() or (None, None, None))[1]

    @property
    def limit(self) -> float | None:
        """That limit's size; 0 means that the key's plan has none of it."""
        return (self._named() or (None, None, None))[2]

    @property
    def by_pacific_day(self) -> bool:
        """A quota of Gemini that comes back at midnight Pacific."""
        return any("PerDay" in quota for quota, _ in self._quotas())

    @property
    def can_never_fit(self) -> bool:
        """The call alone is larger than the limit."""
        limit, requested = self.limit, _REQUESTED.search(self.message)
        if requested is not None and limit:
            return _count(requested[1]) > limit
        # Azure API Management gives a time unless none would do.
        return self.message.startswith("Token limit is exceeded") and _AGAIN_IN.search(self.message) is None

    @property
    def retryable(self) -> bool | None:
        """What OpenRouter says of a retry (`availability.retryable`), None where nothing is said."""
        value = member(self.error or {}, "availability").get("retryable")
        value = member(member(self.error or {}, "metadata"), "availability").get("retryable", value)
        return value if isinstance(value, bool) else None

    def wait(self, wall: float) -> float | None:
        """Seconds after which the body suggests another try; None where it does not."""
        for detail in members(self.error or {}, "details"):
            seconds = duration(text(detail.get("retryDelay")))
            if seconds is not None:
                return seconds
        metadata = member(self.error or {}, "metadata")
        for place in (member(self.error or {}, "availability"), member(metadata, "availability"), metadata):
            seconds = _number(place.get("retry_after"))
            if seconds is not None:
                return seconds
        for name, value in member(metadata, "headers").items():
            if name.lower() == "x-ratelimit-reset":
                return resets_in(str(value)[:32], wall)
        return _wait_in(self.message)

    def resets_at(self, wall: float) -> float | None:
        """Unix seconds at which a plan's usage is counted anew (`resets_at`, `resets_in_seconds`, Anthropic's text)."""
        error = self.error or {}
        at, after = _number(error.get("resets_at")), _number(error.get("resets_in_seconds"))
        if at is not None:
            return at
        if after is not None:
            return wall + after
        found = re.search(r"regain access on (\d{4}-\d\d-\d\d)(?: at (\d\d:\d\d))? UTC", self.message)
        seconds = None if found is None else resets_in(f"{found[1]}T{found[2] or '00:00'}:00Z", wall)
        return None if seconds is None else wall + seconds

    def _named(self) -> tuple[Dimension, float | None, float | None] | None:
        for quota, value in self._quotas():
            return _quota_dimension(quota), _quota_window(quota), value
        found = _LIMIT.search(self.message)
        if found is not None:
            return (*_ACRONYMS[found[1].upper()], _count(found[2]))
        trial = _COHERE_TRIAL.search(self.message)
        if trial is not None:
            return "requests", MINUTE if trial[2].lower() == "minute" else MONTH, _count(trial[1])
        if (told := _told(self.message)) is not None:
            return told
        known = [_OPENAI_TYPES[kind] for kind in sorted(self.kinds & _OPENAI_TYPES.keys())]
        return (known[0], None, None) if known else None

    def _quotas(self) -> list[tuple[str, float | None]]:
        """Gemini's violated quotas, those of a day first."""
        found = [
            (quota, number(str(violation.get("quotaValue"))))
            for detail in members(self.error or {}, "details")
            for violation in members(detail, "violations")
            if (quota := text(violation.get("quotaId")))
        ]
        return sorted(found, key=lambda item: "PerDay" not in item[0])


def parse(body: bytes, aws_type: str = "") -> ErrorBody:
    """Any body: what is no JSON gives an ErrorBody without words. `aws_type` is the `x-amzn-ErrorType` header."""
    try:
        whole: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        whole = None
    if isinstance(whole, list):
        whole = whole[0] if whole else None
    outer: Message = whole if isinstance(whole, dict) else {}
    inner = outer.get("error")
    error: Message = inner if isinstance(inner, dict) else outer
    message = text(inner, 4096) or text(error.get("message"), 4096) or text(outer.get("message"), 4096) or ""
    aws = aws_type.partition(":")[0].rpartition("#")[2]
    kinds = frozenset({*_kinds(outer), *_kinds(error), *([aws] if aws else [])})
    return ErrorBody(kinds, message, outer, error)


def _kinds(error: Message) -> Iterator[str]:
    places = (error, member(error, "details"), member(error, "metadata"), member(error, "innererror"))
    for place in places:
        for key in ("code", "type", "status", "error_code", "error_type", "reason", "limit_source", "__type"):
            if (value := text(place.get(key))) is not None:
                yield value.rpartition("#")[2]


def _wait_in(message: str) -> float | None:
    found = _AGAIN_IN.search(message)
    if found is None:
        return None
    if found["clock"]:
        hours, minutes, seconds = found["clock"].split(":")
        return int(hours) * HOUR + int(minutes) * MINUTE + int(seconds)
    if found["go"]:
        return duration(found["go"].rstrip(".").lower())
    value = number(found["plain"].rstrip("."))
    return None if value is None else value * _UNITS[found["unit"].lower()]


def _told(message: str) -> tuple[Dimension, float | None, float | None] | None:
    """The limit that a sentence names in words alone."""
    if (found := _PER.search(message.replace("-tokens", " tokens"))) is not None:
        limit = None if found["limit"] is None else _count(found["limit"])
        return _dimension(found["what"]), _WINDOWS[found["window"].lower()], limit
    if (found := _EXCEEDED.search(message)) is not None:
        by_day = found["day"] or (found["its"] or "").lower() == "daily"
        return _dimension(found["anthropic"] or found["azure"] or found["bedrock"]), DAY if by_day else MINUTE, None
    return ("concurrency", None, None) if _TOGETHER.search(message) else None


def _dimension(words: str) -> Dimension:
    """`input tokens`, `token`, `calls` and the like."""
    words = words.lower()
    if "token" not in words:
        return "requests"
    return "input_tokens" if "input" in words else "output_tokens" if "output" in words else "tokens"


def _quota_dimension(quota: str) -> Dimension:
    if "OutputToken" in quota:
        return "output_tokens"
    if "InputToken" in quota:
        return "input_tokens"
    return "tokens" if "Token" in quota else "requests"


def _quota_window(quota: str) -> float | None:
    windows = {"PerDay": DAY, "PerMinute": MINUTE, "PerSecond": SECOND, "PerHour": HOUR}
    return next((seconds for name, seconds in windows.items() if name in quota), None)


def _count(digits: str) -> float:
    return float(digits.replace(",", "")[:18] or 0)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= 1e12 else None
