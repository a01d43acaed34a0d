"""Reads what an answer's headers say about the limits of its key: how much, how much is left, how long to wait.

Formats are told apart by name; where the same name means different things the provider decides:

- OpenAI (guide "Rate limits"): `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`; reset is a Go duration, the
  time until the bucket is full again. A limit may be per minute or per day; reset * limit / (limit - remaining) is the
  window.
- Azure OpenAI: the same names with whole seconds; 0 and -1 are sent where nothing is known.
- Groq (docs "Rate Limits"): requests are always a day's, tokens always a minute's.
- Anthropic (API "Rate limits"): `anthropic-ratelimit-*`, RFC 3339 times, remaining tokens rounded to thousands;
  `-tokens-*` repeats whichever token limit is the most restrictive. The pools of priority and fast mode are apart from
  the standard limits and left out. Subscriptions report shares of a plan (`-unified-*`) with times in epoch seconds.
- Mistral `-req-minute`, Kong `-minute` alone, Cerebras `-requests-day` and `-tokens-minute`, Fireworks
  `-tokens-prompt`, Together (bare names, per second).
- The fields of the IETF's drafts and all other bare names: `llmqd.providers.limit_fields`.

Nothing here raises: a value that cannot be understood is as good as missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from llmqd.providers.limit_fields import FIELDS, read_fields
from llmqd.providers.limit_values import (
    DAY,
    HOUR,
    LONGEST,
    MINUTE,
    MONTH,
    SECOND,
    Dimension,
    Observed,
    duration,
    http_date,
    limit_of,
    number,
    refills,
    resets_in,
    server_time,
    shortest,
)

_SUFFIXED = re.compile(r"x-ratelimit-limit(?:-(.+?))??(?:-(second|minute|hour|day|month))?", re.ASCII)
_WINDOWS = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY, "month": MONTH}
_NAMES: Mapping[str | None, Dimension] = {
    None: "requests",
    "requests": "requests",
    "req": "requests",
    "tokens": "tokens",
    "project-tokens": "tokens",
    "tokens_usage_based": "tokens",
    "input-tokens": "input_tokens",
    "output-tokens": "output_tokens",
    "tokens-prompt": "input_tokens",
    "tokens-cache-adjusted-prompt": "input_tokens",
    "cache-adjusted-prompt": "input_tokens",
    "tokens-generated": "output_tokens",
}
_ANTHROPIC: Mapping[str, Dimension] = {
    "requests": "requests",
    "input-tokens": "input_tokens",
    "output-tokens": "output_tokens",
    "tokens": "tokens",
}
_ROUNDED = 500
"""Anthropic rounds remaining tokens to the nearest thousand: so much less may be left than is said."""

_PLAN_WINDOWS = {"5h": 5 * HOUR, "7d": 7 * DAY, "7d_sonnet": 7 * DAY, "7d_oi": 7 * DAY}
_AZURE = frozenset({"azure", "azure-openai"})
_BUCKETS = frozenset({"openai", "groq"})
"""Those whose limits are known to come back bit by bit, a day's included."""
_BARE = "x-ratelimit-limit"
_OF_LIMITS = "limit"
"""What the name of every header of a limit has in it, whoever sends it."""
_WITHOUT_LIMITS = frozenset({"date"})


def read_limits(headers: Mapping[str, str], preset: str, wall: float) -> tuple[Observed, ...]:
    """Every limit that the headers of an answer state.

    `preset` is the provider's name as in `llmqd.providers.presets`; `wall` the time of arrival in Unix seconds, which
    an answer's own `Date` overrules, so that absolute times do not suffer from clocks that differ.
    """
    named = {
        lower: value for name, value in headers.items() if _OF_LIMITS in (lower := name.lower()) or lower == "date"
    }
    if named.keys() <= _WITHOUT_LIMITS:
        return ()
    here, names, found = server_time(named, wall), " ".join(named), list[Observed]()
    if "x-ratelimit-limit-" in names:
        found += _suffixed(named, preset, here)
    if "anthropic-" in names:
        found += [*_anthropic(named, here), *_plan(named, here)]
    if "bysize" in names:
        found += _by_size(named, here)
    if preset == "together":
        found += _together(named)
    elif not FIELDS.isdisjoint(named):
        found += read_fields(named, here)
    return tuple(found)


def wait_of(headers: Mapping[str, str], wall: float) -> float | None:
    """Seconds for which a refused caller should wait; None when the headers do not say.

    What `retry_after` says, else the longest reset among the limits of which nothing remains.
    """
    asked = retry_after(headers, wall)
    if asked is not None:
        return asked
    spent = (seen for seen in read_limits(headers, "", wall) if seen.remaining == 0 and not _is_share(seen))
    return max((seen.resets_in for seen in spent if seen.resets_in is not None), default=None)


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """Seconds of `retry-after-ms`, else of `Retry-After`: seconds, a date (RFC 9110), here also any form of a reset."""
    named = lowered(headers)
    milliseconds = number(named.get("retry-after-ms"))
    if milliseconds is not None and milliseconds / 1000 <= LONGEST:
        return milliseconds / 1000
    value = named.get("retry-after")
    if value is None:
        return None
    here = server_time(named, wall)
    if (seconds := resets_in(value, here)) is None and (moment := http_date(value)) is not None:
        seconds = max(moment - here, 0.0)
    return seconds if seconds is not None and seconds <= LONGEST else None


def in_plan(headers: Mapping[str, str]) -> bool:
    """False where Mistral says, with a limit of 0, that the key's plan does not include this model."""
    return number(lowered(headers).get("x-ratelimit-limit-req-minute")) != 0


