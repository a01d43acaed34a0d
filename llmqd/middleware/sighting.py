"""A copy of one call for those who look on: what was asked and what was answered, without secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

Pairs = tuple[tuple[str, str], ...]

HIDDEN = "[redacted]"
_CREDENTIALS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "x-goog-api-key",
        "api-key",
        "xi-api-key",
        "x-api-token",
        "x-amz-security-token",
        "cookie",
        "set-cookie",
    }
)
"""Headers whose values are never shown."""
_CREDENTIAL_WORDS = ("token", "secret", "password", "api-key", "apikey", "auth", "credential")
_QUERY_KEYS = frozenset({"key", "api_key", "api-key", "apikey", "access_token", "token"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The request. `at` is Unix time in seconds, `path` the raw path, `url` path and query, `body` its bytes.

    `body` is None where there is none, or it is larger than anyone who looks on wants, or it passed without being kept
    (uploads). Values of headers and of the query that carry keys are `[redacted]`.
    """

    id: str
    at: float
    method: str
    path: str
    url: str
    query: Pairs = ()
    headers: Pairs = ()
    body: bytes | None = None
    client: str | None = None
    session: str | None = None
    upstream: str | None = None
    model: str | None = None
    dialect: str = "openai"
    operation: str = "other"

    def header(self, name: str) -> str:
        """The value of a header, in any case; "" without it."""
        return next((value for each, value in self.headers if each.lower() == name), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answer as the client got it. `duration_ms` counts from the arrival of the request to the end of the answer.

    `chunks` are the pieces of the body as they came from the upstream, `size` is its size in bytes; `whole` is False
    where pieces are missing because the body is larger than anyone wants. `status` is None where the client left
    before there was an answer, `left` says that it did not stay to the end.
    """

    status: int | None
    headers: Pairs = ()
    chunks: tuple[bytes, ...] = ()
    size: int = 0
    whole: bool = True
    streaming: bool = False
    content_type: str = ""
    content_encoding: str = ""
    duration_ms: float = 0.0
    left: bool = False

    @property
    def body(self) -> bytes:
        """The pieces that are there."""
        return b"".join(self.chunks)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One call from its request to the end of its answer."""

    asked: Asked
    answered: Answered


@dataclass(slots=True)
class Gathered:
    """The pieces of one answer as they pass, kept up to `most` bytes of them."""

    most: int
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    whole: bool = True

    def add(self, chunk: bytes) -> None:
        """The next piece, as it came."""
        self.size += len(chunk)
        if self.size <= self.most:
            self.chunks.append(chunk)
        elif self.whole:
            self.whole = False


def shown_headers(pairs: Pairs) -> Pairs:
    """The headers with every credential hidden."""
    return tuple((name, HIDDEN if is_credential(name) else value) for name, value in pairs)


def is_credential(name: str) -> bool:
    """Whether a header of this name carries a key."""
    low = name.lower()
    return low in _CREDENTIALS or (any(word in low for word in _CREDENTIAL_WORDS) and "ratelimit" not in low)


def shown_query(query: str) -> Pairs:
    """The parameters of a query with every key hidden."""
    pairs = parse_qsl(query, keep_blank_values=True, encoding="utf-8", errors="replace")
    return tuple((name, HIDDEN if name.lower() in _QUERY_KEYS else value) for name, value in pairs)


def shown_url(url: str) -> str:
    """Path and query with every key in the query hidden; as it was where there is none."""
    path, _, query = url.partition("?")
    hidden = shown_query(query)
    if not any(value == HIDDEN for _, value in hidden):
        return url
    return urlunsplit(("", "", urlsplit(path).path, urlencode(hidden), ""))
