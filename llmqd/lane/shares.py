"""Fair shares among waiting calls of one priority: start-time fair queueing over model groups, and in each over flows.

Every competitor (a flow in its group, a group in its band) carries a tag: the virtual time at which its next call
starts. The lowest tag goes first, and a turn moves the tag on by cost / weight, so that in the long run everybody gets
service in proportion to weight (Goyal, Vin, Cheng: Start-time Fair Queueing, SIGCOMM 1996). The virtual clock moves on
with the service given, as in WF2Q+ (Bennett, Zhang, SIGCOMM 1996), so that an endless row of newcomers, each with a
first turn to claim, cannot keep out those who had theirs. Groups are told apart because each may be held back on its
own: which flow was how busy in one says nothing about another that moves at another pace.
"""

from __future__ import annotations

import math
from collections.abc import Container
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple

from llmqd.lane.ticket import Ticket

SWEEP_ABOVE = 64
"""Entries that mean nothing any more are swept out only when there are at least so many: sweeping is linear."""

_TELLING, _LATELY = 4, 256
"""Turns of a flow from which its share shows, and turns of its group over which it is counted."""

Entry = tuple[float, int, Ticket]
"""A waiting call with the key of its place in its flow: since when, number of arrival."""

Spot = tuple[float, float, int, int, "Backlog"]
"""A flow's place among its group's flows: tag, then the key of its first call; the serial number keeps keys apart."""


class Receipt(NamedTuple):
    """What a turn was charged with: the group that kept account, the flow's tag before and after, the group's part."""

    group: Group
    start: float
    end: float
    share: float


class VirtualTime:
    """How far the service of some competitors has come, in cost per unit of weight.

    Remembers the tags of those who wait for nothing now but have had more than their share, until time catches up.
    """

    __slots__ = ("_ahead", "_sweep_above", "now", "weight")

    def __init__(self) -> None:
        self.now = 0.0
        self.weight = 0.0
        """Of all competitors that wait."""
        self._ahead: dict[str, float] = {}
        self._sweep_above = SWEEP_ABOVE

    def enter(self, name: str) -> float:
        """The tag of a competitor that begins to wait."""
        return max(self._ahead.pop(name, self.now), self.now)

    def leave(self, name: str, tag: float) -> None:
        """Keeps the tag of a competitor that waits no longer, if it still means anything."""
        if tag > self.now:
            self._ahead[name] = tag
            if len(self._ahead) > self._sweep_above:
                self._ahead = {one: ahead for one, ahead in self._ahead.items() if ahead > self.now}
                self._sweep_above = max(SWEEP_ABOVE, 2 * len(self._ahead))

    def recall(self, name: str) -> float | None:
        """The tag kept for a competitor, which is then kept no more; None when time has caught up with it."""
        tag = self._ahead.pop(name, None)
        return tag if tag is not None and tag > self.now else None

    def serve(self, start: float, cost: float, weight: float) -> None:
        """Moves on: a competitor of this weight, whose tag was `start`, is served."""
        self.now = max(self.now + cost / max(self.weight, weight), start)

    @property
    def remembered(self) -> int:
        """How many competitors that wait for nothing are remembered."""
        return len(self._ahead)


class Backlog:
    """The waiting calls of one flow in one group of one band: a heap by arrival, with some that have left."""

    __slots__ = ("began", "calls", "flow", "group", "live", "served", "spot", "tag", "weight")

    def __init__(self, group: Group, flow: str, tag: float) -> None:
        self.group = group
        self.flow = flow
        self.tag = tag
        self.weight = 0.0
        self.calls: list[Entry] = []
        self.live = 0
        self.began = group.turns
        self.served = 0
        """Turns that it has had since the group's turn number `began`."""
        self.spot: Spot | None = None


