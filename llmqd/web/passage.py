"""One call under way: everything that its way through the daemon needs, and what is said about it in every answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from aiohttp import web

from llmqd.auth.callers import ANYONE, Caller
from llmqd.call import Call, Record
from llmqd.lane.standing import Standing
from llmqd.middleware.sighting import Gathered
from llmqd.providers.operations import Operation
from llmqd.routing import Hop, Target
from llmqd.web.body import Body, Facts, Passing
from llmqd.web.head import Head
from llmqd.web.heartbeat import Heartbeat

if TYPE_CHECKING:
    from llmqd.config.model import Upstream
    from llmqd.conversations import Conversation
    from llmqd.lane.lane import Lane

_HEADER_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
"""What may stand in a header as it is; the rest of a session id is percent-encoded."""


class Passage(msgspec.Struct):
    """One call under way. `upstream` and `lane` are where it is tried now; `fallbacks` where it may go after that.

    `upgrade` says that it is a WebSocket handshake. `attempts` counts how often it was sent upstream. `standing` is
    what it takes along from lane to lane. `heartbeat` knows whether its answer has begun ahead of its turn.
    `finish_by` is set when the client has left and its answer is read to the end without it: until when, on the loop's
    clock. `conversation` is what was found out about its words; None once its record is closed, or where it says
    nothing. `caller` makes it; `admission` lets it in and holds what it takes beyond its turns, `still_allowed` raises
    where its turn has come too late. `gathered` are the pieces of its answer for those who look on; None where nobody
    does.
    """

    request: web.Request
    head: Head
    call: Call
    upstream: Upstream
    lane: Lane
    target: Target
    operation: Operation
    facts: Facts
    body: Body
    passing: Passing | None = None
    fallbacks: list[Hop] = []
    standing: Standing = msgspec.field(default_factory=Standing)
    queued_ms: float | None = None
    upgrade: bool = False
    attempts: int = 0
    heartbeat: Heartbeat = msgspec.field(default_factory=Heartbeat)
    conversation: Conversation | None = None
    caller: Caller = ANYONE
    admission: Callable[[Record], AbstractAsyncContextManager[None]] = lambda _: nullcontext()
    still_allowed: Callable[[], None] = lambda: None
    finish_by: float | None = None
    gathered: Gathered | None = None

    @property
    def finishes(self) -> bool:
        """Whether this call's answer is read to its end when the client leaves."""
        return self.operation.queued and self.upstream.on_disconnect == "finish"

    @property
    def repeatable(self) -> bool:
        """Whether the call can be sent again: its body is kept, and it is no handshake."""
        return self.passing is None and not self.upgrade

    def leave_conversation(self) -> Conversation | None:
        """Its conversation, for whoever ends it: nobody gets it twice."""
        conversation, self.conversation = self.conversation, None
        return conversation

    def headers(self, waited_ms: float = 0.0) -> dict[str, str]:
        """What llmqd says about the call in every answer to it; `waited_ms` is its wait where that has not ended."""
        call = self.call
        headers = {
            "X-LLMQD-Request-Id": call.id,
            "X-LLMQD-Session-Source": call.session.source,
            "X-LLMQD-Upstream": call.upstream,
            "X-LLMQD-Queued-Ms": str(round(waited_ms if self.queued_ms is None else self.queued_ms)),
            "X-LLMQD-Attempts": str(self.attempts),
        }
        if (session := call.session.id) is not None:
            plain = session.isascii() and session.isalnum()  # as llmqd's own are
            headers["X-LLMQD-Session-Id"] = session if plain else quote(session, safe=_HEADER_SAFE)
        return headers
