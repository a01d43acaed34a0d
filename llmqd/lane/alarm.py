"""Rings at a moment, to a fraction of a millisecond: what keeping a strict rate needs and timers alone do not give."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

_TIMER_ERROR = 0.001
"""Seconds by which the timers of event loops are off: uvloop's go by whole milliseconds and may ring early, those of
asyncio ring as much late."""


class Alarm:
    """One moment to be woken at. `ring` is called on the event loop, never before that moment has come by `clock`.

    The last millisecond is waited for by turning the loop, unless the moment is only to be met roughly, or `clock` is
    the loop's own (then its timers are exact by definition). Raises RuntimeError without a running loop.
    """

    def __init__(self, ring: Callable[[], object], clock: Callable[[], float]) -> None:
        self._ring = ring
        self._clock = clock
        self._due = math.inf
        self._roughly = False
        self._handle: asyncio.Handle | None = None

    @property
    def due(self) -> float:
        """The moment at which it is going to ring; infinite when it is not set."""
        return self._due

    def set(self, due: float, *, roughly: bool = False) -> None:
        """Rings at `due` instead of any other moment; `roughly`: up to two milliseconds later."""
        if due == self._due:
            return
        self.stop()
        self._due, self._roughly = due, roughly
        self._wait()

    def stop(self) -> None:
        """Does not ring any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._due = math.inf

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        ahead = self._due - self._clock()
        if self._clock == loop.time:
            self._handle = loop.call_at(self._due, self._check)
        elif self._roughly:
            self._handle = loop.call_later(max(ahead, 0.0) + _TIMER_ERROR, self._check)
        elif ahead > _TIMER_ERROR:
            self._handle = loop.call_later(ahead - _TIMER_ERROR, self._check)
        else:
            self._handle = loop.call_soon(self._check)

    def _check(self) -> None:
        if self._clock() < self._due:
            self._wait()
            return
        self.stop()
        self._ring()

    def __repr__(self) -> str:
        return f"<Alarm {'not set' if self._due == math.inf else f'at {self._due:.6f}'}>"


async def until(moment: float, clock: Callable[[], float]) -> None:
    """Returns at that moment by `clock`, to a fraction of a millisecond."""
    come = asyncio.get_running_loop().create_future()

    def ring() -> None:
        if not come.done():  # whoever waited may have given up in this very tick
            come.set_result(None)

    alarm = Alarm(ring, clock)
    alarm.set(moment)
    try:
        await come
    finally:
        alarm.stop()
