"""A lane under constant demand that must find limits on tokens, played against a strict provider in virtual time.

`python -m tests.lane.unknown_tokens` prints what comes of every kind; words on the command line choose rows.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bench.queue.upstream import Spec, provider
from bench.queue.yardstick import Accepted, used
from llmqd.config.limits import Limits
from llmqd.lane.estimate import BodySize
from llmqd.lane.throttle import Demand, Grant, Throttle
from llmqd.providers.limit_headers import read_limits
from llmqd.providers.presets import PRESETS
from llmqd.providers.refusals import judge
from llmqd.usage import Usage
from tests.fake_upstream.limiters import Charging, Tokens
from tests.fake_upstream.request import Received
from tests.fake_upstream.script import Answer
from tests.lane.refusals import Refusals, print_table

Tells = Literal["headers", "named", "Retry-After"]
Range = tuple[int, int]

TELLS: tuple[Tells, ...] = ("headers", "named", "Retry-After")
"""What answers say: the limits in headers, or a refusal alone which of them it met, or only when to come again."""
LIMITS: Mapping[str, Mapping[str, tuple[Charging, float]]] = {
    "TPM reserved": {"tokens": ("reserved", 200_000)},
    "TPM refunded": {"tokens": ("refunded", 200_000)},
    "TPM actual": {"tokens": ("actual", 200_000)},
    "OTPM and ITPM": {"input-tokens": ("input", 100_000), "output-tokens": ("output", 200_000)},
    "ITPM and OTPM": {"input-tokens": ("input", 60_000), "output-tokens": ("output", 200_000)},
}
"""What is limited, and how a call is charged. Of two limits the first named is the one that is met."""
KINDS = ("bucket", "fixed", "sliding")
MOST_WALLS: Mapping[Tells, int] = {"headers": 3, "named": 10, "Retry-After": 10}
LEAST_USED: Mapping[Tells, float] = {"headers": 0.95, "named": 0.90, "Retry-After": 0.90}
"""What has to come of ten minutes: at most so many walls, in the end at least so much of the limit used, no error."""

_MANNERS: Mapping[Charging, str] = {"reserved": "openai", "refunded": "aws-bedrock"}
"""By how tokens are charged, the provider whose manners the lane knows; of the others it knows none."""
_LENGTHS, _PROMPTS = (100, 2000), (200, 4000)
"""Tokens of answers, bytes of prompts: both vary twentyfold."""
_EVER = ((0.0, _LENGTHS, _PROMPTS),)
_PHASES = ((0.0, (20, 100), (200, 400)), (200.0, (500, 2000), _PROMPTS), (400.0, (20, 100), (200, 400)))
_CALLS = 300.0
"""Calls a minute where they are limited too: with short answers these are what is met, with long ones the tokens."""
_SECONDS, _SECONDS_PER_TOKEN, _FIRST_BYTE = 0.3, 0.005, 0.3
_TIMER_LATE, _ON_THE_WAY = 0.001, 0.0002
_SPANS = ((60.0, 180.0), (180.0, 300.0), (300.0, 420.0), (480.0, 600.0))
"""Of which the table says how much was used."""


class _Call(NamedTuple):
    number: int
    demand: Demand
    tokens: int
    request: Received


class _Event(NamedTuple):
    """An answer begins, or, with `usage`, ends."""

    at: float
    number: int
    call: _Call
    grant: Grant
    answer: Answer
    usage: Usage | None = None


@dataclass
class Course(Refusals):
    """What happened, in seconds since the start."""

    spec: Spec
    began: float
    accepted: Sequence[Accepted] = ()

    def use(self, begin: float, end: float) -> float:
        """The share that was used, from `begin` to `end`, of the limit that was met."""
        return used(self.spec, self.accepted, [], (self.began + begin, self.began + end)) or 0.0


class _Lengths:
    """Answers as long as the call that is judged wants it."""

    def __init__(self) -> None:
        self.next = 0

    def draw(self) -> int:
        return self.next


@dataclass
class Play:
    """Ten minutes of saturated demand through a Throttle that knows the provider's manners, but none of its limits.

    Requests allow between what comes out and twice as much where that is reserved, and 2,000 tokens elsewhere. From
    the beginning of each of `phases` (seconds) on, answers and prompts are so long.
    """

    spec: Spec
    names: bool = False
    """Whether a refusal names the limit that was met."""
    manners: str = ""
    phases: Sequence[tuple[float, Range, Range]] = _EVER
    seconds: float = 600.0
    seed: int = 0

    def run(self) -> Course:
        """Plays it from a random second of a minute on."""
        self._random = random.Random(self.seed)
        self._begin = self._now = self._arrived = 6000.0 + self._random.random() * 60
        self._lengths, self._provider = _Lengths(), provider(self.spec)
        self._provider.lengths, self._provider.explains = self._lengths, self.names  # type: ignore[assignment]
        self.throttle = Throttle(self._limits(), learns=True, noise=self._random.random, wall_offset=0.0)
        self._numbers = itertools.count()
        self._waiting: list[_Call] = []
        self._events: list[_Event] = []
        self._course = Course(self.spec, self._begin)
        while self._now < self._begin + self.seconds:
            call = self._waiting[0] if self._waiting else self._fresh()
            ask = self.throttle.ask("m", call.demand)
            hold = self.throttle.hold(ask, self._now)
            if hold is None:
                heapq.heappop(self._waiting)
                self._send(call, self.throttle.take(ask, call.demand.size, self._now, waited=self._now > self._begin))
                continue
            due = hold.until + self._random.uniform(0, _TIMER_LATE)
            if self._events and self._events[0].at <= due:
                self._now = max(self._now, self._events[0].at)
                self._happen(heapq.heappop(self._events))
            else:
                assert math.isfinite(due), "nothing is on its way and nobody may go"
                self._now = max(self._now, due)
        self._course.accepted = [(at, one.input, one.output, one.max_output) for at, one in self._provider.accepted]
        return self._course

    def _limits(self) -> Limits:
        if (known := PRESETS.get(self.manners)) is None:
            return Limits(assumed=True)
        return Limits(assumed=True, reserve_output=known.reserve_output, algorithm=known.algorithm)

    def _fresh(self) -> _Call:
        _, lengths, prompts = next(phase for phase in reversed(self.phases) if self._now >= self._begin + phase[0])
        size, tokens = self._drawn(prompts), self._drawn(lengths)
        reserves = any(charging in ("reserved", "refunded") for charging, _, _ in self.spec.tokens.values())
        allowed = int(tokens * self._random.uniform(1, 2)) if reserves else max(2000, tokens)
        body = b'{"model":"m","max_tokens":%d,"messages":"%b"}' % (allowed, b"x" * size)
        path = "/v1/messages" if "output-tokens" in self.spec.tokens else "/v1/chat/completions"
        request = Received(method="POST", target=path, version="HTTP/1.1", raw_headers=[], body=body)
        call = _Call(next(self._numbers), Demand(BodySize(len(body)), allowed), tokens, request)
        heapq.heappush(self._waiting, call)
        return call

    def _drawn(self, span: Range) -> int:
        return round(math.exp(self._random.uniform(math.log(span[0]), math.log(span[1]))))

    def _send(self, call: _Call, grant: Grant) -> None:
        self.throttle.sent(grant, self._now)
        self._arrived = max(self._arrived, self._now + self._random.uniform(0, _ON_THE_WAY))
        call.request.at, self._lengths.next = self._arrived, call.tokens
        answer = self._provider(call.request)
        first_byte = self._now + _FIRST_BYTE * self._random.uniform(0.5, 1.5)
        heapq.heappush(self._events, _Event(first_byte, next(self._numbers), call, grant, answer))
        if answer.status == 200:
            spent: Tokens = self._provider.accepted[-1][1]
            ends = max(first_byte, self._arrived + _SECONDS + _SECONDS_PER_TOKEN * spent.output)
            usage = Usage(input=spent.input, output=spent.output, source="exact")
            heapq.heappush(self._events, _Event(ends, next(self._numbers), call, grant, answer, usage))

    def _happen(self, event: _Event) -> None:
        if event.usage is not None:
            self.throttle.settle(event.grant, event.usage, self._now, counted=True)
            return
        headers = dict(event.answer.headers)
        seen = read_limits(headers, self.manners, self._now)
        if event.answer.status == 200:
            self._course.passed(event.call.number)
            self.throttle.answered(event.grant, seen, self._now)
            return
        verdict = judge(event.answer.status, headers, event.answer.data, self.manners, self._now)
        self.throttle.refused(event.grant, verdict, seen, self._now)
        now, sent_at = self._now - self._begin, event.grant.at - self._begin
        if self._course.met(event.call.number, sent_at, now, explained=verdict.wait is not None):
            heapq.heappush(self._waiting, event.call)


class Case(NamedTuple):
    """One row of the table. With `calls` these are limited as well, and first they are met, then tokens, then calls."""

    limits: str
    kind: str
    tells: Tells
    calls: bool = False

    @property
    def name(self) -> str:
        """The case in words."""
        return f"{self.limits}{', RPM' if self.calls else ''}, {self.kind}, {self.tells}"

    @property
    def steady_from(self) -> float:
        """Seconds after which the limit has to be in use."""
        return 60.0 if self.tells == "headers" else 180.0

    def play(self, seed: int = 0) -> Course:
        """What comes of it in ten minutes."""
        limits, split = LIMITS[self.limits], len(LIMITS[self.limits]) > 1
        tokens = {name: (charging, self.kind, size) for name, (charging, size) in limits.items()}
        style: Literal["anthropic", "openai"] = "anthropic" if split else "openai"
        manners = "anthropic" if split and self.kind == "bucket" else _MANNERS.get(next(iter(limits.values()))[0], "")
        spec = Spec(
            kind="bucket of 1" if self.calls else None,
            per_minute=_CALLS,
            tokens=tokens,
            lengths=_LENGTHS,
            seconds=_SECONDS,
            seconds_per_token=_SECONDS_PER_TOKEN,
            headers=style if self.tells == "headers" else None,
        )
        return Play(spec, self.tells == "named", manners, _PHASES if self.calls else _EVER, seed=seed).run()

    def is_met(self, course: Course) -> bool:
        """Whether that is as it has to be."""
        used = course.use(480.0 if self.calls else self.steady_from, 600.0)
        return not course.errors and len(course.walls) <= MOST_WALLS[self.tells] and used >= LEAST_USED[self.tells]

    def shares(self, courses: Sequence[Course]) -> str:
        """How much was used in each of the spans, in the worst of them."""
        return " ".join(f"{min(course.use(*span) for course in courses):7.3f}" for span in _SPANS)


def cases() -> Iterator[Case]:
    """Every combination."""
    for calls in (False, True):
        for limits in LIMITS:
            for kind in KINDS:
                for tells in TELLS:
                    yield Case(limits, kind, tells, calls)


if __name__ == "__main__":
    print_table(cases(), sys.argv[1:], " ".join(f"{f'{begin:g}-{end:g}':>7}" for begin, end in _SPANS))
