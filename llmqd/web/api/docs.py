"""`/docs` and `/openapi.json`: the API to read and to try out, with nothing fetched from elsewhere.

The page is Swagger UI (npm `swagger-ui-dist` 5.35.0, Apache-2.0), whose files lie beside this module, compressed.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

import orjson
from aiohttp import web

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>llmqd API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api">
<noscript>This page needs JavaScript. <a href="/openapi.json">The description itself</a> does not.</noscript>
</div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = b"""SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  displayRequestDuration: true,
  tryItOutEnabled: true,
});
"""
_POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " frame-ancestors 'none'"
)
_WEEK = "public, max-age=604800"


class Docs:
    """Serves a description of the API and a page that shows it. `describe` gives it as OpenAPI has it, once somebody
    asks: in a thread, as that takes a while."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        self._describe = describe
        self._document: bytes | None = None

    def urls(self) -> dict[str, _Handler]:
        """What each URL is answered by."""
        return {
            "/openapi.json": self.openapi,
            "/docs": self.page,
            "/docs/start.js": _fixed(_START, "text/javascript"),
            "/docs/swagger-ui-bundle.js": _packed("swagger-ui-bundle.js.gz", "text/javascript"),
            "/docs/swagger-ui.css": _packed("swagger-ui.css.gz", "text/css"),
        }

    async def openapi(self, _: web.Request) -> web.StreamResponse:
        """The description, as OpenAPI 3.1."""
        if self._document is None:
            self._document = await asyncio.to_thread(self._described)
        return web.Response(body=self._document, content_type="application/json")

    def _described(self) -> bytes:
        return orjson.dumps(self._describe(), option=orjson.OPT_APPEND_NEWLINE)

    async def page(self, _: web.Request) -> web.StreamResponse:
        """The page for people."""
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return web.Response(body=_PAGE, content_type="text/html", charset="utf-8", headers=headers)


def _fixed(body: bytes, content_type: str) -> _Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, charset="utf-8")

    return answer


def _packed(name: str, content_type: str) -> _Handler:
    """A file that goes out as it lies there to those who can unpack it, which every browser can."""

    async def answer(request: web.Request) -> web.StreamResponse:
        data = (resources.files("llmqd.web.api") / "swagger" / name).read_bytes()
        headers = {"Cache-Control": _WEEK, "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            data = gzip.decompress(data)
        return web.Response(body=data, content_type=content_type, charset="utf-8", headers=headers)

    return answer
