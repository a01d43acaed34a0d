"""Lets middlewares look on at one call: a copy of its request, the pieces of its answer, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from llmqd.middleware.sighting import Answered, Asked, Gathered

if TYPE_CHECKING:
    from llmqd.middleware.onlookers import Onlookers
    from llmqd.web.passage import Passage


async def looked_at(
    onlookers: Onlookers,
    passage: Passage,
    answering: Coroutine[Any, Any, web.StreamResponse],
    since: Callable[[], float],
) -> web.StreamResponse:
    """The answer to a call, while `onlookers` see a copy of both. `since` gives milliseconds since it arrived."""
    asked = _asked(passage, onlookers.max_body)
    passage.gathered = Gathered(onlookers.max_body)
    onlookers.asked(asked)
    response: web.StreamResponse | None = None
    try:
        response = await answering
        return response
    finally:
        onlookers.answered(asked, _answered(passage.gathered, response, since()))


def _asked(passage: Passage, most: int) -> Asked:
    request, call, body = passage.request, passage.call, passage.body
    data: bytes | None = None
    if 0 < body.size <= most:
        with body.view() as view:
            data = bytes(view)
    return Asked(
        id=call.id,
        at=call.received_at,
        method=request.method,
        path=request.raw_path.partition("?")[0],
        url=request.raw_path,
        headers=_plain(request.headers.items()),
        body=data,
        client=call.client,
        session=call.session.id,
        upstream=call.upstream,
        model=call.model,
        dialect=call.dialect,
        operation=call.operation,
    )


def _answered(gathered: Gathered, response: web.StreamResponse | None, duration: float) -> Answered:
    if response is None:
        return Answered(status=None, chunks=tuple(gathered.chunks), size=gathered.size, duration_ms=duration, left=True)
    if not gathered.size and isinstance(response, web.Response) and isinstance(response.body, bytes):
        gathered.add(response.body)
    content_type = response.headers.get("Content-Type", "")
    return Answered(
        status=response.status,
        headers=_plain(response.headers.items()),
        chunks=tuple(gathered.chunks),
        size=gathered.size,
        whole=gathered.whole,
        streaming=content_type.lower().startswith("text/event-stream"),
        content_type=content_type,
        content_encoding=response.headers.get("Content-Encoding", ""),
        duration_ms=duration,
    )


def _plain(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Headers whose names are plain text, not aiohttp's kind of it."""
    return tuple((str(name), value) for name, value in pairs)
