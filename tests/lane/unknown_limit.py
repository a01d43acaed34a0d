"""A lane that always has calls waiting and must find its limit, played against a strict provider in virtual time.

`python -m tests.lane.unknown_limit` prints what comes of every kind of limit; words on the command line choose rows.
"""

from __future__ import annotations

import heapq
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from llmqd.config.limits import Limits
from llmqd.lane.estimate import BodySize
from llmqd.lane.throttle import Demand, Grant, Throttle
from llmqd.providers.limit_values import Observed
from llmqd.providers.refusals import Verdict
from tests.fake_upstream import FixedWindow, SlidingWindow, TokenBucket, quantised
from tests.lane.refusals import Refusals, print_table

Strict = TokenBucket | FixedWindow | SlidingWindow
Tells = Literal["headers", "Retry-After", "nothing"]

KINDS: Mapping[str, Callable[[float], Strict]] = {
    "bucket of a minute": lambda limit: TokenBucket(limit, limit),
    "bucket of 1": lambda limit: TokenBucket(limit, 1),
    "quantised": quantised,
    "fixed minute": FixedWindow,
    "sliding minute": SlidingWindow,
}
"""The ways in which providers enforce a limit of so many calls a minute."""
LIMITS = (60, 600, 3000)
DELAYS = (0.05, 0.2, 1.0, 5.0)
"""Seconds from a call until the headers of its answer, be it a refusal or not."""
TELLS: tuple[Tells, ...] = ("headers", "Retry-After", "nothing")
"""What answers say: the limit in headers, only when to come again after a refusal, or nothing at all."""

MOST_WALLS: Mapping[Tells, int] = {"headers": 3, "Retry-After": 10, "nothing": 15}
LEAST_USED: Mapping[Tells, float] = {"headers": 0.95, "Retry-After": 0.90, "nothing": 0.85}
"""What has to come of ten minutes: at most so many walls, at least so much of the limit used, and no error."""

_SIZE = BodySize(400)
_TIMER_LATE, _ON_THE_WAY = 0.001, 0.0002


class _Answer(NamedTuple):
    at: float
    number: int
    grant: Grant
    refused: float | None
    """Seconds until it would have been let through; None where it was."""
    seen: tuple[Observed, ...]


@dataclass
class Course(Refusals):
    """What happened, in seconds since the start."""

    accepted: list[float] = field(default_factory=list)

    def use(self, limit: float, begin: float, end: float) -> float:
        """The share of `limit` a minute that was accepted from `begin` to `end`."""
        return sum(begin <= at < end for at in self.accepted) / (limit * (end - begin) / 60)


