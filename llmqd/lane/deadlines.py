"""Ends waits that have become too long: one timer for all who wait in a lane, however many they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from llmqd.lane.ticket import Ticket

_ROUGHLY = 0.001
"""Seconds by which timers may ring early."""
_SWEEP_ABOVE = 64
"""Entries of waits that are over are swept out only when there are more of them, as that is linear."""


class Deadlines:
    """Calls `expire` with each ticket that still waits when its `until` has come by `clock`; on the event loop."""

    def __init__(self, expire: Callable[[Ticket], None], clock: Callable[[], float]) -> None:
        self._expire = expire
        self._clock = clock
        self._waits: list[tuple[float, int, Ticket]] = []
        self._serial = 0
        self._over = 0
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = float("inf")

    def begin(self, ticket: Ticket) -> None:
        """A ticket with a deadline begins to wait, maybe again; `end` must follow."""
        self._serial += 1
        heappush(self._waits, (ticket.until, self._serial, ticket))
        if ticket.until < self._rings_at:
            self._set(ticket.until)

    def end(self) -> None:
        """One of these waits is over, by a turn or otherwise."""
        self._over += 1
        if self._over > max(_SWEEP_ABOVE, len(self._waits) // 2):
            self._over = 0
            self._waits = [entry for entry in self._waits if _waits(entry[2])]
            heapify(self._waits)

    def __len__(self) -> int:
        """How many waits are remembered, some of them over."""
        return len(self._waits)

    def _set(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = moment
        self._timer = asyncio.get_running_loop().call_later(max(moment - self._clock(), 0.0), self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, float("inf")
        due = self._clock() + _ROUGHLY
        while self._waits:
            until, _, ticket = self._waits[0]
            still = _waits(ticket)
            if still and until > due:
                self._set(until)
                return
            heappop(self._waits)
            if still:
                self._expire(ticket)
            else:
                self._over = max(self._over - 1, 0)


def _waits(ticket: Ticket) -> bool:
    return not (ticket.granted or ticket.gone)
