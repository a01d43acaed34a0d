"""In which order the waiting calls would go if nobody came or left: places in the queue without touching it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heapreplace

from llmqd.lane.shares import Backlog, Band, Entry, Group
from llmqd.lane.ticket import Ticket


def forecast(bands: Iterable[Band], due: float, lifted: bool) -> Iterator[Ticket]:
    """The calls of all bands (given in their order).

    Bands with a call that waits since `due` or longer get every second turn; `lifted` says that the last turn was one.
    """
    coming = [_Coming(band, due) for band in bands]
    while coming:
        above, *below = coming
        if above.next is None:
            del coming[0]
            continue
        keyed = [(key, each) for each in below if (key := each.oldest()) is not None]
        if not keyed:
            yield from above.rest()
            continue
        lifted = not lifted
        yield (min(keyed, key=lambda pair: pair[0])[1] if lifted else above).take()


def rank(band: Band, ticket: Ticket) -> int:
    """The place of a waiting call in its band: 1 is next."""
    if len(band.groups) > 1:
        return next(place for place, each in enumerate(_band(band), 1) if each is ticket)
    own = ticket.place
    assert own is not None
    tag, ahead = own.tag, 0
    for each in _waiting(own):
        if each[2] is ticket:
            break
        tag += each[2].cost / own.weight
        ahead += 1
    key = (tag, ticket.since, ticket.number)
    for backlog in own.group.backlogs.values():
        if backlog is not own and backlog.tag <= tag:
            ahead += _ahead(backlog, key)
    return ahead + 1


class _Coming:
    """What is still to come of one band, with the calls that are old enough to be lifted, oldest first."""

    def __init__(self, band: Band, due: float) -> None:
        self._calls = _band(band)
        self.next = next(self._calls, None)
        waiting = (entry for group in band.groups.values() for each in group.backlogs.values() for entry in each.calls)
        self.aged = sorted((entry for entry in waiting if entry[0] <= due and not entry[2].gone), reverse=True)
        self._taken: set[Ticket] = set()

    def oldest(self) -> tuple[float, int] | None:
        """The key of the oldest call that is due and has not come yet."""
        while self.aged and self.aged[-1][2] in self._taken:
            self._taken.discard(self.aged.pop()[2])
        return self.aged[-1][:2] if self.aged else None

    def take(self) -> Ticket:
        """The next call, which must exist."""
        assert self.next is not None
        ticket, self.next = self.next, next(self._calls, None)
        if self.aged:
            self._taken.add(ticket)
        return ticket

    def rest(self) -> Iterator[Ticket]:
        """All that is still to come."""
        while self.next is not None:
            yield self.take()


def _band(band: Band) -> Iterator[Ticket]:
    """The calls of one band: always the group with the lowest tag."""
    coming: list[tuple[float, float, int, Ticket, float, Iterator[tuple[Ticket, float]]]] = []
    for group in band.groups.values():
        calls = _group(group)
        for ticket, share in calls:
            coming.append((group.tag, ticket.since, ticket.number, ticket, share, calls))
            break
    heapify(coming)
    while len(coming) > 1:
        tag, _, _, ticket, share, calls = coming[0]
        yield ticket
        for after, its_share in calls:
            heapreplace(coming, (tag + share, after.since, after.number, after, its_share, calls))
            break
        else:
            heappop(coming)
    for _, _, _, ticket, _, calls in coming:
        yield ticket
        yield from (after for after, _ in calls)


def _group(group: Group) -> Iterator[tuple[Ticket, float]]:
    """The calls of one group, each with what it costs the group: always the flow with the lowest tag."""
    weight = group.time.weight
    coming: list[tuple[float, float, int, Ticket, Backlog, Iterator[Entry]]] = []
    for backlog in group.backlogs.values():
        calls = _waiting(backlog)
        for since, number, ticket in calls:
            coming.append((backlog.tag, since, number, ticket, backlog, calls))
            break
    heapify(coming)
    while coming:
        tag, _, _, ticket, backlog, calls = coming[0]
        yield ticket, ticket.cost / max(weight, backlog.weight)
        for since, number, after in calls:
            heapreplace(coming, (tag + ticket.cost / backlog.weight, since, number, after, backlog, calls))
            break
        else:
            heappop(coming)
            weight -= backlog.weight


def _waiting(backlog: Backlog) -> Iterator[Entry]:
    """The calls of one flow in their order. Sorting the heap in place keeps it one and makes the next time cheap."""
    backlog.calls.sort()
    return (entry for entry in list(backlog.calls) if not entry[2].gone)


def _ahead(backlog: Backlog, key: tuple[float, float, int]) -> int:
    """How many calls of this flow go before `key`."""
    tag, ahead = backlog.tag, 0
    for since, number, ticket in _waiting(backlog):
        if (tag, since, number) >= key:
            break
        tag += ticket.cost / backlog.weight
        ahead += 1
    return ahead
