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
from llmqd.web.queue_whole import together
from llmqd.web.refusal import refusal

if TYPE_CHECKING:
    from llmqd.cluster.asking import Asking
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

    `others` are the daemons that share the lanes: what waits or runs there is shown and steered like what does here.
    Nothing is awaited between finding a call or a lane and changing it, so what is found is what is changed.
    """

    def __init__(self, lanes: Lanes, *, clock: Callable[[], float], others: Asking | None = None) -> None:
        self._lanes = lanes
        self._clock = clock
        self._others = others
        if others is not None:
            others.answer("queue", lambda asked: self._told(*asked))
            others.answer("call", lambda asked: self._change(*asked))

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
            if method == "GET":
                app.router.add_route("HEAD", path, handler)
        for path in ("/queue", "/queue/{request_id}", "/queue/{lane:.+}/pause", "/queue/{lane:.+}/resume"):
            app.router.add_route("*", path, wrap(self.wrong_method))

    @_answers
    async def listing(self, request: web.Request) -> web.Response:
        """`GET /queue`: lanes, waiting calls in their order, running calls; `?lane=&session=&limit=&offset=`."""
        limit = given.number(request, "limit", DEFAULT_LIMIT, most=MAX_LIMIT)
        offset = given.number(request, "offset", 0)
        name, session = request.query.get("lane"), request.query.get("session") or None
        end = offset + limit
        mine = self._page(name, session, end)
        others = {} if self._others is None else await self._others.ask("queue", [name, session, end])
        if self._others is not None and others:
            pages = {self._others.name: mine} | {member: page for member, page in others.items() if page is not None}
            return json_response(together(pages, offset, limit))
        del mine["order"]
        total, running = mine["total"], mine["running_total"]
        return json_response(
            mine
            | {
                "limit": limit,
                "offset": offset,
                "next": end if limit and end < max(total, running) else None,
                "waiting": mine["waiting"][offset:],
                "running": mine["running"][offset:],
            }
        )

    def _told(self, name: str | None, session: str | None, most: int) -> dict[str, Any] | None:
        """The same for another daemon; None where no lane has that name here."""
        try:
            return self._page(name, session, most)
        except NotFound:
            return None

    def _page(self, name: str | None, session: str | None, most: int) -> dict[str, Any]:
        """What waits and runs in this daemon, at most so many of each. Raises NotFound."""
        lanes = [*self._lanes] if name is None else self._named(name)
        now = self._clock()
        waiting: Iterable[Waiting] = shapes.waiting(lanes, session)
        if session is None:
            total = sum(lane.waiting for lane in lanes)
        else:
            waiting = [*waiting]
            total = len(waiting)
        running = [*shapes.running(lanes, session)]
        orders = [] if self._others is None else [self._others.order(lane.name, MAX_LIMIT) for lane in lanes]
        return {
            "lanes": [shapes.lane_shape(lane, now) for lane in lanes],
            "total": total,
            "running_total": len(running),
            "waiting": [shapes.waiting_shape(one, now) for one in islice(waiting, most)],
            "running": [shapes.running_shape(one, now) for one in running[:most]],
            "order": [order for order in orders if order is not None],
        }

    @_answers
    async def show(self, request: web.Request) -> web.Response:
        """`GET /queue/{request_id}`: one call that waits or runs."""
        return await self._changed("show", request.match_info["request_id"])

    @_answers
    async def reprioritise(self, request: web.Request) -> web.Response:
        """`PATCH /queue/{request_id}` `{"priority": ...}`: the call waits on with that priority."""
        priority = given.priority(await given.fields(request, "priority"))
        return await self._changed("reprioritise", request.match_info["request_id"], priority)

    @_answers
    async def cancel(self, request: web.Request) -> web.Response:
        """`DELETE /queue/{request_id}`: the waiting client gets `cancelled` in its dialect; nothing is sent."""
        return await self._changed("cancel", request.match_info["request_id"])

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

    async def _changed(self, what: str, call_id: str, priority: int | None = None) -> web.Response:
        """A call after something was done with it, wherever it is. Raises AlreadyRunning or NotFound."""
        try:
            return json_response(self._do(what, call_id, priority))
        except NotFound:
            others = {} if self._others is None else await self._others.ask("call", [what, call_id, priority])
        for member, shown in others.items():
            if shown == _RUNS:
                raise _runs(call_id)
            if shown is not None:
                return json_response(shown | {"member": member})
        raise _no_call(call_id)

    def _change(self, what: str, call_id: str, priority: int | None) -> Any:
        """The same for another daemon: the call, None where it is not here, _RUNS where it cannot be changed."""
        try:
            return self._do(what, call_id, priority)
        except NotFound:
            return None
        except AlreadyRunning:
            return _RUNS

    def _do(self, what: str, call_id: str, priority: int | None) -> shapes.Shape:
        if what == "show":
            return self._shown(call_id)
        lane, ticket = self._waiting(call_id)
        if priority is not None:
            lane.reprioritise(ticket, priority)
            return self._shown(call_id)
        shown = shapes.waiting_shape(Waiting(lane, lane.position(ticket), ticket), self._clock())
        lane.cancel(ticket)
        return shown | {"state": "cancelled", "position": None, "eta_ms": None}

    def _shown(self, call_id: str) -> shapes.Shape:
        now = self._clock()
        for lane in self._lanes:
            if (ticket := lane.find(call_id)) is not None:
                return shapes.waiting_shape(Waiting(lane, lane.position(ticket), ticket), now)
        for one in shapes.running(self._lanes, None):
            if one.running.call.id == call_id:
                return shapes.running_shape(one, now)
        raise _no_call(call_id)

    def _waiting(self, call_id: str) -> tuple[Lane, Ticket]:
        """Where a call waits. Raises AlreadyRunning or NotFound."""
        for lane in self._lanes:
            if (ticket := lane.find(call_id)) is not None:
                return lane, ticket
        if any(one.running.call.id == call_id for one in shapes.running(self._lanes, None)):
            raise _runs(call_id)
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


_RUNS = "running"


def _runs(call_id: str) -> AlreadyRunning:
    return AlreadyRunning(f"call {call_id} is running already; only a call that waits can be changed")


def _no_call(call_id: str) -> NotFound:
    return NotFound(f"no call {call_id!r} waits or runs; a call that has ended is in the ledger")
