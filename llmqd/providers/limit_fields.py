"""Reads the RateLimit header fields of the IETF's drafts, and the bare X-RateLimit ones of gateways, into limits.

- draft-ietf-httpapi-ratelimit-headers-00 to -06 (express-rate-limit, Kong): `RateLimit-Limit: 100, 100;w=60` (the limit
  that is nearest, then all of them with their windows in seconds), `RateLimit-Remaining: 50`, `RateLimit-Reset: 30`
  (seconds); the windows may stand apart, as `RateLimit-Policy: 100;w=60, 1000;w=3600`.
- -07: `RateLimit: limit=100, remaining=50, reset=30`.
- from -08 on: `RateLimit-Policy: "default";q=100;w=60` and `RateLimit: "default";r=50;t=30`, by names; `qu` is what
  is counted.
- Envoy and Istio send the oldest form under `x-ratelimit-*`. Others (OpenRouter, many gateways) send bare numbers
  there: nothing says whose window it is but the reset, and that is seconds, or Unix time in seconds or milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from llmqd.providers.limit_values import (
    LONGEST,
    Dimension,
    Observed,
    limit_of,
    number,
    refills,
    resets_in,
    shortest,
)

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ITEM = re.compile(rf'(?:{_QUOTED}|[^",])+')
_PART = re.compile(rf'(?:{_QUOTED}|[^";])+')
_LATE = 1.05
"""A reset may be so many windows away at most: clocks and rounding."""


class _Item(NamedTuple):
    """One item of a list: its value without quotes, and its parameters in lower case; `limit=100` is a parameter."""

    value: str
    parameters: Mapping[str, str]


class _Policy(NamedTuple):
    """A limit as it is announced. `window` None: nobody says."""

    name: str
    limit: float
    window: float | None
    dimension: Dimension


class _State(NamedTuple):
    """What is left of a limit, and in how many seconds it is whole again."""

    remaining: float | None
    reset: float | None


FIELDS = frozenset(prefix + name for prefix in ("ratelimit", "x-ratelimit") for name in ("", "-limit", "-policy"))
"""Without any of these nothing is stated."""


def read_fields(headers: Mapping[str, str], here: float) -> list[Observed]:
    """Every limit in these fields. Names are in lower case; `here` is the answer's own time in Unix seconds."""
    return [*_read(headers, "ratelimit", here)] or [*_read(headers, "x-ratelimit", here)]


def _read(headers: Mapping[str, str], prefix: str, here: float) -> Iterator[Observed]:
    stated, header = _items(headers.get(f"{prefix}-limit")), f"{prefix}-limit"
    policies = [*_policies(stated), *_policies(_items(headers.get(f"{prefix}-policy")))]
    states: dict[str, _State] = {}
    nearest: dict[str, str] = {}
    for item in _items(headers.get(prefix)):
        if "r" in item.parameters:
            states[item.value] = _State(number(item.parameters["r"]), resets_in(item.parameters.get("t"), here))
        elif not item.value:
            nearest.update(item.parameters)
    if states:
        for policy in policies:
            yield from _observed(policy, states.get(policy.name), f"{prefix}-policy")
        return
    if stated:
        nearest.setdefault("limit", stated[0].value)
    nearest.setdefault("remaining", headers.get(f"{prefix}-remaining", ""))
    reset = resets_in(nearest.get("reset", headers.get(f"{prefix}-reset")), here)
    limit, state = limit_of(nearest, "limit"), _State(number(nearest["remaining"]), reset)
    met = _met(policies, limit, reset)
    if met is None and limit is not None:
        policies, met = [*policies, bare := _Policy("", limit, None, "requests")], bare
    for policy in dict.fromkeys(policies):
        yield from _observed(policy, state if policy == met else None, header)


def _items(text: str | None) -> list[_Item]:
    """The items of a list of structured fields, as far as they make sense; what does not is left out."""
    found = []
    for item in _ITEM.findall(text or ""):
        first, *rest = [part.strip() for part in _PART.findall(item)] or [""]
        pairs = [part.partition("=") for part in rest]
        if not first.startswith('"') and "=" in first:  # a member of a dictionary
            pairs.append(first.partition("="))
            first = ""
        found.append(_Item(first.strip('"'), {key.strip().lower(): value.strip() for key, _, value in pairs}))
    return found


def _policies(items: list[_Item]) -> Iterator[_Policy]:
    for value, parameters in items:
        limit = limit_of(parameters, "q") or limit_of({"": value}, "")
        window = number(parameters.get("w"))
        if limit is None or (window is None and "q" not in parameters):
            continue
        if window is not None and not 1 <= window <= LONGEST:
            continue
        named = value if "q" in parameters else ""
        if (dimension := _counted(parameters.get("qu"), named)) is not None:
            yield _Policy(named, limit, window, dimension)


def _counted(unit: str | None, name: str) -> Dimension | None:
    """What is counted: by the unit, where it is told, else by the name; None for what no lane counts (bytes, money)."""
    word = (name if unit is None else unit).lower()
    if "token" not in word:
        return "requests" if unit is None or unit.strip('"') == "requests" else None
    return "input_tokens" if "input" in word else "output_tokens" if "output" in word else "tokens"


def _met(policies: list[_Policy], limit: float | None, reset: float | None) -> _Policy | None:
    """Which of them the limit is of which the rest is told: the shortest that can have so many seconds left."""
    same = [(one.window or LONGEST, one) for one in policies if limit in (None, one.limit)]
    return min(same, key=lambda one: (one[0] * _LATE < (reset or 0.0), one[0]), default=(0.0, None))[1]


def _observed(policy: _Policy, state: _State | None, header: str) -> Iterator[Observed]:
    remaining, reset = state or _State(None, None)
    window = policy.window
    if window is None:
        if reset is None:
            return  # nothing says of how long a time this is the limit; the reset alone would
        window = shortest(reset)
    elif reset is not None and reset > window * _LATE:
        reset = None
    remaining = None if remaining is None else min(remaining, policy.limit)
    yield Observed(
        dimension=policy.dimension,
        window=window,
        limit=policy.limit,
        remaining=remaining,
        resets_in=reset,
        continuous=bool(policy.window) and refills(policy.limit, remaining, window, reset),
        header=header,
    )
