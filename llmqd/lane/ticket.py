"""A ticket: one call's place among those who wait for a lane."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from llmqd.call import Call
    from llmqd.lane.amounts import Ask
    from llmqd.lane.shares import Backlog, Receipt
    from llmqd.lane.standing import Standing
    from llmqd.lane.throttle import Demand, Grant


class Ticket:
    """One call's place in a lane. `granted` is set once, in the same step in which its turn is taken.

    `since` is the moment from which it waits (monotonic seconds): it decides the place within its flow and the ageing.
    `group` names the limits it falls under (calls of one group are held back together), `flow` whom its turn is charged
    to, `weight` that flow's share beside others, `cost` what the turn is charged with, in any unit that is the same for
    the whole lane. The cost may be corrected as long as the call waits. Raises ValueError for a weight that is not
    above 0 or a cost below 0.
    """

    __slots__ = (
        "ask",
        "call",
        "cost",
        "demand",
        "entered",
        "flow",
        "grant",
        "granted",
        "group",
        "left",
        "number",
        "place",
        "receipt",
        "since",
        "size",
        "turn",
        "until",
        "weight",
    )

    def __init__(
        self,
        call: Call,
        since: float,
        *,
        group: str = "",
        flow: str = "",
        weight: float = 1.0,
        cost: float = 1.0,
    ) -> None:
        if not weight > 0 or not cost >= 0:
            raise ValueError(f"a ticket needs a weight above 0 and a cost of 0 or more, not {weight!r} and {cost!r}")
        self.call = call
        self.since = since
        self.entered = since
        """When it entered this lane; later than `since` where it had waited before."""
        self.until = math.inf if call.max_wait is None else since + call.max_wait
        """The moment at which its wait ends for good."""
        self.size = call.request_bytes
        self.group = group
        self.flow = flow
        self.weight = weight
        self.cost = cost
        self.ask: Ask | None = None
        self.demand: Demand | None = None
        self.grant: Grant | None = None
        self.granted = False
        self.left = False
        self.turn: asyncio.Future[None] | None = None
        self.number = 0
        """Number of arrival in its queue: decides between calls that wait since the same moment."""
        self.place: Backlog | None = None
        """Where it waits; None before, after, and once it has left."""
        self.receipt: Receipt | None = None
        """What its last turn was charged with."""

    def stand(self, standing: Standing) -> None:
        """Takes over since when and until when the call waits; one that has not waited yet stands here from now on."""
        if standing.since is not None:
            self.since = min(standing.since, self.since)
        if standing.until is not None:
            self.until = standing.until
        standing.since, standing.until = self.since, self.until

    @property
    def gone(self) -> bool:
        """Nobody waits behind this ticket any more: it left, or its task was cancelled in this very tick."""
        return self.left or (self.turn is not None and self.turn.done())

    def __lt__(self, other: Ticket) -> bool:
        """Whether it goes first where nothing but priority and waiting time counts."""
        return (self.call.priority, self.since, self.number) < (other.call.priority, other.since, other.number)

    def __repr__(self) -> str:
        state = "granted" if self.granted else "left" if self.left else "waiting" if self.place else "new"
        return f"<Ticket {self.call.id} priority {self.call.priority} {state}>"


class Running(NamedTuple):
    """A call that has its turn, and since when (monotonic)."""

    call: Call
    since: float
