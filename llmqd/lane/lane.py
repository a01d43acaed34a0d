"""Lets calls through: one upstream key, its queue, its rate and its free places, drained by one worker loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from llmqd.errors import CallRefused, DeadlineExceeded, QueueFull, ShuttingDown
from llmqd.lane.queue import CallQueue, Ticket
from llmqd.lane.rate import Rate

if TYPE_CHECKING:
    from llmqd.call import Call
    from llmqd.config.model import Key, Queue


class Lane:
    """One upstream key with its limits.

    `turn(call)` is the only way through: an async context manager that waits, then holds one of the lane's places and
    gives it back on any exit. All decisions are taken in `_admit`, which never awaits and is called after every change;
    the worker loop calls it when a turn comes due. `clock` is the event loop's own monotonic clock.
    """

    def __init__(self, name: str, upstream: str, key: Key, queue: Queue, *, clock: Callable[[], float]) -> None:
        self.name = name
        self.upstream = upstream
        self.running = 0
        self.granted = 0
        self._clock = clock
        self._rate = Rate(0)
        self._queue = CallQueue()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._closed = False
        self._asked: list[asyncio.Future[None]] = []
        self.retune(key, queue)

    def retune(self, key: Key, queue: Queue) -> None:
        """Applies another configuration; calls that wait keep their places."""
        self.key = key
        self._max_concurrent = key.limits.max_concurrent
        self._rate.retune(key.limits.requests_per_minute, key.limits.burst)
        self._queue.max_waiting = queue.max_waiting
        self._queue.max_bytes = queue.max_waiting_bytes
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return self._queue.waiting

    @property
    def waiting_bytes(self) -> int:
        """Bytes of request bodies that wait."""
        return self._queue.waiting_bytes

    @property
    def requests_per_minute(self) -> float:
        """The rate in force; 0 means none."""
        return self._rate.per_minute

    @property
    def max_concurrent(self) -> int:
        """How many calls may run at once; 0 means any number."""
        return self._max_concurrent

    @property
    def load(self) -> int:
        """Calls that wait or run: what a choice between lanes compares."""
        return self._queue.waiting + self.running

    def turn(self, call: Call) -> Turn:
        """`async with lane.turn(call):` waits for the call's turn and holds it.

        Entering raises QueueFull, DeadlineExceeded or ShuttingDown instead of a turn.
        """
        return Turn(self, call)

    async def work(self) -> None:
        """The worker loop: drains the queue at the lane's rate until it is cancelled."""
        while True:
            self._wake.clear()
            self._admit()
            for question in self._asked:
                if not question.done():
                    question.set_result(None)
            self._asked.clear()
            await self._wake.wait()

    async def answer(self) -> None:
        """Returns once the worker loop has come round: the watchdog's question whether it still lives."""
        question = asyncio.get_running_loop().create_future()
        self._asked.append(question)
        self._wake.set()
        await question

    def close(self) -> None:
        """Sends all who wait away with ShuttingDown, and everybody who comes later."""
        self._closed = True
        for ticket in list(self._queue):
            self._refuse(ticket, self._shutting_down())

    def enter(self, call: Call) -> Ticket:
        """Takes a place in the queue, and the turn at once where nobody is ahead. Used by `Turn`."""
        if self._closed:
            raise self._shutting_down()
        ticket = Ticket(call, self._clock())
        try:
            self._queue.add(ticket)
        except QueueFull as full:
            ahead = self._queue.ahead_of(call.priority)
            full.position, full.eta = ahead + 1, self._eta(ahead + 1)
            full.retry_after = full.eta
            raise
        self._admit()
        if not ticket.granted and call.no_queue:
            ahead = self._queue.position(ticket)
            self._queue.discard(ticket)
            eta = self._eta(ahead)
            raise QueueFull("no turn is free and X-LLMQD-No-Queue is set", position=ahead, eta=eta, retry_after=eta)
        return ticket

    async def wait(self, ticket: Ticket) -> None:
        """Waits until a ticket is granted; a cancelled or refused wait leaves no trace in the lane. Used by `Turn`."""
        loop = asyncio.get_running_loop()
        ticket.turn = loop.create_future()
        expiry = None
        if ticket.call.max_wait is not None:
            expiry = loop.call_later(ticket.call.max_wait, self._expire, ticket)
        try:
            await ticket.turn
        except BaseException:
            if ticket.granted:
                self._rate.give_back()  # granted and cancelled in the same tick: it was never sent
                self.leave()
            else:
                self._queue.discard(ticket)
            raise
        finally:
            if expiry is not None:
                expiry.cancel()

    def leave(self) -> None:
        """Gives a place back. Used by `Turn`."""
        self.running -= 1
        self._admit()

    def __repr__(self) -> str:
        return f"<Lane {self.name}: {self.running} running, {self._queue!r}, {self._rate!r}>"

    def _admit(self) -> None:
        """Lets through everybody who may go now and sees to it that the worker wakes for the next."""
        now = self._clock()
        while (ticket := self._queue.head()) is not None:
            if self._max_concurrent and self.running >= self._max_concurrent:
                return  # the next place that is given back comes here again
            due = self._rate.ready_at()
            if due > now:
                self._wake_at(due)
                return
            self._queue.take()
            self._rate.take(now, waited=ticket.since < due)
            self.running += 1
            self.granted += 1
            if ticket.turn is not None:
                ticket.turn.set_result(None)

    def _wake_at(self, due: float) -> None:
        if self._timer is not None:
            if self._timer_at == due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._wake.set()

    def _expire(self, ticket: Ticket) -> None:
        if ticket.granted or ticket.gone:
            return
        position = self._queue.position(ticket)
        eta = self._eta(position)
        waited = ticket.call.max_wait
        self._refuse(
            ticket,
            DeadlineExceeded(f"no turn came within {waited:g} s", position=position, eta=eta, retry_after=eta),
        )

    def _refuse(self, ticket: Ticket, error: CallRefused) -> None:
        self._queue.discard(ticket)
        if ticket.turn is not None and not ticket.turn.done():
            ticket.turn.set_exception(error)

    def _eta(self, position: int) -> float:
        return self._rate.wait_for(position, self._clock())

    def _shutting_down(self) -> ShuttingDown:
        return ShuttingDown("llmqd is shutting down; try again", retry_after=1.0, retry=True)


class Turn:
    """A call's turn: waited for on entry, given back on exit, whatever happens in between."""

    __slots__ = ("_call", "_lane")

    def __init__(self, lane: Lane, call: Call) -> None:
        self._lane = lane
        self._call = call

    async def __aenter__(self) -> None:
        ticket = self._lane.enter(self._call)
        if not ticket.granted:
            await self._lane.wait(ticket)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lane.leave()
