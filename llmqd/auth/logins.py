"""Logins of the dashboard: random cookies that stand for a token, so that no page ever holds the token itself."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

LASTS = 12 * 3600.0
"""Seconds after which one has to log in again."""


class Logins:
    """Remembers who is behind each cookie: "" for the admin, else the name of a client key. They end with the daemon.

    `wall` is Unix time in seconds. The oldest of more than `most` are forgotten.
    """

    def __init__(self, *, wall: Callable[[], float], most: int = 1024) -> None:
        self._wall = wall
        self._most = most
        self._open: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def begin(self, who: str) -> str:
        """A new cookie for somebody who has shown a right token."""
        cookie = secrets.token_urlsafe(32)
        self._open[_place(cookie)] = who, self._wall() + LASTS
        while len(self._open) > self._most:
            self._open.popitem(last=False)
        return cookie

    def who(self, cookie: str) -> str | None:
        """Who is behind a cookie; None where it is unknown or over."""
        found = self._open.get(_place(cookie))
        return found[0] if found is not None and self._wall() < found[1] else None

    def end(self, cookie: str) -> None:
        """Forgets a cookie."""
        self._open.pop(_place(cookie), None)

    def end_all(self) -> None:
        """Forgets all: the token that they stood for has changed."""
        self._open.clear()


def _place(cookie: str) -> bytes:
    """Found by digest, so that the time of the search tells nothing about a cookie."""
    return sha256(cookie.encode("utf-8", "replace")).digest()
