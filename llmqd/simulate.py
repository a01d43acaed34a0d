"""Plays arrivals through queues and limits on a virtual clock: who would have waited how long, who been refused."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from llmqd.arrivals import Arrival
from llmqd.call import Call
from llmqd.config.limits import DIMENSIONS, Dimension, Limits
from llmqd.errors import DeadlineExceeded, QueueFull
from llmqd.lane.amounts import Ask
from llmqd.lane.estimate import BodySize, Estimator
from llmqd.lane.flow import flow_of
from llmqd.lane.gate import Block, Gate, Reservation
from llmqd.lane.queue import CallQueue, Ticket

_STEP = 1.01
"""Waits are counted in classes of one per cent each."""
_SHORTEST = 0.001
"""Seconds below which a wait counts as none."""
_POLITE = Limits()
_TOKENS: tuple[Dimension, ...] = ("tokens_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")
_TOO_LARGE = "request_too_large_for_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What holds for one upstream in a simulation. `lanes` are the limits of its keys, which share its calls.

    `max_wait` in seconds takes the place of each call's own; 0 is no bound, None leaves the call's own.
    """

    lanes: tuple[Limits, ...] = (_POLITE,)
    max_waiting: int = 0
    max_waiting_bytes: int = 0
    max_wait: float | None = None
    fair_by: str = "key"
    ageing: float = 0.0


class Waits:
    """Waits of many calls in a few numbers: percentiles within one per cent, mean and longest exact. In seconds."""

    def __init__(self) -> None:
        self._classes: Counter[int] = Counter()
        self._sum = 0.0
        self.count = 0
        self.longest = 0.0

    def add(self, wait: float) -> None:
        """Counts one wait."""
        self._classes[0 if wait < _SHORTEST else 1 + int(math.log(wait / _SHORTEST, _STEP))] += 1
        self._sum += wait
        self.count += 1
        self.longest = max(self.longest, wait)

    @property
    def mean(self) -> float:
        """The mean wait; 0 when nobody has waited."""
        return self._sum / self.count if self.count else 0.0

    def percentile(self, share: float) -> float:
        """The wait that this share of the calls (0 to 1) did not exceed."""
        wanted, seen = share * self.count, 0
        for number in sorted(self._classes):
            seen += self._classes[number]
            if seen >= wanted:
                return 0.0 if number == 0 else min(_SHORTEST * _STEP ** (number - 0.5), self.longest)
        return 0.0


@dataclass(slots=True)
class Result:
    """What became of the calls of one upstream. `refused` counts by error code."""

    setup: Setup
    calls: int = 0
    granted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    waits: dict[int, Waits] = field(default_factory=dict)
    """By priority, of the calls that got a turn."""
    most_waiting: int = 0
    first: float = math.inf
    last: float = -math.inf
    """When the first call came, and when the last one went or was refused, in seconds from the first call of all."""
    input_tokens: int = 0
    output_tokens: int = 0
    busy: float = 0.0
    """Seconds that calls spent at the upstream, added up."""

    @property
    def seconds(self) -> float:
        """How long it took from the first arrival to the last decision."""
        return max(self.last - self.first, 0.0) if self.calls else 0.0

    def utilisation(self) -> dict[Dimension, float]:
        """By limit, what was used of all that the limit would have let through in that time."""
        seconds = self.seconds
        if not seconds:
            return {}
        tokens = self.input_tokens + self.output_tokens
        used: dict[Dimension, float] = {
            "requests_per_second": self.granted,
            "requests_per_minute": self.granted * 60,
            "requests_per_day": self.granted * 86400,
            "tokens_per_minute": tokens * 60,
            "input_tokens_per_minute": self.input_tokens * 60,
            "output_tokens_per_minute": self.output_tokens * 60,
            "max_concurrent": self.busy,
        }
        allowed = {one: [limits.limit(one) for limits in self.setup.lanes] for one in DIMENSIONS}
        return {one: used[one] / (sum(limits) * seconds) for one, limits in allowed.items() if all(limits)}


