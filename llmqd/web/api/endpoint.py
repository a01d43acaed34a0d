"""One URL of the API: what it takes, what it gives, and how both are checked; the same definition describes it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import web

from llmqd.errors import CallRefused, LedgerUnavailable, StoreError
from llmqd.web.api.fields import read_body, read_query
from llmqd.web.api.inputs import Nothing
from llmqd.web.api.values import encoded
from llmqd.web.refusal import refusal
from llmqd.web.scope import scope

logger = logging.getLogger(__name__)

Query = TypeVar("Query", bound=msgspec.Struct)
Body = TypeVar("Body", bound=msgspec.Struct)


@dataclass(slots=True, frozen=True)
class Asked(Generic[Query, Body]):
    """A request with its input read: `path` holds the parts of the URL that are not fixed."""

    path: Mapping[str, str]
    query: Query
    body: Body
    url: str = ""
    key: str | None = None
    """The client key whose things alone may be shown; None: everything."""


@dataclass(slots=True, frozen=True)
class Linked:
    """An answer with the URL of what follows it (RFC 8288), for answers that are plain lists."""

    answer: Any
    next: str | None
    total: int


@dataclass(slots=True, frozen=True)
class Streamed:
    """An answer that is sent piece by piece as it is made, for saving under a name."""

    pieces: AsyncIterator[bytes]
    media_type: str
    name: str


@dataclass(slots=True, frozen=True, kw_only=True)
class Endpoint:
    """One method of one URL.

    `handle` is given what was asked and returns the `answer`. `path` holds the description of each part of the URL in
    braces, `refusals` the statuses that it may refuse with beside 422 and 503, and why, `media_types` what its answer
    can be beside JSON.
    """

    method: str
    url: str
    tag: str
    handle: Callable[[Asked[Any, Any]], Awaitable[Any]]
    answer: Any
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    path: Mapping[str, str] | None = None
    refusals: Mapping[int, str] | None = None
    media_types: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Its name among all endpoints."""
        return self.handle.__name__

    @property
    def summary(self) -> str:
        """What it does, in a sentence."""
        return (self.handle.__doc__ or "").partition("\n")[0]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answers a request; what is wrong with it, or with the ledger, is said in the OpenAI shape of an error."""
        try:
            query = read_query(request, self.query)
            body = await read_body(request, self.body) if self.body is not None else Nothing()
            answer = await self.handle(Asked(request.match_info, query, body, request.path, scope(request)))
            if isinstance(answer, Streamed):
                return await _streamed(request, answer)
        except CallRefused as error:
            return refusal(error, "openai")
        except StoreError as error:
            return refusal(LedgerUnavailable(str(error), retry_after=1.0), "openai")
        if isinstance(answer, Linked):
            response = _json(answer.answer)
            response.headers["X-Total-Count"] = str(answer.total)
            if answer.next is not None:
                response.headers["Link"] = f'<{answer.next}>; rel="next"'
            return response
        return _json(answer)


async def _streamed(request: web.Request, answer: Streamed) -> web.StreamResponse:
    """Sends the pieces. Raises StoreError when not even the first can be made; a later one that cannot be breaks the
    connection, so that nobody takes a part for the whole."""
    pieces = aiter(answer.pieces)
    response = web.StreamResponse(
        headers={
            "Content-Type": answer.media_type,
            "Content-Disposition": f'attachment; filename="{answer.name}"',
        }
    )
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    piece = await anext(pieces, b"")
    await response.prepare(request)
    try:
        await response.write(piece)
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
    except StoreError as error:
        logger.warning("an export broke off: %s", error)
        if request.transport is not None:
            request.transport.abort()
    return response


def _json(answer: Any) -> web.Response:
    return web.Response(body=encoded(answer), content_type="application/json")
