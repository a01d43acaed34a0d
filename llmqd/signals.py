"""The signals that the daemon obeys, and what they mean."""

from __future__ import annotations

import asyncio
import signal


class Signals:
    """The signals that the daemon obeys, one after the other. A second stop signal ends it at once."""

    def __init__(self) -> None:
        self._received: asyncio.Queue[signal.Signals] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received.put_nowait, number)

    async def next(self) -> signal.Signals:
        """Waits for the next signal. Once it is a stop signal, the default action is back in place."""
        number = await self._received.get()
        if number != signal.SIGHUP:
            loop = asyncio.get_running_loop()
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(each)
            loop.add_signal_handler(signal.SIGHUP, lambda: None)
        return number
