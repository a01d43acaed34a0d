"""Decides for one lane and all daemons: the lane itself, in the daemon that owns it, with calls that wait elsewhere."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from llmqd.cluster import codec
from llmqd.cluster.owned_lane import OwnedLane
from llmqd.cluster.past import KEPT, Past, usages
from llmqd.cluster.slots import LATE, SLOWER, Slots, interval
from llmqd.errors import CallRefused
from llmqd.lane.standing import Standing
from llmqd.lane.ticket import Ticket

if TYPE_CHECKING:
    from llmqd.call import Call
    from llmqd.cluster.redis_time import RedisTime

VALID = 0.5
"""Seconds after its moment until which a call that was let through may leave; later it needs another turn. Where calls
keep their distance, `News` says how many: later the next one may be on its way already. In a slot: `LATE`."""
_EASIER = 1.02
"""How much slower than their slots calls go that leave those of others free: slots are never used up."""
_REMEMBERED = 4096
"""Calls that were refused upstream whose places are remembered until they ask again."""

Post = Callable[[str, list[Any]], None]


class _Promise:
    """Stands where a waiting task's future stands: what becomes of a call goes to the daemon that it waits in."""

    __slots__ = ("_done", "_refused", "_turn")

    def __init__(self, turn: Callable[[], None], refused: Callable[[CallRefused], None]) -> None:
        self._turn = turn
        self._refused = refused
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, _: None) -> None:
        self._done = True
        self._turn()

    def set_exception(self, error: CallRefused) -> None:
        self._done = True
        self._refused(error)


