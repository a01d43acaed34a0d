"""Follows a LiteLLM database in the background: imports what is there, and every so often what has come since."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmqd.background import Beside, end
from llmqd.errors import SourceError, StoreError
from llmqd.litellm.importing import LATE, VERY_LATE, Import

if TYPE_CHECKING:
    from llmqd.config.litellm import LiteLLM

logger = logging.getLogger(__name__)

_LOOK_BACK_EVERY = 3600.0


class Follower(Beside):
    """An async context manager; leaving it ends its task. `clock` is the monotonic clock.

    A database that is away is asked again; it is said once, and once more when it is back. Calls never wait for it.
    """

    def __init__(self, settings: LiteLLM, importing: Import, *, clock: Callable[[], float]) -> None:
        super().__init__(
            self._follow, name="follow LiteLLM", logger=logger, dead="LiteLLM will not be followed any more"
        )
        self._settings = settings
        self._import = importing
        self._clock = clock
        self._changed = asyncio.Event()
        self._looked_back = float("-inf")
        self.error: str | None = None
        """Why it cannot follow at present; None where it does or need not."""

    def __repr__(self) -> str:
        return f"<Follower {'of a database' if self._settings.dsn else 'of none'}>"

    def replace(self, settings: LiteLLM) -> None:
        """Puts other settings in force."""
        if settings != self._settings:
            self._settings = settings
            self._looked_back = float("-inf")
            self._changed.set()

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            settings = self._settings
            if settings.dsn is None:
                self.error = None
                await self._changed.wait()
                continue
            # New settings end what goes on under the old ones.
            pass_, changed = asyncio.create_task(self._once(settings)), asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait((pass_, changed), return_when=asyncio.FIRST_COMPLETED)
                if pass_.done():
                    await pass_
                    await asyncio.wait((changed,), timeout=settings.every)
            finally:
                await end(pass_, changed)

    async def _once(self, settings: LiteLLM) -> None:
        # Imported here: most installations do without, and the driver takes some time and memory.
        from llmqd.litellm.spend_logs import SpendLogs

        assert settings.dsn is not None
        began = self._clock()
        far = began - self._looked_back >= _LOOK_BACK_EVERY
        try:
            async with SpendLogs.connect(settings.dsn.reveal()) as source:
                after = await self._import.place(source, VERY_LATE if far else LATE)
                imported = await self._import.run(source, after)
        except (SourceError, StoreError) as error:
            if str(error) != self.error:
                logger.warning("LiteLLM is not followed: %s; asked again every %g s", error, settings.every)
            self.error = str(error)
            return
        if far:
            self._looked_back = began
        if self.error is not None:
            logger.warning("LiteLLM is followed again")
        self.error = None
        if imported.added or imported.unreadable:
            logger.info("LiteLLM: %s", imported)
