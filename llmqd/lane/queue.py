"""The calls that wait for a lane: an `asyncio.PriorityQueue` in which priority, fairness and waiting time decide."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from llmqd.errors import QueueFull
from llmqd.lane.amounts import Ask
from llmqd.lane.order import Order, Tally
from llmqd.lane.ticket import Ticket

if TYPE_CHECKING:
    from llmqd.config.model import Queue

__all__ = ["CallQueue", "Ticket"]


class CallQueue(asyncio.PriorityQueue[Ticket]):
    """An `asyncio.PriorityQueue` of tickets; `Order` says which of them is the smallest.

    Bounds, 0 meaning none: `max_waiting` calls and `max_bytes` bytes of request bodies in all, `max_waiting_per_flow`
    and `max_bytes_per_flow` for each flow. `ageing` is in seconds, 0 none. All may be changed at any time.
    """

    _queue: Order

    def __init__(
        self,
        max_waiting: int = 0,
        max_bytes: int = 0,
        *,
        max_waiting_per_flow: int = 0,
        max_bytes_per_flow: int = 0,
        ageing: float = 0.0,
    ) -> None:
        super().__init__()
        self.max_waiting = max_waiting
        self.max_bytes = max_bytes
        self.max_waiting_per_flow = max_waiting_per_flow
        self.max_bytes_per_flow = max_bytes_per_flow
        self.ageing = ageing

    def apply(self, settings: Queue) -> None:
        """Takes over the bounds of a configuration."""
        self.max_waiting = settings.max_waiting
        self.max_bytes = settings.max_waiting_bytes
        self.max_waiting_per_flow = settings.max_waiting_per_flow
        self.max_bytes_per_flow = settings.max_waiting_bytes_per_flow
        self.ageing = settings.ageing

    @property
    def tally(self) -> Tally:
        """Who waits; the same for as long as the queue lives."""
        return self._queue.tally

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return self._queue.tally.calls

    @property
    def waiting_bytes(self) -> int:
        """Bytes of request bodies that wait."""
        return self._queue.tally.bytes

    @property
    def ageing(self) -> float:
        """Seconds within which a call gets a turn even if calls of higher priority never cease; 0 means no such end."""
        return self._queue.ageing

    @ageing.setter
    def ageing(self, seconds: float) -> None:
        self._queue.ageing = seconds

    def add(self, ticket: Ticket) -> None:
        """Puts a call behind the others of its flow and priority. Raises QueueFull when a bound would be passed."""
        tally = self._queue.tally
        self._check(ticket, tally.calls, tally.bytes, "", self.max_waiting, self.max_bytes)
        calls, size = tally.of(ticket.flow)
        self._check(ticket, calls, size, "_per_flow", self.max_waiting_per_flow, self.max_bytes_per_flow)
        self.put_nowait(ticket)

    def pass_by(self, ticket: Ticket) -> None:
        """Gives a call its turn while nobody waits: the same as `add` and `take`, and a tenth of the work."""
        self._queue.pass_by(ticket)

    def put_back(self, ticket: Ticket) -> None:
        """Returns a call that was taken to the place it had, whatever the bounds, and its flow gets back its charge.

        `turn` becomes None: whoever waits for the next turn brings a future of its own. Nothing happens to a ticket
        that is not granted.
        """
        if ticket.granted:
            self._queue.put_back(ticket)

    def discard(self, ticket: Ticket) -> None:
        """Takes a call out that will not wait any longer. Harmless if it has been taken already."""
        self._queue.remove(ticket)

    def reprioritise(self, ticket: Ticket, priority: int) -> None:
        """Gives a waiting call another priority (0 first); it keeps the time it has waited. Harmless for others."""
        self._queue.move(ticket, priority)

    def find(self, call_id: str) -> Ticket | None:
        """The ticket of a waiting call; None when no such call waits."""
        return self._queue.tally.by_id.get(call_id)

    def head(self, now: float | None = None, closed: Container[str] = ()) -> Ticket | None:
        """The call whose turn is next, without taking it; None when nobody waits who may go.

        `closed` holds the groups that may not go. `now` is the lane's clock; without it the last time counts.
        """
        return self._queue.head(now, closed)

    def take(self) -> Ticket:
        """Takes the call that `head()` has just shown. Raises asyncio.QueueEmpty when nobody waits."""
        return self.get_nowait()

    def position(self, ticket: Ticket) -> int:
        """The place of a waiting call: 1 is next; behind everybody if it does not wait. May look at all who wait."""
        place = self._queue.rank(ticket)
        return self.waiting + 1 if place is None else place

    def expected(self, ticket: Ticket) -> int:
        """The place that a waiting call is likely to have, others coming as they did lately: 1 is next."""
        return self._queue.expected(ticket)

    def ahead_in_flow(self, ticket: Ticket) -> int:
        """How many calls of its own flow wait before a call that has just come."""
        return self._queue.ahead_in_flow(ticket)

    def typical(self, ask: Ask) -> Ask:
        """What the calls that wait need on the average, in the group of `ask`; that itself where nobody waits."""
        return self._queue.tally.typical(ask)

    def ahead_of(self, priority: int) -> int:
        """How many waiting calls have this priority or a higher one: at most so many go before a new call of it."""
        return self._queue.ahead_of(priority)

    def __iter__(self) -> Iterator[Ticket]:
        """The waiting calls in the order in which they would go, were nobody to come or leave."""
        return iter(self._queue)

    def __repr__(self) -> str:
        listed = " ".join(f"{priority}={count}" for priority, count in self._queue.sizes().items())
        return f"<CallQueue {self.waiting} waiting{': ' + listed if listed else ''}>"

    # The three hooks that asyncio.Queue offers to subclasses; it asks `_queue` for its length and whether it is empty.

    def _init(self, maxsize: int) -> None:
        self._queue = Order()

    def _put(self, item: Ticket) -> None:
        self._queue.push(item)

    def _get(self) -> Ticket:
        ticket = self._queue.take()
        if ticket is None:
            raise asyncio.QueueEmpty
        return ticket

    @staticmethod
    def _check(ticket: Ticket, calls: int, size: int, suffix: str, max_calls: int, max_bytes: int) -> None:
        whose = " of this caller" if suffix else ""
        if max_calls and calls >= max_calls:
            raise QueueFull(f"{calls} calls{whose} are waiting already, as many as [queue] max_waiting{suffix} allows")
        # A call that waits alone is always welcome, however large: otherwise it could never be sent at all.
        if max_bytes and size and size + ticket.size > max_bytes:
            raise QueueFull(
                f"{size} bytes{whose} are waiting already; this call of {ticket.size} bytes "
                f"would pass [queue] max_waiting_bytes{suffix} ({max_bytes})"
            )
