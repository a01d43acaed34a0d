"""`/queue`: who waits where and for how long, what runs, and the ways to steer it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from aiohttp import web

from llmqd.errors import AlreadyRunning, CallRefused, MethodNotAllowed, NotFound
from llmqd.web import queue_input as given
from llmqd.web import queue_shapes as shapes
from llmqd.web.own import json_response
from llmqd.web.queue_shapes import Waiting
from llmqd.web.refusal import refusal

if TYPE_CHECKING:
    from llmqd.lane.lane import Lane
    from llmqd.lane.lanes import Lanes
    from llmqd.lane.queue import Ticket

DEFAULT_LIMIT, MAX_LIMIT = 50, 1000
"""Calls in one answer: a larger one would hold up every stream while it is made."""

_Method = Callable[["QueueApi", web.Request], Awaitable[web.Response]]
_Handler = Callable[["QueueApi", web.Request], Awaitable[web.StreamResponse]]


def _answers(method: _Method) -> _Handler:
    """What a handler refuses becomes an answer in the OpenAI shape, like every error of llmqd's own URLs."""

    async def answer(self: QueueApi, request: web.Request) -> web.StreamResponse:
        try:
            return await method(self, request)
        except CallRefused as error:
            return refusal(error, "openai")

    return answer


class QueueApi:
    """The handlers of `/queue`. `clock` is the monotonic clock of the lanes.

    Nothing is awaited between finding a call or a lane and changing it, so what is found is what is changed.
    """

    def __init__(self, lanes: Lanes, *, clock: Callable[[], float]) -> None:
        self._lanes = lanes
        self._clock = clock

    def add_to(self, app: web.Application, wrap: Callable[[Any], Any]) -> None:
        """Puts every URL into the application; `wrap` is given the handler of what no method takes (preflights)."""
        for method, path, handler in (
            ("GET", "/queue", self.listing),
            ("GET", "/queue/{request_id}", self.show),
            ("PATCH", "/queue/{request_id}", self.reprioritise),
            ("DELETE", "/queue/{request_id}", self.cancel),
            ("POST", "/queue/{lane:.+}/pause", self.pause),
            ("POST", "/queue/{lane:.+}/resume", self.resume),
        ):
            app.router.add_route(method, path, handler)
        for path in ("/queue", "/queue/{request_id}", "/queue/{lane:.+}/pause", "/queue/{lane:.+}/resume"):
            app.router.add_route("*", path, wrap(self.wrong_method))

    @_answers
    async def listing(self, request: web.Request) -> web.Response:
        """`GET /queue`: lanes, waiting calls in their order, running calls; `?lane=&session=&limit=&offset=`."""
        limit = given.number(request, "limit", DEFAULT_LIMIT, most=MAX_LIMIT)
        offset = given.number(request, "offset", 0)
        lanes = self._named(request.query["lane"]) if "lane" in request.query else [*self._lanes]
        session = request.query.get("session") or None
        now = self._clock()
        waiting: Iterable[Waiting] = shapes.waiting(lanes, session)
        if session is None:
            total = sum(lane.waiting for lane in lanes)
        else:
            waiting = [*waiting]
            total = len(waiting)
        page = islice(waiting, offset, offset + limit)
        running = [*shapes.running(lanes, session)]
        end = offset + limit
        return json_response(
            {
                "lanes": [shapes.lane_shape(lane, now) for lane in lanes],
                "total": total,
                "running_total": len(running),
                "limit": limit,
                "offset": offset,
                "next": end if limit and end < max(total, len(running)) else None,
                "waiting": [shapes.waiting_shape(one, now) for one in page],
                "running": [shapes.running_shape(one, now) for one in running[offset:end]],
            }
        )

    @_answers
    async def show(self, request: web.Request) -> web.Response:
        """`GET /queue/{request_id}`: one call that waits or runs."""
        return self._shown(request.match_info["request_id"])

    @_answers
    async def reprioritise(self, request: web.Request) -> web.Response:
        """`PATCH /queue/{request_id}` `{"priority": ...}`: the call waits on with that priority."""
        priority = given.priority(await given.fields(request, "priority"))
        call_id = request.match_info["request_id"]
        lane, ticket = self._waiting(call_id)
        lane.reprioritise(ticket, priority)
        return self._shown(call_id)

    @_answers
    async def cancel(self, request: web.Request) -> web.Response:
        """`DELETE /queue/{request_id}`: the waiting client gets `cancelled` in its dialect; nothing is sent."""
        lane, ticket = self._waiting(request.match_info["request_id"])
        shown = shapes.waiting_shape(Waiting(lane, lane.position(ticket), ticket), self._clock())
        lane.cancel(ticket)
        return json_response(shown | {"state": "cancelled", "position": None, "eta_ms": None})

    @_answers
    async def pause(self, request: web.Request) -> web.Response:
        """`POST /queue/{lane}/pause` with an optional `{"seconds": ..., "reason": ...}`; running calls go on."""
        fields = await given.fields(request, "seconds", "reason")
        seconds, reason = given.seconds(fields), given.reason(fields)
        lanes = self._named(request.match_info["lane"])
        for lane in lanes:
            lane.pause(seconds, reason)
        return self._lanes_shown(lanes)

    @_answers
    async def resume(self, request: web.Request) -> web.Response:
        """`POST /queue/{lane}/resume`: ends any pause; harmless where there is none."""
        await given.fields(request)
        lanes = self._named(request.match_info["lane"])
        for lane in lanes:
            lane.resume()
        return self._lanes_shown(lanes)

    async def wrong_method(self, request: web.Request) -> web.StreamResponse:
        """405, with the methods that this URL has in `Allow`."""
        own = request.match_info.route.resource
        methods = {
            route.method
            for route in request.app.router.routes()
            if own is not None and route.resource is not None and route.resource.canonical == own.canonical
        } - {"*"}
        allowed = ", ".join(sorted(methods))
        response = refusal(MethodNotAllowed(f"{request.path} takes {allowed}, not {request.method}"), "openai")
        response.headers["Allow"] = allowed
        return response

    def _shown(self, call_id: str) -> web.Response:
        now = self._clock()
        for lane in self._lanes:
            if (ticket := lane.find(call_id)) is not None:
                return json_response(shapes.waiting_shape(Waiting(lane, lane.position(ticket), ticket), now))
        for one in shapes.running(self._lanes, None):
            if one.running.call.id == call_id:
                return json_response(shapes.running_shape(one, now))
        raise _no_call(call_id)

    def _waiting(self, call_id: str) -> tuple[Lane, Ticket]:
        """Where a call waits. Raises AlreadyRunning or NotFound."""
        for lane in self._lanes:
            if (ticket := lane.find(call_id)) is not None:
                return lane, ticket
        if any(one.running.call.id == call_id for one in shapes.running(self._lanes, None)):
            raise AlreadyRunning(f"call {call_id} is running already; only a call that waits can be changed")
        raise _no_call(call_id)

    def _named(self, name: str) -> list[Lane]:
        """The lane of this name, or all lanes of the upstream of this name. Raises NotFound."""
        lanes = [*self._lanes]
        found = [lane for lane in lanes if lane.name == name] or [lane for lane in lanes if lane.upstream == name]
        if not found:
            known = ", ".join(lane.name for lane in lanes) or "none, because no upstream is configured"
            raise NotFound(f"no lane or upstream is named {name!r}; there are: {known}")
        return found

    def _lanes_shown(self, lanes: Iterable[Lane]) -> web.Response:
        now = self._clock()
        return json_response({"lanes": [shapes.lane_shape(lane, now) for lane in lanes]})


def _no_call(call_id: str) -> NotFound:
    return NotFound(f"no call {call_id!r} waits or runs; a call that has ended is in the ledger")
