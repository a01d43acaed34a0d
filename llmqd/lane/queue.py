"""Waiting calls in the order in which they get their turn: by priority, then first come first served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmqd.errors import QueueFull

if TYPE_CHECKING:
    from llmqd.call import Call

_COMPACT_ABOVE = 64
"""Left places are swept out only when there are at least so many: sweeping is linear."""


class Ticket:
    """One call's place in a lane. `granted` is set once, in the same step in which its turn is taken."""

    __slots__ = ("call", "granted", "left", "since", "size", "turn")

    def __init__(self, call: Call, since: float) -> None:
        self.call = call
        self.since = since
        self.size = call.request_bytes
        self.granted = False
        self.left = False
        self.turn: asyncio.Future[None] | None = None

    @property
    def gone(self) -> bool:
        """Nobody waits behind this ticket any more: it left, or its task was cancelled in this very tick."""
        return self.left or (self.turn is not None and self.turn.done())


class CallQueue(asyncio.PriorityQueue[tuple[int, int, Ticket]]):
    """An `asyncio.PriorityQueue` of tickets, ordered by (priority, number of arrival).

    A call that leaves is only marked and passed over later, which keeps leaving cheap; the heap is swept when more
    than half of it has left, which keeps memory in proportion to those who still wait. `max_waiting` calls and
    `max_bytes` bytes of request bodies at the most; 0 means no bound.
    """

    def __init__(self, max_waiting: int = 0, max_bytes: int = 0) -> None:
        super().__init__()
        self.max_waiting = max_waiting
        self.max_bytes = max_bytes
        self.waiting = 0
        self.waiting_bytes = 0
        self._arrivals = 0

    def add(self, ticket: Ticket) -> None:
        """Puts a call at the end of its priority. Raises QueueFull when a bound would be passed."""
        if self.max_waiting and self.waiting >= self.max_waiting:
            raise QueueFull(f"{self.waiting} calls are waiting already, as many as [queue] max_waiting allows")
        # A call that waits alone is always welcome, however large: otherwise it could never be sent at all.
        if self.max_bytes and self.waiting_bytes and self.waiting_bytes + ticket.size > self.max_bytes:
            raise QueueFull(
                f"{self.waiting_bytes} bytes are waiting already; this call of {ticket.size} bytes "
                f"would pass [queue] max_waiting_bytes ({self.max_bytes})"
            )
        self._arrivals += 1
        self.put_nowait((ticket.call.priority, self._arrivals, ticket))
        self._count(ticket, 1)

    def discard(self, ticket: Ticket) -> None:
        """Takes a call out that will not wait any longer. Harmless if it has been taken already."""
        if ticket.left or ticket.granted:
            return
        ticket.left = True
        self._count(ticket, -1)
        if self.qsize() > max(_COMPACT_ABOVE, 2 * self.waiting):
            self._sweep()

    def head(self) -> Ticket | None:
        """The call whose turn is next, without taking it; None when nobody waits."""
        heap = self._heap()
        while heap:
            ticket = heap[0][2]
            if not ticket.gone:
                return ticket
            self.get_nowait()
            if not ticket.left:
                ticket.left = True
                self._count(ticket, -1)
        return None

    def take(self) -> Ticket:
        """Takes the call whose turn is next; `head()` must have shown one."""
        ticket = self.get_nowait()[2]
        ticket.granted = True
        self._count(ticket, -1)
        return ticket

    def position(self, ticket: Ticket) -> int:
        """The place of a waiting call: 1 is next. Looks at every waiting call."""
        own = next((entry[:2] for entry in self._heap() if entry[2] is ticket), None)
        if own is None:
            return self.waiting + 1
        return 1 + sum(1 for entry in self._heap() if entry[:2] < own and not entry[2].gone)

    def ahead_of(self, priority: int) -> int:
        """How many waiting calls would go before a new call of this priority."""
        return sum(1 for entry in self._heap() if entry[0] <= priority and not entry[2].gone)

    def __iter__(self) -> Iterator[Ticket]:
        """The waiting calls in their order."""
        return (entry[2] for entry in sorted(self._heap(), key=lambda entry: entry[:2]) if not entry[2].gone)

    def __repr__(self) -> str:
        by_priority: dict[int, int] = {}
        for ticket in self:
            by_priority[ticket.call.priority] = by_priority.get(ticket.call.priority, 0) + 1
        listed = " ".join(f"{priority}={count}" for priority, count in by_priority.items())
        return f"<CallQueue {self.waiting} waiting{': ' + listed if listed else ''}>"

    def _count(self, ticket: Ticket, by: int) -> None:
        self.waiting += by
        self.waiting_bytes += by * ticket.size

    def _heap(self) -> list[tuple[int, int, Ticket]]:
        # asyncio.PriorityQueue keeps its heap in `_queue`; `_init`, `_put` and `_get` are meant to be overridden and
        # are written against that name, so it is as stable as they are.
        heap: list[tuple[int, int, Ticket]] = self._queue  # type: ignore[attr-defined]
        return heap

    def _sweep(self) -> None:
        staying = [entry for entry in self._heap() if not entry[2].left]
        staying.sort(key=lambda entry: entry[:2])  # a sorted list is a heap
        self._heap()[:] = staying
