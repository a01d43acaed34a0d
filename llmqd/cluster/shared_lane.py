"""A lane that is the same in all daemons: its calls wait here, and its owner among them says whose turn it is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmqd.cluster import codec
from llmqd.cluster.held_lane import HeldLane, ask_of, model_of, tokens_of
from llmqd.cluster.held_turn import HeldTurn
from llmqd.cluster.past import KEPT, usages
from llmqd.cluster.slots import LATE, Slots, interval
from llmqd.errors import QueueFull, ShuttingDown
from llmqd.lane.alarm import until
from llmqd.lane.brake import Pause
from llmqd.lane.outlook import Outlook
from llmqd.lane.throttle import Throttle

if TYPE_CHECKING:
    from llmqd.cluster.held_lane import Seat
    from llmqd.config.model import Key, Queue
    from llmqd.errors import CallRefused
    from llmqd.lane.queue import Ticket
    from llmqd.usage import LaneUsage, Sample

_MOST_MISSED = 4
"""Own slots in a row that a call may come too late for; then it goes, however late."""


class SharedLane(HeldLane):
    """Behaves as Lane does. `seat` is the way to the lane's owner.

    Waiting calls stand in the queue here as well: so they are seen, and a daemon that can ask nobody goes on by itself,
    `alone`, with its part of the limits as they were last known. Whoever owns the lane, it is asked by messages alone.
    """

    def __init__(
        self,
        name: str,
        upstream: str,
        key: Key,
        queue: Queue,
        *,
        throttle: Throttle,
        clock: Callable[[], float],
        announce: Callable[..., object],
        seat: Seat,
    ) -> None:
        self.learns = throttle.learns
        self.queue_settings = queue
        self._told: tuple[float, Any] | None = None
        self._slots = Slots([0], 1)
        self._part = 1.0
        self._samples: list[Sample] = []
        super().__init__(name, upstream, key, queue, throttle=throttle, clock=clock, announce=announce, seat=seat)
        self.announce = announce
        seat.add(self)

    # Steering.

    def retune(self, key: Key, queue: Queue, *, learns: bool) -> None:
        self.learns, self.queue_settings = learns, queue
        super().retune(key, queue, learns=learns)
        self._seat.retuned(self)

    def recall(self, past: Any, samples: Any) -> None:
        self._samples = list(samples)
        super().recall(past, self._samples)

    @property
    def samples(self) -> list[Sample]:
        """What calls were like, as the ledger knows."""
        return self._samples

    def pause(self, seconds: float | None, reason: str) -> None:
        if self.alone:
            super().pause(seconds, reason)
            return
        until = None if seconds is None else self._clock() + seconds
        self.view = self.view._replace(paused=Pause(until, reason, by_operator=True))
        self._send(["P", seconds, reason])

    def resume(self) -> None:
        if self.alone:
            super().resume()
            return
        self.view = self.view._replace(paused=None)
        self._send(["U"])

    def reprioritise(self, ticket: Ticket, priority: int) -> None:
        super().reprioritise(ticket, priority)
        if ticket in self._numbers:
            self._send(["p", self._numbers[ticket], priority])

    # A call's way, as in Lane.

    def reenter(self, ticket: Ticket) -> None:
        if self.alone:
            super().reenter(ticket)
            return
        if self._closed:
            raise ShuttingDown()
        ticket.grant = None
        self._queue.put_back(ticket)
        self._ask(ticket)

    async def wait(self, ticket: Ticket) -> None:
        try:
            await super().wait(ticket)
        except BaseException:
            self._forget(ticket)
            raise

    async def poised(self, ticket: Ticket) -> None:
        while True:
            if (held := self._held.get(ticket)) is None:
                await super().poised(ticket)
                await self._own_slot(ticket)
                if ticket not in self._held:
                    return
                continue  # others share the lane again: the slot is no longer ours alone
            now = self._clock()
            held.ready = now
            if held.moment > now:
                await until(held.moment, self._clock)
            if self._clock() <= held.expires:
                return
            await self._again(ticket)

    def _admit(self) -> None:
        if self.alone:
            super()._admit()

    def _must_wait(self, ticket: Ticket) -> None:
        if self.alone:
            super()._must_wait(ticket)
            return
        if ticket.call.no_queue and not self._joined:
            self._queue.discard(ticket)
            raise QueueFull("no turn is free and X-LLMQD-No-Queue is set")
        self._ask(ticket)

    # Between here and the owner.

    def granted_there(self, number: int, moment: float, valid: float) -> None:
        """The owner lets a call through, from that moment (monotonic), for so many seconds."""
        ticket = self._away.pop(number, None)
        self._expected.pop(number, None)
        if ticket is None or ticket.gone or ticket.turn is None:
            self._send(["w", number])
            return
        now = self._clock()
        if self._queue.head(now) is not ticket:
            priority, ageing = ticket.call.priority, self._queue.ageing
            self._queue.ageing = 0.0  # nobody is lifted past it
            self._queue.reprioritise(ticket, -1)
            self._queue.head(now)
            self._queue.take()
            ticket.call.priority, self._queue.ageing = priority, ageing
        else:
            self._queue.take()
        self._held[ticket] = HeldTurn(number, moment, valid)
        self._begin(ticket, now)

    def refused_there(self, number: int, error: CallRefused) -> None:
        """The owner gives a call no turn."""
        ticket = self._away.pop(number, None)
        self._expected.pop(number, None)
        if ticket is not None:
            self._numbers.pop(ticket, None)
            self._refuse(ticket, error)

    def queued_there(self, number: int, position: int, eta: float | None) -> None:
        """A call has to wait: its place among those of all daemons."""
        ticket = self._away.get(number)
        if ticket is not None and not ticket.gone:
            self._expected[number] = position, eta, self._clock()
            self._announcer.queued(ticket.call, position, eta)

    def seen_there(self, plain: Any) -> None:
        """The owner says how the lane is."""
        time = self._seat.time
        self._told = time.now, plain
        self.view = codec.viewed(plain, time.offset)

    def join(self) -> list[Any]:
        """Another owner, or the same anew: all it has to know of what is here. From now on it decides."""
        now, time = self._clock(), self._seat.time
        self.alone, self._joined = False, True
        self._hold_all(now)
        self._expected.clear()
        self._away = {self._number(ticket): ticket for ticket in self._queue}
        waiting = [codec.ask(number, ticket, time.offset) for number, ticket in self._away.items()]
        running = [
            [codec.ask(held.number, ticket, time.offset), time.there(held.sent or now), held.sent is not None]
            for ticket, held in self._held.items()
        ]
        unsent = [
            [model_of(ticket), time.there(now), 1, *tokens_of(ticket), 0]
            for ticket, held in self._held.items()
            if held.sent is None
        ]
        since = now - KEPT
        past = self.past.export(since, time.offset) + unsent
        alone = self.past.export(since, time.offset, alone=True) + unsent
        self.past.told()
        return [waiting, running, past, alone, self._told]

    def lost(self) -> None:
        """Nobody owns the lane, as far as is known here: calls wait."""
        self._joined = False

    def go_alone(self, index: int, members: int) -> None:
        """Nobody can be asked: the lane goes on with its part of the limits as they were last known.

        `index` is the number of this daemon among so many `members`.
        """
        if self.alone:
            return
        now, time = self._clock(), self._seat.time
        self.alone, self._joined = True, False
        self._slots = Slots([index], members)
        self._hold_all(now)
        self._away.clear()
        self._expected.clear()
        part = self._part = 1.0 / members
        self._throttle = Throttle(self.key.limits, learns=self.learns, noise=random.random, wall_offset=time.offset)
        self._throttle.share(part, now)
        self._throttle.take_over(self.view.known, now)
        known: list[LaneUsage] = usages(self.view.past, part) or usages(self.past.export(-math.inf, time.offset))
        self._throttle.recall(known, self._samples, now)
        self._outlook = Outlook(self._queue, self._throttle, self._clock)
        for ticket, held in list(self._held.items()):
            if held.sent is not None:
                assert ticket.demand is not None
                ticket.grant = self._throttle.adopt(ask_of(ticket), ticket.demand.size, held.sent, now)
                del self._held[ticket]
        places = next((each.limit for each in self.view.figures if each.dimension == "max_concurrent"), math.inf)
        if places <= index:
            self._throttle.pause(None, "fewer calls may run at once than there are daemons, and Redis is away")
        self._wake.set()

    def _ask(self, ticket: Ticket) -> None:
        if self._goes_freely(ticket):
            return
        number = self._number(ticket)
        if self._joined:
            self._away[number] = ticket
            self._seat.send(self, ["e", codec.ask(number, ticket, self._seat.time.offset)])

    def _forget(self, ticket: Ticket) -> None:
        number = self._numbers.pop(ticket, None)
        if number is not None and self._away.pop(number, None) is not None:
            self._expected.pop(number, None)
            self._send(["x", number])

    async def _again(self, ticket: Ticket) -> None:
        """The moment of a turn has passed unused: the call waits for another one, at its own place."""
        del self._held[ticket], self._turns[ticket]
        self.reenter(ticket)
        if not ticket.granted:
            await self.wait(ticket)

    async def _own_slot(self, ticket: Ticket) -> None:
        """Alone, calls leave at moments that no other daemon uses, where calls have to keep their distance."""
        seconds = interval(super().figures(), ("", ticket.group), self._part) if self.alone else 0.0
        if not seconds:
            return
        time = self._seat.time
        for _ in range(_MOST_MISSED):
            slot = time.here(self._slots.next(time.now, seconds))
            await until(slot, self._clock)
            if self._clock() <= slot + LATE * seconds:
                return
