"""`GET /events`: what happens, as server-sent events (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from llmqd.errors import BadField, ShuttingDown, bad
from llmqd.events import Gap, Published, Subscription, Wanted, wanted_types
from llmqd.web.refusal import refusal

if TYPE_CHECKING:
    from llmqd.events import EventBus

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent: shorter than the idle limit of any usual proxy (60 s)."""
STALLED = 20.0
"""Seconds that a client may take nothing while there is something for it; then its connection is cut. It comes back by
itself and goes on where it was, or is told of a gap."""
RECONNECT_MS = 2000
"""What a client that lost the connection waits before it comes back."""
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx would hold events back otherwise
}


class EventStream:
    """Serves the events of `bus` to any number of clients. A stream ends when the client leaves or the bus closes."""

    def __init__(self, bus: EventBus, *, keep_alive: float = KEEP_ALIVE, stalled: float = STALLED) -> None:
        self._bus = bus
        self._keep_alive = keep_alive
        self._stalled = stalled

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Filters `?types=&lane=&session=`; `Last-Event-ID` or `?last_event_id=` resumes."""
        try:
            if self._bus.closed:
                raise ShuttingDown()
            wanted, after = read_wanted(request), read_last_id(request)
        except (BadField, ShuttingDown) as error:
            return refusal(error, "openai")
        response = web.StreamResponse(headers=_HEADERS)
        if request.method == "HEAD":
            return response
        news = asyncio.Event()
        listener = self._bus.subscribe(news.set, wanted, after=after)
        try:
            await response.prepare(request)
            await self._tell(response, listener, news)
        except ConnectionError:
            pass  # the client has left, which is how streams end
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._bus.unsubscribe(listener)
        return response

    async def _tell(self, response: web.StreamResponse, listener: Subscription, news: asyncio.Event) -> None:
        # An id without data sets the client's last id without an event: even a stream that never had one can resume.
        await self._send(response, b"retry: %d\nid: %d\n\n" % (RECONNECT_MS, listener.position))
        while True:
            news.clear()
            while taken := listener.take():
                await self._send(response, b"".join(map(frame, taken)))
            if self._bus.closed:
                return
            try:
                async with asyncio.timeout(self._keep_alive):
                    await news.wait()
            except TimeoutError:
                await self._send(response, b": keep-alive\nid: %d\n\n" % listener.position)

    async def _send(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(self._stalled):
            await response.write(data)


def frame(told: Published | Gap) -> bytes:
    """One event as it stands on the wire."""
    if isinstance(told, Gap):
        return b"event: gap\ndata: %b\n\n" % told.data
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (told.id, told.event.type.encode(), told.data)


def read_wanted(request: web.Request) -> Wanted:
    """The filters of a request: comma lists, or parameters given several times. Raises BadField.

    A session id may contain commas, so several sessions are several parameters.
    """
    try:
        types = wanted_types(_names(request, "types"))
    except ValueError as error:
        raise bad("types", str(error)) from None
    return Wanted(types, _names(request, "lane"), frozenset(filter(None, request.query.getall("session", []))))


def read_last_id(request: web.Request) -> int | None:
    """The id behind which a client goes on; the header, which browsers set by themselves, before the parameter."""
    for name, value in (
        ("Last-Event-ID", request.headers.get("Last-Event-ID")),
        ("last_event_id", request.query.get("last_event_id")),
    ):
        if not value:
            continue
        if not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise bad(name, f"{value!r} is not the id of an event, which is a whole number")
        return int(value)
    return None


def _names(request: web.Request, parameter: str) -> frozenset[str]:
    values = request.query.getall(parameter, [])
    return frozenset(name for value in values for part in value.split(",") if (name := part.strip()))
