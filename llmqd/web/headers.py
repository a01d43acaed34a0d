"""Which headers pass: hop-by-hop ones end here (RFC 9110 §7.6.1), llmqd's own and the client's key are taken out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from multidict import CIMultiDict, CIMultiDictProxy

from llmqd.controls import PREFIX
from llmqd.providers.presets import Auth

if TYPE_CHECKING:
    from llmqd.config.model import Key, Upstream

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# What a client must not tell an upstream: who it is behind llmqd (added by other proxies in front), its cookies for
# this host, and what concerns the connection to llmqd only.
_NOT_FORWARDED = frozenset(
    {
        "cf-connecting-ip",
        "cf-connecting-ipv6",
        "cf-ipcountry",
        "cf-pseudo-ipv4",
        "cf-ray",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "true-client-ip",
        "x-real-ip",
    }
)
KEY_HEADERS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key", "xi-api-key"})
"""Every header in which a client may show a key."""

_DROPPED = HOP_BY_HOP | _NOT_FORWARDED
_DROPPED_PREFIXES = (PREFIX, "x-forwarded-")


ParsedHeaders = CIMultiDict[str] | CIMultiDictProxy[str]


def named_in_connection(headers: ParsedHeaders) -> frozenset[str]:
    """What `Connection` says, in lower case: options such as `upgrade`, and headers that are hop-by-hop as well."""
    values = headers.getall("Connection", ())
    return frozenset(name.strip().lower() for value in values for name in value.split(",")) if values else frozenset()


RawHeaders = Iterable[tuple[bytes, bytes]]
"""Headers as they stood on the wire: aiohttp's parsed ones have lost the spelling of well-known names."""


def request_headers(
    headers: ParsedHeaders, raw: RawHeaders, upstream: Upstream, key: Key, url: str, *, strips: bool = False
) -> CIMultiDict[str]:
    """What the upstream sees: the client's headers in their order, less what ends here, with the upstream's own key.

    The client's key is replaced where the upstream has one and passed where it has none, unless `strips` says that it
    is for llmqd alone. `url` is the upstream's.
    """
    dropped = _DROPPED | named_in_connection(headers)
    replaces = strips or key.api_key is not None
    passed: CIMultiDict[str] = CIMultiDict()
    for name, value in _decoded(raw):
        low = name.lower()
        if low in dropped or low.startswith(_DROPPED_PREFIXES) or (replaces and low in KEY_HEADERS):
            continue
        passed.add(name, value)
    if key.api_key is not None:
        # Google's OpenAI-style API takes the same key as a bearer token (Gemini API: "OpenAI compatibility").
        bearer = upstream.dialect == "gemini" and "/openai/" in url
        name, value = key_header("bearer" if bearer else upstream.preset.auth, key.api_key.reveal())
        passed[name] = value
    for name, secret in upstream.headers:
        passed[name] = secret.reveal()
    return passed


def key_header(auth: Auth, secret: str) -> tuple[str, str]:
    """The header that shows a key to a provider."""
    if auth in ("bearer", "none"):
        return "Authorization", f"Bearer {secret}"
    return auth, secret


def websocket_headers(headers: CIMultiDict[str], *, replaces_key: bool) -> None:
    """Completes the headers of a WebSocket handshake in place (RFC 6455 §4.1).

    A browser can show its key only as a subprotocol (OpenAI: "Realtime with WebSockets"); it goes where the key goes.
    """
    headers["Connection"] = "Upgrade"
    headers["Upgrade"] = "websocket"
    offered = headers.get("Sec-WebSocket-Protocol")
    if replaces_key and offered is not None:
        kept = [part for part in offered.split(",") if not part.strip().startswith("openai-insecure-api-key.")]
        headers["Sec-WebSocket-Protocol"] = ",".join(kept).strip()


def without_key(query: str) -> str:
    """A query without `key=`: where Google's clients put their key, which must not go to an upstream that has one."""
    return "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]) != "key")


def response_headers(headers: ParsedHeaders, raw: RawHeaders) -> CIMultiDict[str]:
    """What the client sees: the upstream's headers with their duplicates, less the hop-by-hop ones."""
    dropped = HOP_BY_HOP | named_in_connection(headers)
    passed: CIMultiDict[str] = CIMultiDict()
    for name, value in _decoded(raw):
        if name.lower() not in dropped:
            passed.add(name, value)
    return passed


def _decoded(raw: RawHeaders) -> Iterator[tuple[str, str]]:
    for name, value in raw:
        yield name.decode("ascii", "surrogateescape"), _text(value)


def _text(value: bytes) -> str:
    """A header's value. aiohttp writes UTF-8 only; other bytes are read as what they once meant (RFC 9110 §5.5)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
