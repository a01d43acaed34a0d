"""A strict provider as a script of the fake upstream: limits of every kind, headers, faults, answers of all lengths."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.fake_upstream import anthropic_answers as anthropic
from tests.fake_upstream import openai_answers as openai
from tests.fake_upstream.limit_headers import Shown, Style, limit_headers
from tests.fake_upstream.limiters import Meter, TokenBucket, TokenLimit, Tokens
from tests.fake_upstream.providers import dialect
from tests.fake_upstream.request import Received
from tests.fake_upstream.script import Answer
from tests.fake_upstream.sized_answers import Lengths, sized, tokens_of

FAULTS = (500, 502, 503, 529, None)
"""Statuses of random faults; None is a connection that is reset before the status line."""


class Faults:
    """Makes a share of the admitted calls fail."""

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._random = random.Random(seed)

    def draw(self, spoken: str) -> Answer | None:
        """The fault that this call meets, None for most."""
        if self._random.random() >= self._share:
            return None
        status = self._random.choice(FAULTS)
        if status is None:
            return Answer(end="reset", headers_sent=False)
        if spoken == "anthropic":
            kind = "overloaded_error" if status == 529 else "api_error"
            return anthropic.error(status, kind, "Overloaded" if status == 529 else "Internal server error")
        text = "The server had an error while processing your request. Sorry about that!"
        return openai.error(status, text, "server_error")


@dataclass(slots=True)
class RequestLimit:
    """A limit on calls: what is enforced, and what the headers say about it.

    Providers whose enforcement is finer than a minute still show the figures of the minute, so where `shown` is given
    the headers follow that one.
    """

    meter: Meter
    per_minute: float
    shown: Meter | None = None

    @classmethod
    def of(cls, meter: Meter, per_minute: float, *, minute_meter: bool) -> RequestLimit:
        """`minute_meter`: the meter itself counts a whole minute, so its own figures are what headers show."""
        return cls(meter, per_minute, None if minute_meter else TokenBucket(per_minute, burst=per_minute))

    def take(self, now: float) -> None:
        """Counts a call, seen and unseen."""
        self.meter.take(now)
        if self.shown is not None:
            self.shown.take(now)

    def scale(self, factor: float, now: float) -> None:
        """The provider changes the limit."""
        self.per_minute *= factor
        for meter in (self.meter, self.shown):
            if meter is not None:
                meter.scale(factor, now)


@dataclass(frozen=True, slots=True)
class Change:
    """A limit on calls that becomes `factor` times what it was, `after` seconds from the first call."""

    after: float
    factor: float


@dataclass(slots=True, kw_only=True)
class StrictProvider:
    """The script: refuses what passes a limit, counts the rest, answers with usage.

    `tokens` are limits by their header name (`tokens`, `input-tokens`, `output-tokens`) with their size a minute.
    An answer takes `seconds` and `seconds_per_token` for each token that comes out. `headers` None shows no limits;
    `retry_after` and `explains` say whether a 429 tells when to come again, and names the limit.
    The clock is that of the upstream that plays this script; headers with absolute times want it to be Unix time.
    """

    requests: RequestLimit | None = None
    tokens: Mapping[str, tuple[TokenLimit, float]] = field(default_factory=dict)
    lengths: Lengths
    seconds: float = 0.05
    seconds_per_token: float = 0.0
    headers: Style | None = None
    retry_after: bool = True
    explains: bool = False
    faults: Faults | None = None
    change: Change | None = None

    began: float | None = None
    """When the first call came."""
    refused: list[float] = field(default_factory=list)
    """When calls were refused."""
    accepted: list[tuple[float, Tokens]] = field(default_factory=list)
    """When calls were admitted, and what they cost."""
    faulty: int = 0

    def __call__(self, request: Received) -> Answer:
        """The answer to one call."""
        now, spoken = request.at, dialect(request)
        if self.began is None:
            self.began = now
        if self.change is not None and self.requests is not None and now >= self.began + self.change.after:
            self.requests.scale(self.change.factor, now)
            self.change = None
        body: dict[str, Any] = orjson.loads(request.body)
        tokens = tokens_of(body, len(request.body), self.lengths.draw())
        seconds = self.seconds + self.seconds_per_token * tokens.output
        name, wait = self._wait(now, tokens)
        if wait > 0:
            self.refused.append(now)
            return self._refusal(spoken, name, wait, now)
        self._take(now, tokens, now + seconds)
        fault = self.faults.draw(spoken) if self.faults is not None else None
        if fault is not None:
            self.faulty += 1
            return fault
        return sized(spoken, body, tokens, seconds, *self._headers(now))

    def _wait(self, now: float, tokens: Tokens) -> tuple[str, float]:
        waits = [(limit.wait(now, tokens), name) for name, (limit, _) in self.tokens.items()]
        if self.requests is not None:
            waits.append((self.requests.meter.wait(now), "requests"))
        wait, name = max(waits, default=(0.0, ""))
        return name, wait

    def _take(self, now: float, tokens: Tokens, ends: float) -> None:
        self.accepted.append((now, tokens))
        if self.requests is not None:
            self.requests.take(now)
        for limit, _ in self.tokens.values():
            limit.start(now, tokens, ends)

    def _headers(self, now: float) -> list[tuple[str, str]]:
        if self.headers is None:
            return []
        shown = []
        if self.requests is not None:
            meter = self.requests.shown or self.requests.meter
            shown.append(Shown("requests", self.requests.per_minute, meter.remaining(now), meter.full_in(now)))
        for name, (limit, per_minute) in self.tokens.items():
            shown.append(Shown(name, per_minute, limit.meter.remaining(now), limit.meter.full_in(now)))
        return limit_headers(self.headers, shown, now)

    def _refusal(self, spoken: str, name: str, wait: float, now: float) -> Answer:
        seconds = wait if math.isfinite(wait) else 60.0
        text = "Rate limit reached. Please slow down."
        if self.explains:
            text = f"Rate limit reached on {name} per minute. Please try again in {seconds:.3f}s."
        if spoken == "anthropic":
            answer = anthropic.error(429, "rate_limit_error", text)
        else:
            answer = openai.error(429, text, "requests" if name == "requests" else "tokens", "rate_limit_exceeded")
        headers = [header for header in answer.headers if "ratelimit" not in header[0]]
        if self.retry_after:
            headers.append(("Retry-After", str(math.ceil(seconds))))
            if self.headers == "azure":
                headers.append(("retry-after-ms", str(math.ceil(seconds * 1000))))
        return answer.but(headers=[*headers, *self._headers(now)])
