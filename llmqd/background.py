"""Tasks that go on beside the calls: how they are ended, and how it is told when one has died."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any


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
