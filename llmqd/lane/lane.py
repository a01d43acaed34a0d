"""Lets calls through: one upstream key, its queue and its limits, drained by one worker loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from llmqd.call import Call
from llmqd.errors import (
    CallRefused,
    Cancelled,
    DeadlineExceeded,
    QueueFull,
    ShuttingDown,
    TooLargeForLimit,
    WouldExceedDeadline,
)
from llmqd.events.kinds import Event
from llmqd.lane.alarm import Alarm, until
from llmqd.lane.announcer import Announcer
from llmqd.lane.brake import Pause
from llmqd.lane.deadlines import Deadlines
from llmqd.lane.flow import flow_of
from llmqd.lane.outlook import Outlook
from llmqd.lane.queue import CallQueue, Ticket
from llmqd.lane.spacing import LUMP
from llmqd.lane.throttle import Demand, Throttle
from llmqd.lane.ticket import Running

if TYPE_CHECKING:
    from llmqd.config.model import Key, Queue
    from llmqd.lane.amounts import Ask
    from llmqd.lane.estimate import EstimateError
    from llmqd.lane.gate import Figure
    from llmqd.lane.learn import Learned
    from llmqd.lane.standing import Standing
    from llmqd.providers.limit_values import Observed
    from llmqd.providers.refusals import Verdict
    from llmqd.usage import LaneUsage, Sample, Usage

_GETTING_READY = 256
"""Calls that may have their turn and not have left yet: whoever has one is overtaken by nobody."""


class Lane:
    """One upstream key with its limits.

    `llmqd.lane.turn.Turn` is the only way through: an async context manager that waits, then holds what the call takes
    of the limits, and settles it on any exit. All decisions are taken in `_admit`, which never awaits; it is called
    after every change, and by the worker loop when a turn comes due. `clock` is monotonic, `announce` is told events.
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
        announce: Callable[[Event], object],
    ) -> None:
        self.name, self.upstream = name, upstream
        self.granted = self.refusals = 0
        """Calls that the upstream has refused for want of quota."""
        self._clock = clock
        self._announcer = Announcer(name, upstream, announce)
        self._throttle = throttle
        self._queue = CallQueue()
        self._tally = self._queue.tally
        self._outlook = Outlook(self._queue, throttle, clock)
        self._turns: dict[Ticket, float] = {}
        self._unsent: set[Ticket] = set()
        self._wake = asyncio.Event()
        self._alarm = Alarm(self._wake.set, clock)
        self._deadlines = Deadlines(self._expire, clock)
        self._granted_at, self._closed = -math.inf, False
        self._asked: list[asyncio.Future[None]] = []
        self._apply(key, queue)

    def retune(self, key: Key, queue: Queue, *, learns: bool) -> None:
        """Applies another configuration; calls that wait keep their places."""
        self._throttle.retune(key.limits, learns=learns, now=self._clock())
        self._apply(key, queue)
        self._wake.set()

    def _apply(self, key: Key, queue: Queue) -> None:
        self.key = key
        self._fair_by = queue.fair_by
        self._queue.apply(queue)

    def recall(self, past: Iterable[LaneUsage], samples: Iterable[Sample]) -> None:
        """Takes in what the ledger knows of this lane's past and of its models; may be told again."""
        self._throttle.recall(past, samples, self._clock())

    @property
    def running(self) -> int:
        """Calls that have their turn."""
        return len(self._turns)

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
        return self._throttle.requests_per_minute

    @property
    def load(self) -> int:
        """Calls that wait or run: what a choice between lanes compares."""
        return self._queue.waiting + self.running

    @property
    def paused(self) -> Pause | None:
        """The pause in force; None while calls may go."""
        return self._throttle.paused(self._clock())

    def pause_left(self, model: str | None) -> float:
        """Seconds for which calls for this model are held back by a pause: 0 for none, infinite until it is resumed."""
        pause = self._throttle.paused(now := self._clock(), self._throttle.group_of(model))
        return 0.0 if pause is None else pause.left(now)

    def pause(self, seconds: float | None, reason: str) -> None:
        """Lets nobody through for so long, or until `resume` (None). Calls go on waiting, running ones go on."""
        self._throttle.pause(None if seconds is None else self._clock() + seconds, reason)
        self._announcer.paused(reason, seconds, "operator")
        self._wake.set()

    def resume(self) -> None:
        """Ends any pause at once."""
        self._throttle.resume()
        self._announcer.resumed()
        self._wake.set()

    @property
    def pauses(self) -> int:
        """How often the upstream has made this lane pause."""
        return self._throttle.pauses

    def estimate_error(self) -> EstimateError:
        """How good the estimates of tokens have been lately."""
        return self._throttle.error()

    def figures(self) -> list[Figure]:
        """Every limit in force."""
        return self._throttle.figures(self._clock())

    def learned(self) -> list[tuple[str, Learned]]:
        """What was learned of the limits, with the model group that it is for."""
        return self._throttle.learned(self._clock())

    def tickets(self) -> Iterator[Ticket]:
        """Who waits, in the order of their turns."""
        return iter(self._queue)

    def running_calls(self) -> Iterator[Running]:
        """Who has a turn, the one that has had it longest first."""
        return (Running(ticket.call, since) for ticket, since in self._turns.items())

    def find(self, call_id: str) -> Ticket | None:
        """The place of a call that waits here."""
        return self._queue.find(call_id)

    def position(self, ticket: Ticket) -> int:
        """The place of a waiting call: 1 is next."""
        return self._queue.position(ticket)

    def eta(self, position: int, ticket: Ticket | None = None) -> float | None:
        """Seconds until the call at this position may start; None while nobody can know."""
        return self._outlook.eta(position, ticket)

    def reprioritise(self, ticket: Ticket, priority: int) -> None:
        """Gives a waiting call another priority, 0 (first) to 9."""
        self._queue.reprioritise(ticket, priority)
        self._wake.set()

    def cancel(self, ticket: Ticket, error: CallRefused | None = None) -> None:
        """Takes a waiting call out; who waits behind it gets this error, or Cancelled."""
        self._refuse(ticket, error or Cancelled("this call was cancelled by an operator while it waited", retry=False))
        self._wake.set()

    async def work(self) -> None:
        """The worker loop: drains the queue as the limits allow until it is cancelled."""
        try:
            while True:
                self._wake.clear()
                self._admit()
                self._reply()
                await self._wake.wait()
        finally:
            self._reply()  # a lane that is given up while it is asked keeps nobody waiting

    def _reply(self) -> None:
        for question in self._asked:
            if not question.done():
                question.set_result(None)
        self._asked.clear()

    async def answer(self) -> None:
        """Returns once the worker loop has come round: the watchdog's question whether it still lives."""
        self._asked.append(question := asyncio.get_running_loop().create_future())
        self._wake.set()
        await question

    def close(self) -> None:
        """Sends all who wait away with ShuttingDown, and everybody who comes later."""
        self._closed = True
        for ticket in list(self._queue):
            self._refuse(ticket, ShuttingDown())

    def enter(self, call: Call, demand: Demand, standing: Standing | None = None) -> Ticket:
        """Takes a place in the queue, and the turn at once where nobody is ahead. Used by `Turn`."""
        if self._closed:
            raise ShuttingDown()
        ask = self._throttle.ask(call.limited_as, demand)
        if (reason := self._throttle.never_fits(ask)) is not None:
            raise TooLargeForLimit(reason, retry=False)
        flow, cost = flow_of(call, self._fair_by), self._throttle.cost(ask)
        ticket = Ticket(call, self._clock(), group=ask.group, flow=flow, weight=call.weight, cost=cost)
        ticket.ask, ticket.demand = ask, demand
        if standing is not None:
            ticket.stand(standing)
        if self._passes(ticket, ask):
            return ticket
        try:
            self._queue.add(ticket)
        except QueueFull as full:
            full.position = self._queue.ahead_of(call.priority) + 1
            full.eta = full.retry_after = self.eta(full.position, ticket)
            raise
        self._admit()
        if not ticket.granted:
            self._must_wait(ticket)
        return ticket

    def _passes(self, ticket: Ticket, ask: Ask) -> bool:
        """Gives a call its turn where nobody waits and nothing holds it: the queue would only hand it back."""
        now = self._clock()
        held = self._tally.calls or self._announcer.is_paused or len(self._unsent) >= _GETTING_READY
        if held or self._throttle.hold(ask, now) is not None:
            return False
        self._queue.pass_by(ticket)
        self._grant(ticket, ask, now)
        return True

    def reenter(self, ticket: Ticket) -> None:
        """Puts a call that was refused upstream back into its own place. Used by `Turn`."""
        if self._closed:
            raise ShuttingDown()
        ticket.grant = None
        self._queue.put_back(ticket)
        self._admit()
        if not ticket.granted and ticket.call.max_wait is not None:
            position = self._queue.position(ticket)
            self._refuse_hopeless(ticket, position, self.eta(position, ticket))

    async def wait(self, ticket: Ticket) -> None:
        """Waits until a ticket is granted; a cancelled or refused wait leaves no trace in the lane. Used by `Turn`."""
        ticket.turn = asyncio.get_running_loop().create_future()
        if bounded := ticket.until < math.inf:
            self._deadlines.begin(ticket)
        try:
            await ticket.turn
        except BaseException:
            if ticket.granted:
                self.withdraw(ticket)  # granted and cancelled in the same tick: it was never sent
            else:
                self._queue.discard(ticket)
            raise
        finally:
            if bounded:
                self._deadlines.end()

    def is_metered(self, ticket: Ticket) -> bool:
        """Whether it matters for any limit at which moment a call that has its turn leaves. Used by `Turn`."""
        return ticket.grant is not None and bool(ticket.grant.reservation.charges)

    async def poised(self, ticket: Ticket) -> None:
        """The call is ready to leave: returns when it may. Used by `Turn`."""
        ready = self._clock()
        while ticket.grant is not None and (moment := self._throttle.poised(ticket.grant, ready)) > self._clock():
            await until(moment, self._clock)  # another may have left meanwhile, later than it was to

    def sent(self, ticket: Ticket) -> None:
        """The call leaves for the upstream now. Used by `Turn`."""
        self._unsent.discard(ticket)
        if ticket.grant is not None:
            self._throttle.sent(ticket.grant, self._clock())
            self._admit()

    def flushed(self, ticket: Ticket) -> None:
        """The call has left by now. Used by `Turn`."""
        if ticket.grant is not None:
            self._throttle.sent(ticket.grant, self._clock())

    def answered(self, ticket: Ticket, observed: tuple[Observed, ...]) -> None:
        """The upstream has begun an answer that is no refusal. Used by `Turn`."""
        if ticket.grant is not None:
            self._announcer.learned(self._throttle.answered(ticket.grant, observed, self._clock()), ticket.group)
            self._admit()

    def refused(self, ticket: Ticket, verdict: Verdict, observed: tuple[Observed, ...]) -> None:
        """The upstream has refused the call for want of quota: the lane pauses for everybody. Used by `Turn`."""
        assert ticket.grant is not None
        self.refusals += 1
        before = self._throttle.pauses
        learned = self._throttle.refused(ticket.grant, verdict, observed, self._clock())
        if (pause := self.paused) is not None and self._throttle.pauses != before and pause.until is not None:
            self._announcer.paused(pause.reason, round(pause.until - self._clock(), 3), "upstream")
        self._announcer.learned(learned, ticket.group)

    def leave(self, ticket: Ticket, usage: Usage | None, *, counted: bool) -> None:
        """A turn ends; what it took is settled with what it used. Used by `Turn`."""
        del self._turns[ticket]
        self._unsent.discard(ticket)
        if ticket.grant is not None:
            self._throttle.settle(ticket.grant, usage, self._clock(), counted=counted)
        self._admit()

    def withdraw(self, ticket: Ticket) -> None:
        """A turn ends before anything was sent: as if it had never been. Used by `Turn`."""
        del self._turns[ticket]
        self._unsent.discard(ticket)
        if ticket.grant is not None:
            self._throttle.give_back(ticket.grant, self._clock())
        self._admit()

    def __repr__(self) -> str:
        return f"<Lane {self.name}: {self.running} running, {self._queue!r}, {self.requests_per_minute:g}/min>"

    def _admit(self) -> None:
        """Lets through everybody who may go now and sees to it that the worker wakes for the next."""
        if not (self._tally.calls or self._announcer.is_paused):
            return
        now, held = self._clock(), set[str]()
        wake = self._announcer.see(self._throttle, now)
        while (ticket := self._queue.head(now, held)) is not None:
            assert ticket.ask is not None
            if len(self._unsent) >= _GETTING_READY and not ticket.call.no_queue:
                break
            hold = self._throttle.hold(ticket.ask, now)
            if hold is None:
                self._queue.take()
                self._grant(ticket, ticket.ask, now)
                continue
            wake = min(wake, hold.until)
            if not hold.group or hold.group != ticket.group:  # everybody is held
                break
            held.add(hold.group)
        if wake < math.inf:
            self._alarm.set(wake, roughly=wake - self._granted_at < LUMP)

    def _grant(self, ticket: Ticket, ask: Ask, now: float) -> None:
        assert ticket.demand is not None
        ticket.grant = self._throttle.take(ask, ticket.demand.size, now, waited=ticket.entered < now)
        self._turns[ticket] = self._granted_at = now
        self._unsent.add(ticket)
        self.granted += 1
        self._announcer.started(ticket.call, now)
        if ticket.turn is not None:
            ticket.turn.set_result(None)

    def _must_wait(self, ticket: Ticket) -> None:
        """Refuses a call at once that could not get its turn in time, and announces the others."""
        position = self._queue.expected(ticket)
        eta = self.eta(position, ticket)
        if ticket.call.no_queue:
            self._queue.discard(ticket)
            raise QueueFull("no turn is free and X-LLMQD-No-Queue is set", position=position, eta=eta, retry_after=eta)
        self._refuse_hopeless(ticket, position, eta)
        self._announcer.queued(ticket.call, position, eta)

    def _refuse_hopeless(self, ticket: Ticket, position: int, eta: float | None) -> None:
        try:
            self._outlook.refuse_hopeless(ticket, position, eta, rate_is_known=not self.key.limits.assumed)
        except WouldExceedDeadline:
            self._queue.discard(ticket)
            raise

    def _expire(self, ticket: Ticket) -> None:
        position = self._queue.position(ticket)
        eta = self.eta(position, ticket)
        said = f"no turn came within {ticket.call.max_wait:g} s"
        self._refuse(ticket, DeadlineExceeded(said, position=position, eta=eta, retry_after=eta))

    def _refuse(self, ticket: Ticket, error: CallRefused) -> None:
        self._queue.discard(ticket)
        if ticket.turn is not None and not ticket.turn.done():
            ticket.turn.set_exception(error)
