"""Reads what clients of `/queue` send: small JSON objects and query parameters, each fault naming its field."""

from __future__ import annotations

import math
from typing import Any

import orjson
from aiohttp import web

from llmqd.controls import parse_priority
from llmqd.errors import BadBody, bad
from llmqd.web.body import receive_own

LONGEST_PAUSE = 365 * 86400.0
"""Seconds of the longest timed pause; a pause without an end has no `seconds`."""
MAX_REASON = 200
"""Characters of the longest reason of a pause."""

Fields = dict[str, Any]


async def fields(request: web.Request, *known: str) -> Fields:
    """The JSON object that is the body; an empty body is an empty object.

    Raises BadBody, BodyTooLarge, RequestTimeout, or BadField when it has a field that is not known here.
    """
    data = await receive_own(request)
    if not data.strip():
        return {}
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadBody("the body must be a JSON object")
    if unknown := sorted(set(body) - set(known)):
        takes = " and ".join(known) or "none"
        raise bad(str(unknown[0]), f"unknown field; this URL takes {takes}")
    return body


def number(request: web.Request, name: str, default: int, *, most: int = 2**53) -> int:
    """A whole number from the query, 0 to `most`. Raises BadField."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= most):
        raise bad(name, f"{text!r} is not a whole number from 0 to {most}")
    return int(text)


def priority(body: Fields) -> int:
    """`priority`: a name, or 0 to 9 as a number or text. Raises BadField."""
    if "priority" not in body:
        raise bad("priority", "missing; give high, normal, low, batch, or 0 to 9")
    value = body["priority"]
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise bad("priority", f"{value!r} is neither text nor a whole number")
    try:
        return parse_priority(str(value))
    except ValueError as error:
        raise bad("priority", str(error)) from None


def seconds(body: Fields) -> float | None:
    """`seconds` of a pause; None, or nothing at all: until it is resumed. Raises BadField."""
    value = body.get("seconds")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad("seconds", f"{value!r} is not a number")
    if not (0 < value <= LONGEST_PAUSE and math.isfinite(value)):
        raise bad("seconds", f"{value!r} is not above 0 and at most {LONGEST_PAUSE:.0f} (a year)")
    return float(value)


def reason(body: Fields) -> str:
    """`reason` of a pause, for people; empty when none is given. Raises BadField."""
    value = body.get("reason")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise bad("reason", f"{value!r} is not text")
    if len(value) > MAX_REASON:
        raise bad("reason", f"longer than {MAX_REASON} characters")
    return value.strip()