def _is_share(seen: Observed) -> bool:
    """A used-up share of a plan, which may bind other models only; that calls are refused is said by its status."""
    return seen.dimension == "plan" and not seen.header.endswith("-status")


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers under lower-case names, whatever kind of mapping held them."""
    return {name.lower(): value for name, value in headers.items()}


def _suffixed(headers: Mapping[str, str], preset: str, here: float) -> Iterator[Observed]:
    for name in headers:
        if (named := _named(name)) is None or (limit := limit_of(headers, name)) is None:
            continue
        dimension, stated, tail = named
        remaining = number(headers.get(f"x-ratelimit-remaining-{tail}"))
        reset = resets_in(headers.get(f"x-ratelimit-reset-{tail}"), here)
        window = stated or _window(preset, dimension, limit, remaining, reset)
        yield Observed(
            dimension=dimension,
            window=window,
            limit=limit,
            remaining=None if remaining is None else min(remaining, limit),
            resets_in=reset,
            continuous=_is_bucket(preset, limit, remaining, window, reset),
            header=name,
        )


@lru_cache(maxsize=256)
def _named(header: str) -> tuple[Dimension, float | None, str] | None:
    """What a header limits, its window where it names one, and the end of its name; None for others."""
    found = _SUFFIXED.fullmatch(header)
    if found is None or header == _BARE or (dimension := _NAMES.get(found[1])) is None:
        return None
    return dimension, _WINDOWS[found[2]] if found[2] else None, header.removeprefix("x-ratelimit-limit-")


def _window(preset: str, dimension: Dimension, limit: float, remaining: float | None, reset: float | None) -> float:
    """A minute, an hour or a day, by provider where it is fixed, else by the time in which what was used comes back."""
    if preset == "groq":
        return DAY if dimension == "requests" else MINUTE
    if preset in _AZURE or reset is None:
        return MINUTE
    used = limit - remaining if remaining is not None else 0.0
    # A day's bucket can read low, as it refilled while the call ran; the end of a fixed minute can read as anything
    # below a minute's share of the limit, so less than half a day is taken for a minute.
    is_bucket_of_day = used > 0 and 0.5 * DAY <= reset * limit / used <= 1.05 * DAY
    if is_bucket_of_day and (preset == "openai" or reset > 1.05 * MINUTE):
        return DAY
    return shortest(reset)


def _is_bucket(preset: str, limit: float, remaining: float | None, window: float, reset: float | None) -> bool:
    """Whether it comes back bit by bit. A day ends at once more often than a minute: of who is not known, it is told
    by the reset."""
    if window < DAY or preset in _BUCKETS or reset is None:
        return preset not in _AZURE
    return refills(limit, remaining, window, reset)


def _anthropic(headers: Mapping[str, str], here: float) -> Iterator[Observed]:
    limits: set[float] = set()
    for name, dimension in _ANTHROPIC.items():
        header = f"anthropic-ratelimit-{name}-limit"
        limit = limit_of(headers, header)
        if limit is None or (dimension == "tokens" and limit in limits):
            continue  # the most restrictive token limit, said once already under its own name
        remaining = number(headers.get(f"anthropic-ratelimit-{name}-remaining"))
        if dimension != "requests":
            limits.add(limit)
            remaining = None if remaining is None else max(remaining - _ROUNDED, 0.0)
        yield Observed(
            dimension=dimension,
            window=MINUTE,
            limit=limit,
            remaining=None if remaining is None else min(remaining, limit),
            resets_in=resets_in(headers.get(f"anthropic-ratelimit-{name}-reset"), here),
            header=header,
        )


def _plan(headers: Mapping[str, str], here: float) -> Iterator[Observed]:
    status = headers.get("anthropic-ratelimit-unified-status")
    if status is not None and not status.lower().startswith("allowed"):
        yield Observed(
            dimension="plan",
            window=5 * HOUR,
            limit=1.0,
            remaining=0.0,
            resets_in=resets_in(headers.get("anthropic-ratelimit-unified-reset"), here),
            continuous=False,
            header="anthropic-ratelimit-unified-status",
        )
    for name, window in _PLAN_WINDOWS.items():
        header = f"anthropic-ratelimit-unified-{name}-utilization"
        used = number(headers.get(header))
        if used is not None:
            yield Observed(
                dimension="plan",
                window=window,
                limit=1.0,
                remaining=max(1.0 - used, 0.0),
                resets_in=resets_in(headers.get(f"anthropic-ratelimit-unified-{name}-reset"), here),
                continuous=False,
                header=header,
            )


def _together(headers: Mapping[str, str]) -> Iterator[Observed]:
    names: tuple[tuple[str, Dimension], ...] = (("x-ratelimit", "requests"), ("x-tokenlimit", "tokens"))
    for name, dimension in names:
        limit = limit_of(headers, f"{name}-limit")
        if limit is not None:
            yield Observed(
                dimension=dimension,
                window=SECOND,
                limit=limit,
                remaining=number(headers.get(f"{name}-remaining")),
                resets_in=duration(headers.get(f"{name}-reset")),
                header=f"{name}-limit",
            )


def _by_size(headers: Mapping[str, str], here: float) -> Iterator[Observed]:
    """Mistral's older names for tokens a minute and a month."""
    for name in ("minute", "month"):
        header = f"x-ratelimitbysize-limit-{name}"
        limit = limit_of(headers, header)
        if limit is not None:
            yield Observed(
                dimension="tokens",
                window=_WINDOWS[name],
                limit=limit,
                remaining=number(headers.get(f"x-ratelimitbysize-remaining-{name}")),
                resets_in=resets_in(headers.get("ratelimitbysize-reset"), here) if name == "minute" else None,
                continuous=False,
                header=header,
            )
