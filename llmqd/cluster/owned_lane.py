"""The lane of an arbiter: knows moments that others tell, and can be built from what others remember."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmqd.cluster.timing import APART
from llmqd.lane.announcer import Announcer
from llmqd.lane.flow import flow_of
from llmqd.lane.lane import Lane
from llmqd.lane.ticket import Ticket

if TYPE_CHECKING:
    from llmqd.call import Call
    from llmqd.cluster.news import News
    from llmqd.config.model import Key, Queue
    from llmqd.lane.estimate import BodySize
    from llmqd.lane.throttle import Demand, Known
    from llmqd.usage import LaneUsage


class _Quiet(Announcer):
    """Tells what happens to the lane; of calls, those tell in whose daemon they are."""

    def queued(self, call: Call, position: int, eta: float | None) -> None:
        """Told where the call waits."""

    def started(self, call: Call, now: float) -> None:
        """Told where the call waits."""


class OwnedLane(Lane):
    """The lane of an arbiter: knows moments that others tell, and can be built from what others remember.

    `news` says how long its messages take; its throttle has it as its patience.
    """

    def __init__(self, name: str, upstream: str, key: Key, queue: Queue, *, news: News, **more: Any) -> None:
        self.news = news
        super().__init__(name, upstream, key, _flows(queue), **more)
        self._announcer = _Quiet(name, upstream, more["announce"])

    def leaves_at(self, ticket: Ticket) -> float:
        """The moment from which a call that was let through may leave."""
        now = self._clock()
        return now if ticket.grant is None else self._throttle.poised(ticket.grant, now)

    def has_left(self, ticket: Ticket, ready: float, sent: float) -> None:
        """A call has left at `sent`; it could have at `ready`."""
        if ticket.grant is not None:
            self._throttle.poised(ticket.grant, ready)
            self._throttle.sent(ticket.grant, sent + APART)
            self._admit()

    def adopt(self, ticket: Ticket, size: BodySize, taken: float) -> None:
        """A call runs that was let through before this lane began; what it takes is counted already."""
        assert ticket.ask is not None
        ticket.granted = True
        ticket.grant = self._throttle.adopt(ticket.ask, size, taken, self._clock())
        self._turns[ticket] = taken

    def retune(self, key: Key, queue: Queue, *, learns: bool) -> None:
        super().retune(key, _flows(queue), learns=learns)

    def ticket(self, call: Call, demand: Demand, since: float) -> Ticket:
        """A place for a call that has its turn already."""
        ask = self._throttle.ask(call.limited_as, demand)
        flow = flow_of(call, self._fair_by)
        ticket = Ticket(call, since, group=ask.group, flow=flow, weight=call.weight, cost=self._throttle.cost(ask))
        ticket.ask, ticket.demand = ask, demand
        return ticket

    @property
    def free(self) -> bool:
        """Whether nothing limits it, and nobody waits."""
        return not self._queue.waiting and self._throttle.unlimited(self._clock())

    def running_since(self, ticket: Ticket) -> float | None:
        """When a call was let through; None for one that does not run."""
        return self._turns.get(ticket)

    def expected(self, ticket: Ticket) -> int:
        """The place that a waiting call is likely to have."""
        return self._queue.expected(ticket)

    def admit(self) -> None:
        """Lets through who may go."""
        self._admit()

    def count(self, past: Iterable[LaneUsage]) -> None:
        """Counts what was let through a short while ago without this lane."""
        self._throttle.count(past, self._clock())

    def share(self, part: float) -> None:
        """Keeps to a part of all limits."""
        self._throttle.share(part, self._clock())
        self._wake.set()

    def take_over(self, known: Known) -> None:
        """Goes on with what was known of the lane elsewhere."""
        self._throttle.take_over(known, self._clock())

    def known(self) -> Known:
        """What is known of the lane."""
        return self._throttle.known(self._clock())


def _flows(queue: Queue) -> Queue:
    """Flows are found where calls come in, and bytes are bounded where they are held."""
    return replace(queue, fair_by="key", max_waiting_bytes=0, max_waiting_bytes_per_flow=0)
