"""The connections of clients: aiohttp's, which tell in llmqd's own words what is no HTTP."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion11, web
from aiohttp.helpers import must_be_empty_body
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from llmqd.errors import BadRequest
from llmqd.web.passed import PassedResponse
from llmqd.web.refusal import refusal, sign

if TYPE_CHECKING:
    from aiohttp.web_server import Server

logger = logging.getLogger(__name__)

Handler = Callable[[Any], Awaitable[web.StreamResponse]]
"""Answers a request."""
Around = Callable[[Handler], Handler]

_QUOTED = re.compile(r"""[:\s]*(?:\n|\bbytearray\(|\bb['"]|(?<=line )['"]|(?<=: )['"]).*""", re.DOTALL)
"""Where a parser's message begins to repeat what was sent: nobody is told that, and no log keeps it."""


class Connection(RequestHandler):
    """One connection. What cannot be understood as HTTP is answered like any other bad call, and costs one line."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """aiohttp's, but a body that turns out to be broken is so for whoever reads it: without that its reader would
        wait for the rest until the client is given up."""
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._break_body(self._messages[-1][0])

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """aiohttp's, but a call whose time is up is cut then: it would have as much time once more."""
        timer = None if timeout is None else self._loop.call_later(timeout, self._cut)
        try:
            await super().shutdown(timeout)
        finally:
            if timer is not None:
                timer.cancel()

    def _cut(self) -> None:
        if self._task_handler is not None:
            self._task_handler.cancel()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp's, but only where reading was paused: it is asked for this with every chunk of a body."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _break_body(self, fault: _ErrInfo) -> None:
        """Ends the body that was being received when this came, if there was one."""
        if len(self._messages) > 1:
            body = self._messages[-2][1]
        elif self._current_request is not None:
            body = self._current_request.content
        else:
            return
        if body.is_eof() or not isinstance(fault.exc, HttpProcessingError):
            return
        logger.info("what a client sent is not valid HTTP: %s", _reason(fault.exc))
        self._messages.pop()  # it is answered as that request
        body.set_exception(BadRequest(f"the request is not valid HTTP: {_reason(fault.exc)}"))
        body.feed_eof()
        self._close = True  # nothing that follows can be told from it

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what could not be handled; the connection is closed after it. Raises ConnectionError where
        there is nobody to answer, or an answer has begun."""
        if isinstance(exc, ConnectionError):
            logger.debug("a client has left: %r", exc)
            raise exc
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        reason = _reason(exc)
        logger.info("what a client sent is not valid HTTP: %s", reason)
        if request.writer.output_size:
            raise ConnectionError("an answer has begun")
        response = refusal(BadRequest(f"the request is not valid HTTP: {reason}"), "openai")
        sign(response)
        response.force_close()
        return response


def _reason(error: HttpProcessingError) -> str:
    return _QUOTED.sub("", error.message) or "it cannot be understood"


class Incoming(web.Request):
    """A request, whose answer is signed even where no application has taken it, and has an end that can be seen."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        if self._match_info is None:
            signed(response)
        else:
            await super()._prepare_hook(response)
        open_ended = "Content-Length" not in response.headers and not must_be_empty_body(self.method, response.status)
        if open_ended and self.version < HttpVersion11:
            response.force_close()  # aiohttp leaves it open where the client asked to, who would wait for more


def signed(response: web.StreamResponse) -> None:
    """Gives an answer the headers of llmqd's own ones, unless it is an upstream's."""
    if not isinstance(response, PassedResponse):
        sign(response)


class Runner(web.AppRunner):
    """Runs an application over such connections. `around` makes what answers requests of what the application would
    answer them with."""

    __slots__ = ("_around",)

    def __init__(self, app: web.Application, around: Around = lambda routed: routed, **settings: Any) -> None:
        super().__init__(app, **settings)
        self._around = around

    async def _make_server(self) -> Server:
        made = await super()._make_server()
        return _Server(
            self._around(made.request_handler),
            request_factory=partial(self.app._make_request, _cls=Incoming),
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            **made._kwargs,
        )


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)