class Group:
    """The waiting calls of one model group in one band: who is next, who waits longest."""

    __slots__ = ("_ages", "_serial", "_turns", "backlogs", "band", "live", "name", "tag", "time", "turns")

    def __init__(self, band: Band, name: str, tag: float) -> None:
        self.band = band
        self.name = name
        self.tag = tag
        self.time = VirtualTime()
        self.backlogs: dict[str, Backlog] = {}
        self.live = 0
        self.turns = 0
        """Turns given."""
        self._turns: list[Spot] = []
        self._ages: list[Entry] = []
        self._serial = 0

    def push(self, ticket: Ticket) -> None:
        """Adds a call, at its place among those of its flow."""
        backlog = self.backlogs.get(ticket.flow)
        if backlog is None:
            backlog = self._open(ticket.flow, self.time.enter(ticket.flow))
        self._insert(backlog, ticket)

    def put_back(self, ticket: Ticket) -> None:
        """Adds a call that has had a turn, and undoes the charge for it if it was charged here."""
        receipt = ticket.receipt
        if receipt is None or receipt.group is not self:
            self.push(ticket)
            return
        backlog = self.backlogs.get(ticket.flow)
        if backlog is None:
            tag = self.time.recall(ticket.flow)
            backlog = self._open(ticket.flow, receipt.end if tag is None else tag)
        # What was added and is taken away again may differ in the last bit, which would decide between equals.
        moved = backlog.tag != receipt.end
        backlog.tag = backlog.tag - (receipt.end - receipt.start) if moved else receipt.start
        self.tag -= receipt.share
        self._insert(backlog, ticket)
        self._place(backlog)

    def first(self) -> Ticket | None:
        """The call that is next here; None when nobody waits."""
        turns = self._turns
        while turns:
            spot = turns[0]
            backlog = spot[4]
            if backlog.spot is not spot:
                heappop(turns)
                continue
            while (front := backlog.calls[0])[2].left:
                heappop(backlog.calls)
            if front[1] == spot[2]:
                return front[2]
            backlog.spot = self._spot(backlog)
            heapreplace(turns, backlog.spot)
        return None

    def oldest(self) -> tuple[float, int] | None:
        """The key of the call that waits longest here."""
        ages = self._ages
        while ages:
            since, number, ticket = ages[0]
            if ticket.place is not None and ticket.place.group is self:
                return since, number
            heappop(ages)
        return None

    def take(self) -> Ticket:
        """Takes the call that `first` shows, and charges its flow and this group for it."""
        ticket = self.first()
        if ticket is None:
            raise IndexError("nobody waits in this group")
        spot = heappop(self._turns)
        backlog = spot[4]
        heappop(backlog.calls)
        start = backlog.tag
        weight = max(self.time.weight, backlog.weight)  # very unequal weights are lost when they are added up
        backlog.tag = start + ticket.cost / backlog.weight
        share = ticket.cost / weight
        ticket.receipt = Receipt(self, start, backlog.tag, share)
        self.time.serve(start, ticket.cost, backlog.weight)
        self.band.time.serve(self.tag, ticket.cost, weight)
        self.tag += share
        self._count_turn(backlog)
        self.leave(ticket)
        if backlog.live:
            while backlog.calls[0][2].left:
                heappop(backlog.calls)
            self._place(backlog)
        return ticket

    def turns_until(self, backlog: Backlog) -> int:
        """Turns of this group until the last call of a flow has had its own, at the flow's present share of them."""
        if backlog.served >= _TELLING:
            share = backlog.served / (self.turns - backlog.began)
            return max(round(backlog.live / share), backlog.live)
        promised = math.ceil(backlog.live * self.time.weight / backlog.weight)
        return max(min(promised, self.live), backlog.live)

    def leave(self, ticket: Ticket) -> None:
        """No longer counts a call; its entry stays behind until it is met or swept."""
        backlog = ticket.place
        assert backlog is not None
        ticket.place = None
        backlog.live -= 1
        self.live -= 1
        self.band.live -= 1
        if not backlog.live:
            self._close(backlog)
        if len(self._ages) > max(SWEEP_ABOVE, 2 * self.live):
            self._sweep_ages()

    def remove(self, ticket: Ticket) -> None:
        """Takes a call out at once, entry and all, so that it can be added elsewhere. Linear."""
        backlog = ticket.place
        assert backlog is not None
        backlog.calls = [entry for entry in backlog.calls if entry[2] is not ticket]
        heapify(backlog.calls)
        self.leave(ticket)

    def sweep(self) -> None:
        """Drops the entries of all who have left. Linear."""
        for backlog in self.backlogs.values():
            if len(backlog.calls) > backlog.live:
                backlog.calls = [entry for entry in backlog.calls if not entry[2].left]
                heapify(backlog.calls)
        self._sweep_ages()
        self._sweep_turns()

    def _count_turn(self, backlog: Backlog) -> None:
        self.turns += 1
        backlog.served += 1
        if self.turns - backlog.began > _LATELY:  # what was longer ago counts less and less
            backlog.began += (self.turns - backlog.began) // 2
            backlog.served //= 2

    def _open(self, flow: str, tag: float) -> Backlog:
        self.backlogs[flow] = backlog = Backlog(self, flow, tag)
        return backlog

    def _close(self, backlog: Backlog) -> None:
        del self.backlogs[backlog.flow]
        backlog.spot = None
        backlog.calls.clear()
        self._weigh(backlog, 0.0)
        self.time.leave(backlog.flow, backlog.tag)
        if not self.live:
            # A receipt may keep this group alive; it must not keep alive those who waited here.
            self._turns.clear()
            self._ages.clear()
            self.band.close(self)

    def _insert(self, backlog: Backlog, ticket: Ticket) -> None:
        entry = (ticket.since, ticket.number, ticket)
        heappush(backlog.calls, entry)
        heappush(self._ages, entry)
        backlog.live += 1
        self.live += 1
        self.band.live += 1
        ticket.place = backlog
        if ticket.weight != backlog.weight:
            self._weigh(backlog, ticket.weight)  # the newest call knows the weight that is in force
        if backlog.calls[0] is entry:
            self._place(backlog)

    def _weigh(self, backlog: Backlog, weight: float) -> None:
        self.time.weight += weight - backlog.weight
        self.band.time.weight += weight - backlog.weight
        backlog.weight = weight

    def _place(self, backlog: Backlog) -> None:
        backlog.spot = self._spot(backlog)
        heappush(self._turns, backlog.spot)
        if len(self._turns) > max(SWEEP_ABOVE, 2 * len(self.backlogs)):
            self._sweep_turns()

    def _spot(self, backlog: Backlog) -> Spot:
        self._serial += 1
        since, number, _ = backlog.calls[0]
        return backlog.tag, since, number, self._serial, backlog

    def _sweep_turns(self) -> None:
        self._turns = [each.spot for each in self.backlogs.values() if each.spot is not None]
        heapify(self._turns)

    def _sweep_ages(self) -> None:
        self._ages = [entry for each in self.backlogs.values() for entry in each.calls if not entry[2].left]
        heapify(self._ages)


