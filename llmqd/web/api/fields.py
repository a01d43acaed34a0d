"""Reads what clients ask: query and body into typed inputs, each fault naming its field, and times and money."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
import orjson
from aiohttp import web

from llmqd.errors import BadBody, BadField, bad
from llmqd.usage import PICO
from llmqd.web.body import receive_own

_Input = TypeVar("_Input", bound=msgspec.Struct)

_AT = re.compile(r"^(?P<why>.*) - at `\$\.(?P<field>\w+)(?P<rest>.*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>.*)`$", re.S)
_DAY = re.compile(r"^\d{4}-\d\d-\d\d$")
_DEAREST = Decimal(10**6)
"""US dollars, the most that may be asked about: sums in picodollars fit into 64 bits."""


def read_query(request: web.Request, into: type[_Input]) -> _Input:
    """The query as this input; of a parameter that stands twice the last counts. Raises BadField."""
    return converted(dict(request.query), into)


async def read_body(request: web.Request, into: type[_Input]) -> _Input:
    """The body, a JSON object, as this input; an empty one is an empty object.

    Raises BadBody, BodyTooLarge, RequestTimeout, BadField.
    """
    data = await receive_own(request)
    try:
        fields = orjson.loads(data) if data.strip() else {}
    except orjson.JSONDecodeError as error:
        raise BadBody(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadBody("the body must be a JSON object")
    return converted(fields, into, strict=True)


def converted(fields: Mapping[str, Any], into: type[_Input], *, strict: bool = False) -> _Input:
    """These fields as this input; text stands for numbers unless `strict`. Raises BadField."""
    for name, value in fields.items():
        if isinstance(value, str):
            if value.encode("utf-8", "ignore").decode() != value:
                raise bad(_shown(name), "not text in UTF-8")
            if "\0" in value:
                raise bad(_shown(name), "holds a null character")
    try:
        return msgspec.convert(fields, into, strict=strict)
    except msgspec.ValidationError as error:
        raise _named(str(error), into) from None


def _named(text: str, into: type[msgspec.Struct]) -> BadField:
    if found := _UNKNOWN.match(text):
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(into)) or "none"
        return bad(_shown(found["field"]), f"unknown; there are: {known}")
    if found := _AT.match(text):
        return bad(found["field"], found["why"] + _choices(into, found["field"]))
    return BadField(text)


def _choices(into: type[msgspec.Struct], name: str) -> str:
    """What a field may be, where these are a few words."""
    types = [field.type for field in msgspec.structs.fields(into) if field.encode_name == name]
    words = [word for kind in types for word in _words(kind)]
    return "; there are: " + ", ".join(words) if words else ""


def _words(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(word for part in get_args(kind) for word in _words(part))


def _shown(name: str) -> str:
    return name.encode("utf-8", "replace").decode()[:100]


def moment(field: str, text: str | None, *, end: bool = False) -> float | None:
    """A time as Unix seconds: RFC 3339, in UTC where no zone is given; or a day, which is its beginning or its `end`.

    Raises BadField.
    """
    if text is None or text == "":
        return None
    # A sign of a zone that came through a query unescaped.
    spaced = re.sub(r" (\d\d:\d\d)$", r"+\1", text) if "T" in text.upper() else text
    try:
        if _DAY.match(text):
            day = datetime.combine(date.fromisoformat(text), time(), UTC)
            return (day + timedelta(days=1, microseconds=-1) if end else day).timestamp()
        at = datetime.fromisoformat(re.sub(r":60(?=\D|$)", ":59", spaced).upper())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise bad(field, f"{text[:50]!r} is no time; write for example 2026-12-01T08:00:00Z or 2026-12-01") from None


def pico(field: str, dollars: float | str | None) -> int | None:
    """An amount in US dollars as picodollars. Raises BadField."""
    if dollars is None:
        return None
    try:
        amount = Decimal(str(dollars))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= _DEAREST:
        raise bad(field, f"must be an amount in US dollars from 0 to {_DEAREST}")
    return int(amount * PICO)
