"""Cursors: where a page ended, as text that a client hands back for the next one."""

from __future__ import annotations

import base64
import binascii

import orjson

Place = tuple[float, str]


class BadCursor(ValueError):
    """Text that is no cursor of ours."""


def written(place: Place) -> str:
    """The cursor of a place: an order (a time in Unix seconds) and an id among those of that order."""
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def read(text: str) -> Place:
    """The inverse of `written`. Raises BadCursor."""
    try:
        at, id_ = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError) as error:
        raise BadCursor("not a cursor that an earlier page gave as next") from error
    if not isinstance(at, int | float) or isinstance(at, bool) or not isinstance(id_, str):
        raise BadCursor("not a cursor that an earlier page gave as next")
    return float(at), id_
