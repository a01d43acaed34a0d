"""Keeps the client of a waiting stream from giving up: its 200 ahead of its turn, then a sign of life now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

if TYPE_CHECKING:
    from llmqd.call import Call
    from llmqd.config.model import Queue

_STALLED = 20.0
"""Seconds that a client may take nothing of what was sent; then its connection is cut."""


@dataclass(frozen=True, slots=True)
class StreamForm:
    """How the streams of some operations look: what their head says, what may stand ahead of their first event.

    `passes` are the media types of an upstream's answer that such a stream can carry as it is.
    """

    content_type: str
    beat: bytes
    passes: frozenset[str]


# A blank line ends an event that has not begun, which every parser ignores (WHATWG HTML, "Server-sent events"); a
# comment would do for most, but Google's SDKs take any line that is no data for an error. Without a charset some
# clients read text as ISO-8859-1.
_EVENTS = StreamForm("text/event-stream; charset=utf-8", b"\n", frozenset({"text/event-stream", "text/plain", ""}))
# White space ahead of a JSON value belongs to it (RFC 8259 §2); a blank line would be a line without an object.
_LINES = StreamForm(
    "application/x-ndjson", b" ", frozenset({"application/x-ndjson", "application/json", "text/plain", ""})
)
_FORMS = {
    ("openai", "chat"): _EVENTS,
    ("openai", "completion"): _EVENTS,
    ("openai", "responses"): _EVENTS,
    ("anthropic", "messages"): _EVENTS,
    ("anthropic", "complete"): _EVENTS,
    ("gemini", "generate_content"): _EVENTS,
    ("ollama", "chat"): _LINES,
}


def form_of(request: web.BaseRequest, call: Call) -> StreamForm | None:
    """How the answer to this call will look, where it is a stream into which something harmless can be written."""
    if not call.stream or call.no_queue or request.version < HttpVersion11:
        return None
    if call.dialect == "gemini" and request.query.get("alt") != "sse":
        return None  # without it a stream is one JSON array
    return _FORMS.get((call.dialect, call.operation))


class Heartbeat:
    """The heartbeat of one call. Without a `form` there is none.

    It begins once the call has waited for `after` seconds and does not run just then, for what runs may still get the
    status of its answer. Having begun, it goes on every `every` seconds until `stop`. It writes nothing to a client
    that has not taken what was written before, and cuts one that takes nothing for `stalled` seconds.
    """

    __slots__ = ("_after", "_every", "_head", "_held", "_overdue", "_response", "_stalled", "_task", "_timer", "form")

    def __init__(
        self, form: StreamForm | None = None, *, after: float = 0.0, every: float = 0.0, stalled: float = _STALLED
    ) -> None:
        self.form = form
        self._after = after
        self._every = every
        self._stalled = stalled
        self._head: tuple[web.Request, Callable[[], Mapping[str, str]]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._response: web.StreamResponse | None = None
        self._overdue = False
        self._held = False

    @property
    def begun(self) -> bool:
        """Whether the client gets its head ahead of the answer."""
        return self._task is not None

    def start(self, request: web.Request, headers: Callable[[], Mapping[str, str]], *, waited: float) -> None:
        """The call begins to wait, having been here for `waited` seconds. `headers` are those of the early head."""
        if self.form is None:
            return
        self._head = request, headers
        self._timer = asyncio.get_running_loop().call_later(max(self._after - waited, 0.0), self._due)

    def hold(self) -> None:
        """The call runs now: a heartbeat that has not begun does not begin."""
        self._held = True

    def release(self) -> None:
        """The call waits again."""
        self._held = False
        if self._overdue:
            self._begin()

    def stop(self) -> web.StreamResponse | None:
        """Ends it for good. Gives the response that has begun, to which nothing is written any more; None without."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self._head = None
        response = self._response
        return response if response is not None and response.prepared else None

    def _due(self) -> None:
        self._overdue = True
        if not self._held:
            self._begin()

    def _begin(self) -> None:
        if self._head is None or self._task is not None:
            return
        request, headers = self._head
        self._task = asyncio.get_running_loop().create_task(self._beat(request, headers()))

    async def _beat(self, request: web.Request, headers: Mapping[str, str]) -> None:
        assert self.form is not None
        early = {"Content-Type": self.form.content_type, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        response = self._response = web.StreamResponse(headers={**early, **headers})
        clock = asyncio.get_running_loop().time
        try:
            await response.prepare(request)
            await response.write(self.form.beat)
            taken = clock()
            while True:
                await asyncio.sleep(self._every)
                transport = request.transport
                if transport is None:
                    return
                if not transport.get_write_buffer_size():
                    await response.write(self.form.beat)
                    taken = clock()
                elif clock() - taken >= self._stalled:
                    transport.abort()
        except ConnectionError:
            pass  # the client has left, which ends its call too


def heartbeat_of(request: web.BaseRequest, call: Call, queue: Queue) -> Heartbeat:
    """The heartbeat that the settings want for this call."""
    form = form_of(request, call) if queue.heartbeat else None
    return Heartbeat(form, after=queue.heartbeat, every=queue.heartbeat_every)