class Admission:
    """When the calls of one lane may go: the only part here that knows how the daemon's lanes keep their limits.

    Limits hold as configured: nothing is learned here, as nobody refuses.
    """

    def __init__(self, limits: Limits, wall_offset: float) -> None:
        self._gate = Gate(limits, wall_offset=wall_offset)
        self._estimator = Estimator()
        self._count_cached = limits.count_cached
        self._by_tokens = any(limits.limit(one) for one in _TOKENS)
        self._running = 0

    def ask(self, call: Call) -> Ask:
        """What a call is expected to need."""
        group = self._gate.group_of(call.limited_as)
        return self._estimator.ask(call.limited_as, BodySize(call.request_bytes), group=group, in_flight=self._running)

    def cost(self, ask: Ask) -> float:
        """What a turn is charged with among those who share fairly: tokens where tokens are limited, else one call."""
        return ask.input_tokens + ask.output_tokens if self._by_tokens else 1.0

    def fits(self, ask: Ask) -> bool:
        """Whether a call can ever go."""
        return self._gate.never_fits(ask) is None

    def block(self, ask: Ask, now: float) -> Block | None:
        """What keeps a call from going now; None when it may go."""
        return self._gate.block(ask, now)

    def take(self, ask: Ask, now: float, *, waited: bool) -> Reservation:
        """A call goes, and is sent at once. `waited` says that it was there when this turn came due."""
        reservation = self._gate.take(ask, now, waited=waited)
        self._gate.sent(reservation, now)
        self._running += 1
        return reservation

    def settle(self, reservation: Reservation, arrival: Arrival, now: float) -> None:
        """A call has ended."""
        self._running -= 1
        self._gate.settle(reservation, arrival.usage, now)
        size = BodySize(arrival.call.request_bytes)
        self._estimator.learn(reservation.ask, size, arrival.usage, count_cached=self._count_cached)


class Waiting(NamedTuple):
    """A call that waits, and what it is expected to need."""

    arrival: Arrival
    ask: Ask


class Running(NamedTuple):
    """A call at its upstream. `number` decides between those that end at the same time."""

    ends: float
    number: int
    reservation: Reservation
    arrival: Arrival


