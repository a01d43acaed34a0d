"""Tasks that go on beside the calls: how they are ended, how it is told when one has died, how one catches up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks and returns when all have ended, whatever they ended with."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def obituary(logger: logging.Logger, words: str, level: int = logging.ERROR) -> Callable[[asyncio.Task[Any]], None]:
    """A callback for the end of a task: tells with these words that it has died of an error, not that it was ended."""

    def tell(task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.log(level, "%s", words, exc_info=error)

    return tell


class Beside:
    """One task beside the calls. An async context manager: inside, `work` goes on; leaving it ends that.

    Its death is told to `logger`, with the words of `dead`.
    """

    def __init__(
        self, work: Callable[[], Coroutine[Any, Any, None]], *, name: str, logger: logging.Logger, dead: str
    ) -> None:
        self._work = work
        self._name = name
        self._logger = logger
        self._dead = dead
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work(), name=self._name)
        self._task.add_done_callback(obituary(self._logger, self._dead))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            await end(self._task)


class CatchingUp(Beside):
    """A task that tries something each time it is `wanted`, every so many seconds until it has succeeded.

    An async context manager: entering it waits for the first attempt, for at most `patience` seconds; what was not to
    be had by then comes later. Leaving it ends the task. `attempt` gives the reason why not all was to be had, None
    where all was; that is logged once behind the words of `lacks`, and with those of `known` when it is over, to the
    logger of whoever needs it. `tried` is set once an attempt was made.
    """

    def __init__(
        self,
        attempt: Callable[[], Awaitable[str | None]],
        *,
        name: str,
        logger: logging.Logger,
        lacks: str,
        known: str,
        patience: float,
        every: float,
        wanted: asyncio.Event | None = None,
        tried: asyncio.Event | None = None,
    ) -> None:
        super().__init__(self._catch_up, name=name, logger=logger, dead=f"{name}: no attempt will be made any more")
        self._attempt = attempt
        self._lacks = lacks
        self._known = known
        self._patience = patience
        self._every = every
        self.wanted = wanted or asyncio.Event()
        self.tried = tried or asyncio.Event()
        self.reason: str | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            async with asyncio.timeout(self._patience):
                await self.tried.wait()
        except TimeoutError:
            self._told(f"there was no answer within {self._patience:g} s")
        except BaseException:
            assert self._task is not None
            self._task.cancel()
            raise
        return self

    async def _catch_up(self) -> None:
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            while (reason := await self._attempt()) is not None:
                self._told(reason)
                self.tried.set()
                await asyncio.sleep(self._every)
            if self.reason is not None:
                self.reason = None
                self._logger.info("%s", self._known)
            if not self.wanted.is_set():
                self.tried.set()

    def _told(self, reason: str) -> None:
        if self.reason is None:
            self._logger.warning("%s: %s", self._lacks, reason)
        self.reason = reason
