"""A receiver of OTLP/HTTP as a collector is one: it reads the protobuf of what it is sent."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Receiver:
    """What has come: spans by name, the resource of the last of them, and the headers of each request."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.resource: dict[str, Any] = {}
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        """What the next requests are answered with, before 200."""
        self.held = asyncio.Event()
        self.held.set()

    async def take(self, request: web.Request) -> web.Response:
        """One batch."""
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        body = await request.read()
        await self.held.wait()
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        # aiohttp has undone the compression already.
        message = ExportTraceServiceRequest()
        message.ParseFromString(gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body)
        for resource in message.resource_spans:
            self.resource = attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                assert scope.scope.name == "llmqd"
                self.spans.extend(scope.spans)
        return web.Response(body=b"", content_type="application/x-protobuf")

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Waits for what is to come."""
        async with asyncio.timeout(15):
            while not predicate():  # noqa: ASYNC110 (another thread sends)
                await asyncio.sleep(0.005)

    async def span(self, name: str) -> Span:
        """The span of that name, once it has come."""
        await self.until(lambda: any(span.name == name for span in self.spans))
        return next(span for span in self.spans if span.name == name)


def attributes(pairs: Any) -> dict[str, Any]:
    """Attributes in plain values."""
    return {pair.key: _plain(pair.value) for pair in pairs}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(item) for item in value.array_value.values]
    return getattr(value, kind)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        receiver.held.set()
        await runner.cleanup()