class Band:
    """The waiting calls of one priority."""

    __slots__ = ("groups", "live", "priority", "time")

    def __init__(self, priority: int) -> None:
        self.priority = priority
        self.groups: dict[str, Group] = {}
        self.time = VirtualTime()
        self.live = 0

    def group(self, name: str) -> Group:
        """The group of that name, which begins to wait now if it did not."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(self, name, self.time.enter(name))
        return group

    def close(self, group: Group) -> None:
        """Drops a group in which nobody waits any longer."""
        del self.groups[group.name]
        self.time.leave(group.name, group.tag)

    def first(self, closed: Container[str]) -> Ticket | None:
        """The call that is next among the groups that are not closed."""
        if len(self.groups) == 1:
            (only,) = self.groups.values()
            return None if only.name in closed else only.first()
        best: tuple[float, float, int] | None = None
        found = None
        for group in self.groups.values():
            if group.name not in closed and (ticket := group.first()) is not None:
                key = (group.tag, ticket.since, ticket.number)
                if best is None or key < best:
                    best, found = key, ticket
        return found

    def oldest(self, closed: Container[str]) -> tuple[float, int] | None:
        """The key of the call that waits longest in the groups that are not closed."""
        keys = (group.oldest() for name, group in self.groups.items() if name not in closed)
        return min((key for key in keys if key is not None), default=None)

    def hold_back(self, closed: Container[str]) -> None:
        """Lets no closed group gather credit: it would take every turn once it is open again."""
        for group in self.groups.values():
            if group.name in closed:
                group.tag = max(group.tag, self.time.now)
