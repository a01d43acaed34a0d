"""A closed loop in virtual time: a saturated pacer, a strict limiter, and whatever learns between them."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from llmqd.lane.learn import Learner
from llmqd.providers.limit_headers import Observed
from llmqd.providers.refusals import Verdict
from tests.fake_upstream import FixedWindow, SlidingWindow, TokenBucket, quantised

Strict = TokenBucket | FixedWindow | SlidingWindow

KINDS: Mapping[str, Callable[[float], Strict]] = {
    "bucket of a minute": lambda limit: TokenBucket(limit, limit),
    "bucket of 1": lambda limit: TokenBucket(limit, 1),
    "quantised": quantised,
    "fixed minute": FixedWindow,
    "sliding minute": SlidingWindow,
}
"""The ways in which providers enforce a limit of so many calls a minute."""


@dataclass
class Course:
    """What happened, in seconds since the start."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def use(self, limit: float, begin: float, end: float) -> float:
        """The share of `limit` a minute that was accepted from `begin` to `end`."""
        return sum(begin <= at < end for at in self.accepted) / (limit * (end - begin) / 60)


@dataclass
class Loop:
    """`seconds` of saturated demand against `limiter`. Calls are answered after about `delay` seconds; refusals carry
    Retry-After in whole seconds and pause everybody, then a probe goes, then two calls, four, and so on.

    `headers` are what every answer states; `change` is (when, by which factor the provider changes the limit);
    `configured` is the rate where nothing was learned.
    """

    limiter: Strict
    learner: Learner
    seconds: float = 600.0
    delay: float = 0.005
    seed: int = 0
    headers: Iterable[Observed] = ()
    change: tuple[float, float] | None = None
    configured: float = math.inf

    def run(self) -> Course:
        self._random = random.Random(self.seed)
        self._begin = self._now = 1000.0 + self._random.random() * 60
        self._next = self._paused = self._now
        self._allowed = 0
        self._out: list[tuple[float, float, float]] = []  # answered at, sent at, wait
        course = Course()
        while self._now < self._begin + self.seconds:
            self._change_limit()
            ready = max(self._next, self._paused, self.learner.ready_at(self._now))
            if self._allowed and len(self._out) >= self._allowed:
                ready = math.inf
            if self._out and self._out[0][0] <= ready:
                self._answer(course)
            elif ready > self._now:
                self._now = ready + self._random.random() * 0.001
            else:
                self._send(course)
        return course

    def _change_limit(self) -> None:
        if self.change is not None and self._now >= self._begin + self.change[0]:
            self.limiter.scale(self.change[1], self._now)
            self.change = None

    def _send(self, course: Course) -> None:
        rate = self._rate()
        strict, paced = 60 / rate, 60 / (rate * 0.995)
        late = self._now - self._next
        self._next = max(self._next + paced, self._now + strict) if late < 0.02 else self._now + paced
        self.learner.granted(self._now, waited=True, in_flight=len(self._out))
        wait = self.limiter.wait(self._now)
        if wait <= 0:
            self.limiter.take(self._now)
            course.accepted.append(self._now - self._begin)
        answered = self._now + self.delay * (0.5 + self._random.random())
        heapq.heappush(self._out, (answered, self._now, wait))

    def _rate(self) -> float:
        learned = (one.amount for one in self.learner.limits(self._now) if one.setting == "requests_per_minute")
        return next(learned, self.configured)

    def _answer(self, course: Course) -> None:
        answered, sent_at, wait = heapq.heappop(self._out)
        self._now = max(self._now, answered)
        self.learner.answered(self.headers, sent_at, self._now)
        if wait <= 0:
            if self._allowed and sent_at >= self._paused:
                self._allowed = self._allowed * 2 if self._allowed < 64 else 0
            return
        course.refused.append(self._now - self._begin)
        asked = float(math.ceil(wait))
        self.learner.refused(Verdict(kind="wait", reason="429", wait=asked), sent_at, self._now)
        self._paused = max(self._paused, self._now + asked * (1 + 0.1 * self._random.random()))
        self._allowed = 1
