"""`/dashboard`: the page for people, with all that it needs; it asks nothing but llmqd's public URLs.

Charts are drawn by uPlot (npm `uplot` 1.6.32, MIT), whose files lie unchanged beside the page's own in `page/`.
"""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable
from functools import cache
from hashlib import sha256
from importlib import resources

from aiohttp import web

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "txt": "text/plain"}
_POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
URL = "/dashboard"


class Dashboard:
    """Serves the page's files from memory, each compressed when it is first asked for: some tens of kilobytes."""

    def __init__(self) -> None:
        self.files = {one.name: one.read_bytes() for one in (resources.files("llmqd.web") / "page").iterdir()}

    def urls(self) -> dict[str, _Handler]:
        """What each URL is answered by."""
        urls = {f"{URL}/{name}": _file(name, data) for name, data in self.files.items() if name != "index.html"}
        page = _file("index.html", self.files["index.html"])
        return {URL: page, f"{URL}/": page} | urls

    def add_to(self, app: web.Application, wrong_method: _Handler) -> None:
        """Puts every URL into the application."""
        for url, handler in self.urls().items():
            app.router.add_get(url, handler)
            app.router.add_route("*", url, wrong_method)


def _file(name: str, data: bytes) -> _Handler:
    """An answer that browsers ask for anew after an upgrade, and only then get again."""
    packed = cache(lambda: gzip.compress(data, mtime=0))
    tag = f'"{sha256(data).hexdigest()[:16]}"'
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "Content-Type": f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8",
        "ETag": tag,
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }

    async def answer(request: web.Request) -> web.StreamResponse:
        if tag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=packed(), headers=headers | {"Content-Encoding": "gzip"})
        return web.Response(body=data, headers=headers)

    return answer
