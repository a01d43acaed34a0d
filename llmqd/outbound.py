"""A request as it leaves for an upstream, but for its body: what is the same for many calls is put together once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidict import CIMultiDict

_WITHOUT_LENGTH = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods whose requests say nothing of a length when they have no body (RFC 9110 §8.6)."""


class Outbound:
    """Method, URL and headers of a request, which may be sent any number of times, each time with another body.

    `url` is used as it is, percent-encoding included: `base` is its scheme and authority, `target` what stands in the
    request line. Nothing of it is to be changed.
    """

    __slots__ = ("_lines", "base", "headers", "method", "target", "url")

    def __init__(self, method: str, url: str, headers: CIMultiDict[str]) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.base, self.target = _split(url)
        self._lines: bytes | None = None

    def head(self, host: str, length: int | None) -> bytes:
        """All that goes before the body. `host` is the one of its URL, `length` that of the body, None without one.

        Raises ValueError for a line break.
        """
        if self._lines is None:
            self._lines = self._together(host)
        if "Content-Length" in self.headers or (length is None and self.method in _WITHOUT_LENGTH):
            return self._lines + b"\r\n"
        return b"%sContent-Length: %d\r\n\r\n" % (self._lines, length or 0)

    def _together(self, host: str) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        if "Host" not in self.headers:
            lines.append(f"Host: {host}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
            raise ValueError("a header holds a line break")
        return text.encode() + b"\r\n"


def _split(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if "?" in authority:  # a query without a path
        authority, _, query = rest.partition("?")
        slash, path = "/", f"?{query}"
    return f"{scheme}://{authority}", (slash or "/") + path.partition("#")[0]
