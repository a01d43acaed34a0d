"""What a request may be shown: everything, or what belongs to one client key."""

from __future__ import annotations

from aiohttp import web

_KEY = web.RequestKey("llmqd_key", str)


def confine(request: web.Request, key: str) -> None:
    """From now on the request is shown only what belongs to the client key of this name."""
    request[_KEY] = key


def scope(request: web.Request) -> str | None:
    """The name of the client key whose things alone may be shown; None: everything."""
    return request.get(_KEY)