class Arbiter:
    """One lane for all members. `post` sends a message to one of them, fenced: it goes only while we own the lane.

    Until `open` it only gathers reports; then it decides. `receive` takes what members say, in their order.
    """

    def __init__(
        self,
        lane: OwnedLane,
        token: int,
        me: str,
        time: RedisTime,
        post: Post,
        *,
        clock: Callable[[], float],
        waits_for: Iterable[str],
    ) -> None:
        self.lane = lane
        self.token = token
        self.open = False
        self.began = clock()
        self.waits_for = set(waits_for)
        self.joins: dict[str, int] = {}
        """The members that have reported, with the number of the report."""
        self.log: dict[tuple[str, str], list[float]] = {}
        """What was let through and is not yet written down: by member and model, calls, tokens in, out, the last."""
        self.past = Past(1.0)
        self.members = 1
        self._me = me
        self._time = time
        self._post = post
        self._clock = clock
        self._tickets: dict[tuple[str, int], Ticket] = {}
        self._sent: set[tuple[str, int]] = set()
        self._back: OrderedDict[tuple[str, int], Ticket] = OrderedDict()
        self._reports: dict[str, list[Any]] = {}
        self._early: list[tuple[str, list[Any]]] = []
        self._part = 1.0
        self._slots: Slots | None = None
        self._distance = 0.0
        """Seconds that calls keep between them, 0 where they need not."""
        self._after = -math.inf
        """When the first call may leave after those that have been given slots."""
        self._silent: tuple[Collection[int], int] = ((), 1)
        self._free: dict[str, int] = {}
        """How many calls of each member go without having asked."""
        self._work: asyncio.Task[None] | None = None

    def start(self, written: Iterable[tuple[str, list[Any]]], hours: Mapping[bytes, bytes]) -> None:
        """Begins to decide; `written` is what was let through by whoever owned the lane before (member and step),
        `hours` how many calls went in each hour, for limits of a day."""
        self.open = True
        steps = [step for member, step in written if member not in self._reports]
        newest: tuple[float, Any] = (-math.inf, None)
        for report in self._reports.values():
            _, _, past, _, told = report
            steps += past
            if told is not None and told[0] > newest[0]:
                newest = told[0], told[1]
        for step in steps:
            self.past.add(step[0], step[1], (step[3], step[4]), calls=step[2])
        self.lane.recall(usages([*_earlier(hours, steps, self._time.now), *steps]), ())
        if newest[1] is not None:
            self.lane.take_over(codec.viewed(newest[1], self._time.offset).known)
        reports, self._reports = self._reports, {}
        for member, report in reports.items():
            self._adopt(member, report[1])
        waiting = [(member, plain) for member, report in reports.items() for plain in report[0]]
        for member, plain in sorted(waiting, key=lambda each: float(each[1][2])):
            self._enter(member, plain)
        early, self._early = self._early, []
        for member, message in early:
            self.receive(member, message)
        self.view()
        self._work = asyncio.get_running_loop().create_task(self.lane.work(), name=f"arbiter {self.lane.name}")
        self.lane.admit()

    def stop(self) -> None:
        """Decides no more: another daemon does."""
        self.open = False
        self.joins.clear()
        if self._work is not None:
            self._work.cancel()

    def report(self, member: str, join: int, report: list[Any]) -> None:
        """A member says all it has: waiting calls, running ones, what it has let through (in all, and without being
        asked), and what it was told of the lane last."""
        self.forget(member)
        self.joins[member] = join
        self.waits_for.discard(member)
        if not self.open:
            self._reports[member] = report
            return
        waiting, running, _, alone, _ = report
        recent = [step for step in alone if step[1] > self._time.now - KEPT]
        self.lane.count(usages(recent))
        for model, last, calls, into, out, _ in recent:
            self.past.add(model, last, (into, out), calls=calls)
            self.log[member, model] = [calls, into, out, last]
        self._adopt(member, running)
        for plain in waiting:
            self._enter(member, plain)

    def forget(self, member: str) -> None:
        """A member is gone: who waited there waits no more, and what ran there is taken to be used."""
        self.joins.pop(member, None)
        self._free.pop(member, None)
        self._reports.pop(member, None)
        self._early = [each for each in self._early if each[0] != member]
        for place in [place for place in self._tickets if place[0] == member]:
            ticket = self._tickets.pop(place)
            self._sent.discard(place)
            if ticket.granted:
                self.lane.leave(ticket, None, counted=True)
            else:
                self.lane.cancel(ticket, _GONE)
        for place in [place for place in self._back if place[0] == member]:
            del self._back[place]

    def share(self, members: int, silent: Collection[int], parts: int) -> None:
        """How many members there are, and which of so many `parts` may go on without being heard of: theirs is left
        to them, of every limit and of the moments at which calls leave."""
        self.members = members + len(silent)
        part = 1.0
        if not silent:
            if self._slots is not None:
                self._after = self._slots.last + (1 + LATE * SLOWER) * self._distance
            self._slots = None
        elif self._slots is None or self._silent != (silent, parts):
            self._slots = Slots(set(range(parts)) - set(silent), parts)
        if silent:
            part = (parts - len(silent)) / parts / (SLOWER * _EASIER)
        self._silent = silent, parts
        if part != self._part:
            self._part = part
            self.lane.share(part)

    def receive(self, member: str, message: list[Any]) -> None:
        """One message of a member that has reported."""
        if not self.open:
            self._early.append((member, message))
            return
        kind, *rest = message
        if kind == "e":
            self._enter(member, rest[0])
            return
        if kind == "P":
            self.lane.pause(*rest)
            return
        if kind == "U":
            self.lane.resume()
            return
        if kind == "f":
            self._free[member], begun = rest
            self.lane.granted += begun
            return
        if kind == "t":
            self._adopt(member, [[*rest, True]])
            return
        place = member, rest[0]
        ticket = self._tickets.get(place)
        if ticket is None:
            return
        if kind == "s":
            offset = self._time.offset
            now = self._clock()
            if place not in self._sent:
                self._sent.add(place)
                since = self.lane.running_since(ticket)
                self.lane.news.came(None if self._slots is not None or since is None else now - since)
            self.lane.has_left(ticket, min(rest[1] - offset, now), min(rest[2] - offset, now))
        elif kind == "a":
            self.lane.answered(ticket, codec.observed(rest[1]))
        elif kind == "r":
            self.lane.refused(ticket, codec.verdict(rest[1]), codec.observed(rest[2]))
        elif kind == "l":
            self._leave(place, ticket, rest[1], counted=rest[2])
        elif kind == "w":
            self._drop(place)
            self.lane.withdraw(ticket) if ticket.granted else self.lane.cancel(ticket, _GONE)
        elif kind == "x":
            if not ticket.granted:
                self._drop(place)
                self.lane.cancel(ticket, _GONE)
        elif kind == "p":
            self.lane.reprioritise(ticket, rest[1])

    def view(self) -> codec.View:
        """The lane as it is."""
        lane, now = self.lane, self._clock()
        figures = tuple(lane.figures())
        self._distance = interval(figures, {each.group for each in figures}, self._part) / SLOWER
        return codec.View(
            lane.waiting,
            lane.running + sum(self._free.values()),
            lane.granted,
            lane.requests_per_minute,
            lane.pauses,
            self.members,
            lane.paused,
            figures,
            tuple(lane.learned()),
            lane.known(),
            lane.estimate_error(),
            self.past.export(self._time.there(now) - KEPT),
            lane.free,
        )

    def _leave(self, place: tuple[str, int], ticket: Ticket, plain: Any, *, counted: bool) -> None:
        self._drop(place)
        usage = codec.usage(plain)
        taken = self.lane.running_since(ticket)
        self.lane.leave(ticket, usage, counted=counted)
        if ticket.ask is not None and taken is not None:
            tokens = ticket.ask.input_tokens, ticket.ask.output_tokens
            self.past.settle(ticket.ask.model or "", self._time.there(taken), tokens, usage, counted=counted)
        if not counted:
            self._back[place] = ticket
            if len(self._back) > _REMEMBERED:
                self._back.popitem(last=False)

    def _drop(self, place: tuple[str, int]) -> None:
        self._tickets.pop(place, None)
        self._sent.discard(place)

    def _enter(self, member: str, plain: Any) -> None:
        asked = codec.asked(plain, self._time.offset)
        place = member, asked.number
        ticket = self._tickets.pop(place, None)
        if ticket is not None and ticket.granted:
            self.lane.news.late()
            self.lane.withdraw(ticket)
        elif ticket is None:
            ticket = self._back.pop(place, None)
        else:
            self._tickets[place] = ticket
            return
        call = asked.call
        standing = Standing()
        standing.since, standing.until = asked.since, asked.until
        call.arrived = asked.since
        call.max_wait = None if asked.until == math.inf else asked.until - asked.since
        try:
            if ticket is None:
                ticket = self.lane.enter(cast("Call", call), asked.demand, standing)
            else:
                self.lane.reenter(ticket)
        except CallRefused as error:
            self._post(member, ["n", *codec.refusal(asked.number, error)])
            return
        self._tickets[place] = ticket
        if ticket.granted:
            self._granted(place, ticket)
            return
        ticket.turn = cast(
            "asyncio.Future[None]",
            _Promise(lambda: self._granted(place, ticket), lambda error: self._refused(place, error)),
        )
        position = self.lane.expected(ticket)
        self._post(member, ["q", asked.number, position, self.lane.eta(position, ticket)])

    def _granted(self, place: tuple[str, int], ticket: Ticket) -> None:
        member, number = place
        moment = self._time.there(self.lane.leaves_at(ticket))
        if self._slots is not None and (seconds := interval(self.lane.figures(), ("", ticket.group), self._part)):
            # A slot that is over before its call knows of it is lost.
            moment = self._slots.next(max(moment, self._time.now + self.lane.news.usual / 2), seconds)
        elif moment < self._after:
            moment, self._after = self._after, self._after + self._distance
        self._post(member, ["g", number, moment, self._valid()])
        assert ticket.ask is not None
        model, tokens = ticket.ask.model or "", (ticket.ask.input_tokens, ticket.ask.output_tokens)
        self.past.add(model, moment, tokens)
        step = self.log.setdefault((member, model), [0.0, 0.0, 0.0, 0.0])
        step[0] += 1
        step[1] += tokens[0]
        step[2] += tokens[1]
        step[3] = max(step[3], moment)

    def _valid(self) -> float:
        if self._slots is not None:
            return LATE * SLOWER * self._distance or VALID
        return self.lane.news.valid if self._distance else VALID

    def _refused(self, place: tuple[str, int], error: CallRefused) -> None:
        if error is not _GONE and self._tickets.pop(place, None) is not None:
            self._post(place[0], ["n", *codec.refusal(place[1], error)])

    def _adopt(self, member: str, running: Iterable[list[Any]]) -> None:
        for plain, taken, sent in running:
            asked = codec.asked(plain, self._time.offset)
            ticket = self.lane.ticket(cast("Call", asked.call), asked.demand, asked.since)
            self.lane.adopt(ticket, asked.demand.size, taken - self._time.offset)
            self._tickets[member, asked.number] = ticket
            if sent:
                self._sent.add((member, asked.number))


def _earlier(hours: Mapping[bytes, bytes], steps: Iterable[list[Any]], now: float) -> list[list[Any]]:
    """The calls of each hour as steps that are over for every limit but a day's, without those of `steps`."""
    found = {hour.decode(): float(calls) for hour, calls in hours.items()}
    for model, last, calls, *_ in steps:
        hour = f"{int(last // 3600)}|{model}"
        if hour in found:
            found[hour] -= calls
    return [
        [model, min((int(hour) + 1) * 3600.0 - 1, now - KEPT - 1), calls, 0.0, 0.0, 0.0]
        for each, calls in found.items()
        for hour, _, model in [each.partition("|")]
        if calls > 0
    ]


_GONE = CallRefused("this call waits no more")
