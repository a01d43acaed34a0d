"""The keys that a request shows, whichever way its API has them shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

_KEY_HEADERS = ("x-api-key", "x-goog-api-key", "api-key", "xi-api-key")
_SUBPROTOCOL = "openai-insecure-api-key."


def shown_tokens(request: web.BaseRequest, *, in_query: bool = False) -> tuple[str, ...]:
    """All of them. `in_query`: Google's clients may put a key there (Gemini API: "API keys")."""
    headers = request.headers
    tokens = [_bearer(value) for value in headers.getall("Authorization", ())]
    for name in _KEY_HEADERS:
        if name in headers:
            tokens += [value.strip() for value in headers.getall(name)]
    if in_query and "key" in request.query:
        tokens += request.query.getall("key")
    for value in headers.getall("Sec-WebSocket-Protocol", ()):
        protocols = (part.strip() for part in value.split(","))
        tokens += [one.removeprefix(_SUBPROTOCOL) for one in protocols if one.startswith(_SUBPROTOCOL)]
    return tuple(dict.fromkeys(token for token in tokens if token))


def shown_key(request: web.BaseRequest) -> str:
    """The one that tells callers apart; "" for none."""
    headers = request.headers
    if value := headers.get("Authorization"):
        return _bearer(value)
    if value := next((value for name in _KEY_HEADERS if (value := headers.get(name))), None):
        return value.strip()
    return request.query.get("key", "") if "key=" in request.raw_path else ""


def _bearer(value: str) -> str:
    scheme, space, token = value.strip().partition(" ")
    return token.strip() if space and scheme.lower() == "bearer" else value.strip()
