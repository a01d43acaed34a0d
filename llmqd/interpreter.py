"""Has the interpreter hold up nobody: how threads take turns, when garbage is looked for, what is free given back."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import sys
from typing import Self

from llmqd.background import Beside

logger = logging.getLogger(__name__)

_SWITCH = 0.0005
"""Seconds after which a thread of the store hands the interpreter back; Python's own 5 ms would be felt."""

_COLLECTED = 10_000, 5, 20
"""How many new objects the garbage collector waits for. A call leaves some hundred behind that live on (its session,
its events), so Python's own 700 would have it look for cycles every few calls, and there are next to none."""

_EVERY = 15.0
_WORTH = 16 << 20
"""Bytes that are worth it: all who allocate wait for some milliseconds while memory is given back."""


def steady() -> None:
    """Keeps the event loop from standing still: a call that leaves a millisecond late lets the next come too close."""
    sys.setswitchinterval(_SWITCH)
    gc.collect()
    gc.freeze()  # what was made by now stays anyway: it need not be looked through again and again
    gc.set_threshold(*_COLLECTED)


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 (mallinfo(3)): sizes in bytes. `fordblks` is what is held and not in use."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


class FreeMemory(Beside):
    """Gives back to the system what the C library keeps of what a crowd or large bodies have taken once.

    Runs beside the daemon. An async context manager: inside, it looks every so many seconds; leaving it ends its task.
    Without a C library that can tell and do it (glibc 2.33) it does nothing.
    """

    def __init__(self, *, every: float = _EVERY, worth: int = _WORTH) -> None:
        super().__init__(self._look, name="memory", logger=logger, dead="free memory will not be given back any more")
        self._every = every
        self._worth = worth
        self._libc = ctypes.CDLL(None)

    @property
    def able(self) -> bool:
        """Whether the C library can tell what is free, and give it back."""
        return hasattr(self._libc, "mallinfo2") and hasattr(self._libc, "malloc_trim")

    def size(self) -> int:
        """Bytes that are held and not in use, in small pieces or large."""
        self._libc.mallinfo2.restype = _Mallinfo
        return int(self._libc.mallinfo2().fordblks)

    def give_back(self) -> None:
        """Gives back every page of which nothing is in use, where that is worth it. Safe in another thread."""
        if self.size() >= self._worth:
            self._libc.malloc_trim(0)

    async def __aenter__(self) -> Self:
        return await super().__aenter__() if self.able else self

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await asyncio.to_thread(self.give_back)