class LaneInPlay:
    """One key of an upstream in a simulation: its queue, its limits and its running calls."""

    def __init__(self, result: Result, limits: Limits, wall_offset: float) -> None:
        setup = result.setup
        self._result = result
        self._setup = setup
        self._queue = CallQueue(setup.max_waiting, setup.max_waiting_bytes, ageing=setup.ageing)
        self._admission = Admission(limits, wall_offset)
        self._now = 0.0
        self._due = math.inf
        self._waiting: dict[Ticket, Waiting] = {}
        self._running: list[Running] = []
        self._expiries: list[tuple[float, int, Ticket]] = []
        self._numbered = 0

    @property
    def load(self) -> int:
        """Calls that wait or run."""
        return self._queue.waiting + len(self._running)

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return self._queue.waiting

    def arrive(self, arrival: Arrival) -> None:
        """A call comes, at the time to which the lane has been advanced."""
        call, ask = arrival.call, self._admission.ask(arrival.call)
        if not self._admission.fits(ask):
            self._refuse(_TOO_LARGE)
            return
        flow = flow_of(call, self._setup.fair_by)
        ticket = Ticket(call, self._now, group=ask.group, flow=flow, cost=self._admission.cost(ask))
        try:
            self._queue.add(ticket)
        except QueueFull as error:
            self._refuse(error.code)
            return
        self._waiting[ticket] = Waiting(arrival, ask)
        self._admit()
        if ticket.granted:
            return
        if call.no_queue:
            self._leave(ticket, QueueFull.code)
            return
        longest = call.max_wait if self._setup.max_wait is None else self._setup.max_wait or None
        if longest is not None:
            heapq.heappush(self._expiries, (self._now + longest, self._number(), ticket))

    def advance(self, until: float) -> None:
        """Lets everything happen that happens before a moment, and moves the clock there."""
        while (at := self._next()) <= until and at < math.inf:
            self._now = max(self._now, at)
            while self._running and self._running[0].ends <= self._now:
                ended = heapq.heappop(self._running)
                self._admission.settle(ended.reservation, ended.arrival, self._now)
            self._admit()
            while self._expiries and self._expiries[0][0] <= self._now:
                ticket = heapq.heappop(self._expiries)[2]
                if ticket in self._waiting:
                    self._leave(ticket, DeadlineExceeded.code)
        if until < math.inf:
            self._now = max(self._now, until)

    def _next(self) -> float:
        """When something happens next; infinite when nothing will, unless calls come."""
        while self._expiries and self._expiries[0][2] not in self._waiting:
            heapq.heappop(self._expiries)
        ends = self._running[0].ends if self._running else math.inf
        expires = self._expiries[0][0] if self._expiries else math.inf
        return min(ends, expires, self._due)

    def _admit(self) -> None:
        """Lets through everybody who may go now, and finds out when the next may."""
        closed: set[str] = set()
        self._due = math.inf
        while (ticket := self._queue.head(self._now, closed)) is not None:
            block = self._admission.block(self._waiting[ticket].ask, self._now)
            if block is None:
                self._grant(self._queue.take())
                continue
            self._due = min(self._due, block.until)
            if not block.group:
                return
            closed.add(block.group)

    def _grant(self, ticket: Ticket) -> None:
        (arrival, ask), result, waited = self._waiting.pop(ticket), self._result, self._now - ticket.since
        reservation = self._admission.take(ask, self._now, waited=waited > 0)
        heapq.heappush(self._running, Running(self._now + arrival.seconds, self._number(), reservation, arrival))
        result.granted += 1
        result.last = max(result.last, self._now)
        result.input_tokens += arrival.usage.input
        result.output_tokens += arrival.usage.output
        result.busy += arrival.seconds
        result.waits.setdefault(arrival.call.priority, Waits()).add(waited)

    def _leave(self, ticket: Ticket, code: str) -> None:
        self._queue.discard(ticket)
        del self._waiting[ticket]
        self._refuse(code)

    def _refuse(self, code: str) -> None:
        self._result.refused[code] += 1
        self._result.last = max(self._result.last, self._now)

    def _number(self) -> int:
        self._numbered += 1
        return self._numbered


class Simulation:
    """Every upstream of one simulation. `setup_of` says what holds for an upstream by its name."""

    def __init__(self, setup_of: Callable[[str], Setup]) -> None:
        self._setup_of = setup_of
        self._lanes: dict[str, list[LaneInPlay]] = {}
        self._origin: float | None = None
        self.results: dict[str, Result] = {}

    def arrive(self, arrival: Arrival) -> None:
        """The next call; calls come in the order of their times."""
        upstream = arrival.call.upstream
        if self._origin is None:
            self._origin = arrival.at
        now = max(arrival.at - self._origin, 0.0)
        if upstream not in self._lanes:
            result = self.results[upstream] = Result(self._setup_of(upstream))
            self._lanes[upstream] = [LaneInPlay(result, limits, self._origin) for limits in result.setup.lanes]
        lanes, result = self._lanes[upstream], self.results[upstream]
        for lane in lanes:
            lane.advance(now)
        result.calls += 1
        result.first = min(result.first, now)
        min(lanes, key=lambda lane: lane.load).arrive(arrival)
        result.most_waiting = max(result.most_waiting, sum(lane.waiting for lane in lanes))

    def finish(self) -> dict[str, Result]:
        """Lets all who still wait have their turn; the results by upstream."""
        for lanes in self._lanes.values():
            for lane in lanes:
                lane.advance(math.inf)
        return self.results