@dataclass
class Play:
    """`seconds` of saturated demand through a Throttle against `limiter`.

    Answers take `delay` seconds, half as long or half as long again; refusals carry whole seconds, rounded up.
    `change` is (when, by which factor the provider changes its limit); `limits` is what is configured.
    """

    limiter: Strict
    tells: Tells = "Retry-After"
    delay: float = 0.05
    seconds: float = 600.0
    seed: int = 0
    change: tuple[float, float] | None = None
    limits: Limits = field(default_factory=lambda: Limits(assumed=True))
    header_limit: float = 0.0
    refusal: float | None = None
    """Seconds that a refusal takes, half as long or half as long again; None: as long as an answer."""
    slow: tuple[float, float] = (0.0, 0.0)
    """The share of calls that is slow on the way, and the most seconds that they take."""

    def run(self) -> Course:
        """Plays it from a random second of a minute on."""
        self._random = random.Random(self.seed)
        self._now = self._begin = 6000.0 + self._random.random() * 60
        self.throttle = Throttle(self.limits, learns=True, noise=self._random.random, wall_offset=0.0)
        self._ask = self.throttle.ask(None, Demand(_SIZE))
        self._waiting = [0]
        self._fresh = 1
        self._arrived = self._begin
        self._on_way: list[_Answer] = []
        course = Course()
        while self._now < self._begin + self.seconds:
            self._change_limit()
            hold = self.throttle.hold(self._ask, self._now)
            if hold is None:
                self._send(course)
                continue
            due = hold.until + self._random.uniform(0, _TIMER_LATE)
            if self._on_way and self._on_way[0].at <= due:
                self._now = max(self._now, self._on_way[0].at)
                self._answer(heapq.heappop(self._on_way), course)
            else:
                assert math.isfinite(due), "nothing is on its way and nobody may go"
                self._now = max(self._now, due)
        return course

    def _change_limit(self) -> None:
        if self.change is not None and self._now >= self._begin + self.change[0]:
            self.limiter.scale(self.change[1], self._now)
            self.header_limit *= self.change[1]
            self.change = None

    def _send(self, course: Course) -> None:
        number = heapq.heappop(self._waiting)
        if not self._waiting:
            self._waiting, self._fresh = [self._fresh], self._fresh + 1
        grant = self.throttle.take(self._ask, _SIZE, self._now, waited=self._now > self._begin)
        self.throttle.sent(grant, self._now)
        slow = self.slow[0] > 0 and self._random.random() < self.slow[0]
        on_the_way = self._random.uniform(0, self.slow[1] if slow else _ON_THE_WAY)
        self._arrived = max(self._arrived, self._now + on_the_way)
        wait = self.limiter.wait(self._arrived)
        if wait <= 0:
            self.limiter.take(self._arrived)
            course.accepted.append(self._now - self._begin)
        seen = (self._header(self._arrived),) if self.tells == "headers" else ()
        takes = self.delay if wait <= 0 or self.refusal is None else self.refusal
        at = self._now + takes * self._random.uniform(0.5, 1.5)
        heapq.heappush(self._on_way, _Answer(at, number, grant, wait if wait > 0 else None, seen))

    def _header(self, now: float) -> Observed:
        """As OpenAI shows it, whatever way of counting is behind it."""
        return Observed(
            dimension="requests",
            window=60.0,
            limit=self.header_limit,
            remaining=math.floor(self.limiter.remaining(now)),
            resets_in=round(self.limiter.full_in(now), 3),
            header="x-ratelimit-limit-requests",
        )

    def _answer(self, answer: _Answer, course: Course) -> None:
        if answer.refused is None:
            course.passed(answer.number)
            self.throttle.answered(answer.grant, answer.seen, self._now)
            self.throttle.settle(answer.grant, None, self._now, counted=True)
            return
        wait = None if self.tells == "nothing" else float(math.ceil(answer.refused))
        verdict = Verdict(kind="wait", reason="429", wait=wait)
        self.throttle.refused(answer.grant, verdict, answer.seen, self._now)
        now, sent_at = self._now - self._begin, answer.grant.at - self._begin
        if course.met(answer.number, sent_at, now, explained=wait is not None):
            heapq.heappush(self._waiting, answer.number)


class Case(NamedTuple):
    """One row of the table: a provider, and the second from which its limit has to be used."""

    kind: str
    limit: float
    delay: float
    tells: Tells

    @property
    def name(self) -> str:
        """The case in words."""
        return f"{self.kind}, {self.limit:g}/min, {self.delay:g} s, {self.tells}"

    @property
    def steady_from(self) -> float:
        """Seconds after which the limit has to be in use."""
        return 60.0 if self.tells == "headers" else 180.0

    def play(self, seed: int = 0, refusal: float | None = None) -> Course:
        """What comes of it in ten minutes; `refusal` as in Play."""
        limiter = KINDS[self.kind](self.limit)
        header = float(self.limit)
        return Play(limiter, self.tells, self.delay, seed=seed, header_limit=header, refusal=refusal).run()

    def is_met(self, course: Course) -> bool:
        """Whether that is as it has to be."""
        used = course.use(self.limit, self.steady_from, 600.0)
        return not course.errors and len(course.walls) <= MOST_WALLS[self.tells] and used >= LEAST_USED[self.tells]

    def shares(self, courses: Sequence[Course]) -> str:
        """How much was used, in the worst of them."""
        return f"{min(course.use(self.limit, self.steady_from, 600.0) for course in courses):6.3f}"


def cases() -> Iterator[Case]:
    """Every combination."""
    for tells in TELLS:
        for kind in KINDS:
            for limit in LIMITS:
                for delay in DELAYS:
                    yield Case(kind, limit, delay, tells)


if __name__ == "__main__":
    print_table(cases(), sys.argv[1:], f"{'used':>6}")
