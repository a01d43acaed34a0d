"""What becomes of a call whose client leaves: its upstream is let go, or its answer is read to the end for the bill."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aiohttp import web

if TYPE_CHECKING:
    from llmqd.call import Status
    from llmqd.web.passage import Passage
    from llmqd.web.sender import Sent

_T = TypeVar("_T")


def has_left(request: web.Request) -> bool:
    """Whether the client's connection is closed, even if the event loop has not come to notice it yet.

    Where many leave at once, the loop takes a while to read of it, and turns that come meanwhile would be theirs.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        return True
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))


class Disconnects:
    """Knows which calls go on without their clients.

    An async context manager: leaving it ends them and waits until they have closed their records. A shutdown does not
    wait for answers that nobody will read.
    """

    def __init__(self) -> None:
        self._going_on: set[asyncio.Task[Any]] = set()
        self.stopping = False

    def left(self, passage: Passage) -> Status:
        """What it means when a call's task is cancelled."""
        return "interrupted" if self.stopping and passage.finish_by is None else "cancelled"

    def __len__(self) -> int:
        """How many calls go on without their clients now."""
        return len(self._going_on)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        await asyncio.gather(*self._going_on, return_exceptions=True)

    def stop(self) -> None:
        """Ends what goes on without its client. Who is cancelled from now on was interrupted, and did not leave."""
        self.stopping = True
        for task in self._going_on:
            task.cancel()

    async def outlast(self, passage: Passage, sending: Coroutine[Any, Any, Sent]) -> Sent:
        """The answer to a call that is being sent, also when its client leaves, where the upstream's setting wants it.

        Raises what `sending` raises, and CancelledError where the client's leaving is the end of the call.
        """
        if not passage.finishes:
            return await sending
        task = asyncio.ensure_future(sending)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            try:
                return await self.finish(passage, lambda: asyncio.shield(task))
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait((task,))
                if not task.cancelled() and task.exception() is None:
                    task.result().answer.close()
                raise

    async def finish(self, passage: Passage, go_on: Callable[[], Awaitable[_T]]) -> _T:
        """The client has left: `go_on`, begun anew when it is told so again, may take until `finish_within` is over.

        Raises CancelledError when that is over, at once where the upstream's setting is "cancel", and at a shutdown.
        """
        if self.stopping or not passage.finishes:
            raise asyncio.CancelledError
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        if passage.finish_by is None:
            passage.finish_by = loop.time() + passage.upstream.finish_within
        self._going_on.add(task)
        try:
            while True:
                task.uncancel()
                try:
                    async with asyncio.timeout_at(passage.finish_by):
                        return await go_on()
                except TimeoutError:
                    raise asyncio.CancelledError from None
                except asyncio.CancelledError:
                    if self.stopping or not task.cancelling():
                        raise
        finally:
            self._going_on.discard(task)
