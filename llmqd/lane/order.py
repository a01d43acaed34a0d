"""Who is next: strict bands of priority, fair shares inside a band, and a way up for calls that waited long."""

from __future__ import annotations

from collections.abc import Container, Iterator

import msgspec

from llmqd.lane.amounts import Ask
from llmqd.lane.forecast import forecast, rank
from llmqd.lane.shares import SWEEP_ABOVE, Band, Group
from llmqd.lane.ticket import Ticket

LIFTED_AFTER = 0.75
"""Part of the ageing time after which a call is lifted: the rest is for the turn itself to come."""

_NEVER = float("-inf")


class Tally:
    """Who waits: by call id, in calls and bytes, in all and for each flow."""

    __slots__ = ("_by_flow", "_input", "_most", "_output", "by_id", "bytes", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self.bytes = 0
        self.by_id: dict[str, Ticket] = {}
        self._by_flow: dict[str, tuple[int, int]] = {}
        self._input = self._output = self._most = 0.0

    def add(self, ticket: Ticket) -> None:
        """Counts a call that begins to wait."""
        self.by_id[ticket.call.id] = ticket
        self._count(ticket, 1)

    def remove(self, ticket: Ticket) -> None:
        """Counts a call that waits no longer."""
        if self.by_id.get(ticket.call.id) is ticket:
            del self.by_id[ticket.call.id]
        self._count(ticket, -1)

    def of(self, flow: str) -> tuple[int, int]:
        """Calls and bytes of one flow."""
        return self._by_flow.get(flow, (0, 0))

    def typical(self, ask: Ask) -> Ask:
        """What the calls that wait are going to use on the average, as is expected without any margin, in the group of
        `ask`; that itself where nobody waits."""
        if not self.calls:
            return ask
        return msgspec.structs.replace(
            ask,
            input_tokens=max(self._input / self.calls, 0.0),
            output_tokens=max(self._output / self.calls, 0.0),
            max_tokens=None if ask.max_tokens is None else max(self._most / self.calls, 0.0),
        )

    def _count(self, ticket: Ticket, by: int) -> None:
        self.calls += by
        self.bytes += by * ticket.size
        if (ask := ticket.ask) is not None:
            most = ask.expected_output if ask.max_tokens is None else ask.max_tokens
            self._input += by * ask.expected_input
            self._output += by * min(ask.expected_output, most)
            self._most += by * most
        calls, size = self.of(ticket.flow)
        if calls + by:
            self._by_flow[ticket.flow] = calls + by, size + by * ticket.size
        else:
            del self._by_flow[ticket.flow]


class Order:
    """The waiting calls of a lane in their order.

    Bands of priority are strict: a lower number goes first. `ageing` (seconds, 0 none) is the exception: once a call
    has waited for most of it, its band gets every second turn, the band with the oldest call first, as long as calls of
    higher priority wait. So nobody starves under permanent overload, and yet priorities keep half of the turns. Inside
    a band fair shares decide, also for a lifted one: there nobody can starve, and a tenant who fills the queue would
    otherwise be served first just because its calls grow old.

    `head` shows and `take` takes; what is taken is charged to its flow, what leaves is not. The time is passed in to
    `head` and kept for the questions that follow. Costs: O(bands * groups + log n) for everything but `move`, `rank`
    and iteration, which are linear.
    """

    def __init__(self) -> None:
        self.ageing = 0.0
        self.tally = Tally()
        self._bands: dict[int, Band] = {}
        self._arrivals = 0
        self._left = 0
        self._now = _NEVER
        self._lifted = False
        self._shown: tuple[Ticket, Container[str], bool] | None = None

    def push(self, ticket: Ticket) -> None:
        """Adds a call behind those of its flow and priority that have waited as long or longer."""
        self._arrivals += 1
        ticket.number = self._arrivals
        self._shown = None
        self._group(ticket).push(ticket)
        self.tally.add(ticket)

    def pass_by(self, ticket: Ticket) -> None:
        """What `push` and `take` do where nobody waits: no share is remembered, as there is nobody to share with."""
        self._arrivals += 1
        ticket.number = self._arrivals
        ticket.granted = True
        self._lifted = False

    def put_back(self, ticket: Ticket) -> None:
        """Undoes `take`: the call is where it was, and its flow has its charge back."""
        ticket.granted = False
        ticket.turn = None
        self._shown = None
        self._group(ticket).put_back(ticket)
        self.tally.add(ticket)

    def remove(self, ticket: Ticket) -> None:
        """Takes out a call that will not wait any longer; costs its flow nothing."""
        if ticket.place is None:
            return
        ticket.left = True
        self._shown = None
        self._leave(ticket, ticket.place.group)
        self._left += 1
        if self._left > max(SWEEP_ABOVE, self.tally.calls):
            self._left = 0
            for band in self._bands.values():
                for group in band.groups.values():
                    group.sweep()

    def move(self, ticket: Ticket, priority: int) -> None:
        """Gives a waiting call another priority; there it stands among its flow as long as it has waited."""
        if ticket.place is None:
            return
        self._shown = None
        group = ticket.place.group
        group.remove(ticket)
        self._drop_if_empty(group.band)
        ticket.call.priority = priority
        self._group(ticket).push(ticket)

    def head(self, now: float | None = None, closed: Container[str] = ()) -> Ticket | None:
        """The call that is next among those whose group is not closed; None when there is none.

        A call whose task was cancelled in this very tick is passed over and counts as left.
        """
        if now is not None:
            self._now = now
        if (shown := self._shown) is not None and self._still(shown, closed):
            return shown[0]
        self._shown = None
        while True:
            ticket, lifted = self._choose(closed)
            if ticket is None:
                return None
            if not ticket.gone:
                self._shown = ticket, closed, lifted
                return ticket
            self.remove(ticket)

    def take(self) -> Ticket | None:
        """Takes the call that `head` showed last, or the next of all if that is out of date; None without any."""
        shown = self._shown
        if shown is None or shown[0].gone:
            self.head(closed=shown[1] if shown is not None else ())
        if self._shown is None:
            return None
        ticket, closed, self._lifted = self._shown
        assert ticket.place is not None
        group = ticket.place.group
        group.take()
        group.band.hold_back(closed)
        self._shown = None
        self._drop_if_empty(group.band)
        ticket.granted = True
        self.tally.remove(ticket)
        return ticket

    def rank(self, ticket: Ticket) -> int | None:
        """The place of a call: 1 is next; None when it does not wait. Were nobody to come or leave, and none closed."""
        if ticket.place is None:
            return None
        bands = self._sorted()
        if self._due(bands[0]) is not None:
            return next((place for place, each in enumerate(self, 1) if each is ticket), None)
        band = ticket.place.group.band
        return sum(each.live for each in bands if each.priority < band.priority) + rank(band, ticket)

    def expected(self, ticket: Ticket) -> int:
        """The place that a waiting call is likely to have, if others go on coming as they did lately.

        Its flow has a share of the turns: what it was given lately, or else what its weight among those who wait now
        promises. Where several groups of a band wait, everybody of its priority or a higher one counts.
        """
        backlog = ticket.place
        if backlog is None or len(backlog.group.band.groups) > 1:
            return self.ahead_of(ticket.call.priority)
        return self.ahead_of(ticket.call.priority - 1) + backlog.group.turns_until(backlog)

    def ahead_in_flow(self, ticket: Ticket) -> int:
        """How many calls of its own flow and priority wait before a call that has just come."""
        return 0 if ticket.place is None else ticket.place.live - 1

    def ahead_of(self, priority: int) -> int:
        """How many waiting calls are of this priority or a higher one."""
        return sum(band.live for band in self._bands.values() if band.priority <= priority)

    def sizes(self) -> dict[int, int]:
        """How many calls wait in each band, the first band first."""
        return {band.priority: band.live for band in self._sorted()}

    def __len__(self) -> int:
        return self.tally.calls

    def __bool__(self) -> bool:
        return self._shown is not None or self.head() is not None

    def __iter__(self) -> Iterator[Ticket]:
        """The waiting calls in the order in which they would go, were nobody to come or leave."""
        return forecast(self._sorted(), self._now - self.ageing * LIFTED_AFTER if self.ageing else _NEVER, self._lifted)

    def _still(self, shown: tuple[Ticket, Container[str], bool], closed: Container[str]) -> bool:
        """Whether the call that was shown is still next: nobody has come or gone since, and no time counts."""
        return len(self._bands) == 1 and not closed and not shown[1] and not shown[0].gone

    def _choose(self, closed: Container[str]) -> tuple[Ticket | None, bool]:
        if len(self._bands) == 1:
            (band,) = self._bands.values()
            return band.first(closed), False
        for priority in sorted(self._bands):
            band = self._bands[priority]
            ticket = band.first(closed)
            if ticket is not None:
                lifted = None if self._lifted else self._due(band, closed)
                return (ticket, False) if lifted is None else (lifted.first(closed), True)
        return None, False

    def _due(self, above: Band, closed: Container[str] = ()) -> Band | None:
        """The band below `above` that ageing lifts now: the one with the oldest call of those that are due."""
        if not self.ageing or len(self._bands) == 1:
            return None
        due = self._now - self.ageing * LIFTED_AFTER
        best: tuple[float, int] | None = None
        found = None
        for band in self._bands.values():
            if band.priority > above.priority:
                oldest = band.oldest(closed)
                if oldest is not None and oldest[0] <= due and (best is None or oldest < best):
                    best, found = oldest, band
        return found

    def _group(self, ticket: Ticket) -> Group:
        priority = ticket.call.priority
        band = self._bands.get(priority)
        if band is None:
            band = self._bands[priority] = Band(priority)
        return band.group(ticket.group)

    def _leave(self, ticket: Ticket, group: Group) -> None:
        group.leave(ticket)
        self._drop_if_empty(group.band)
        self.tally.remove(ticket)

    def _drop_if_empty(self, band: Band) -> None:
        if not band.live:
            del self._bands[band.priority]

    def _sorted(self) -> list[Band]:
        return [self._bands[priority] for priority in sorted(self._bands)]
