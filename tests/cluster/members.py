"""Daemons that share a lane, in virtual time: real lanes, the real arbiter, between them a post that takes its time."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from llmqd.cluster import codec
from llmqd.cluster.arbiter import Arbiter
from llmqd.cluster.held_lane import HeldLane
from llmqd.cluster.messages import tell
from llmqd.cluster.news import News
from llmqd.cluster.owned_lane import OwnedLane
from llmqd.cluster.redis_time import RedisTime
from llmqd.cluster.shared_lane import SharedLane
from llmqd.config.model import Key, Limits, Queue
from llmqd.events.kinds import Event
from llmqd.lane.estimate import BodySize
from llmqd.lane.throttle import Demand, Throttle
from llmqd.lane.turn import Turn
from llmqd.providers.limit_values import Observed
from llmqd.providers.refusals import Verdict
from llmqd.usage import Usage
from tests.calls import a_call
from tests.clock import run_virtual
from tests.fake_upstream import Concurrency
from tests.fake_upstream.limiters import Meter, TokenLimit, Tokens

_REDIS = 1_000_000.0
"""Redis's clock minus the local one."""
_VIEW_EVERY = 0.4
"""Seconds after which the owner says how the lane is."""


@dataclass(kw_only=True)
class Provider:
    """A strict one. Answers take `seconds`, half as long or half as long again; `headers` name this limit on calls."""

    calls: Meter | None = None
    places: Concurrency | None = None
    tokens: TokenLimit | None = None
    seconds: float = 0.05
    headers: float = 0.0
    change: tuple[float, float] | None = None
    """When, in seconds from the first call, and by which factor the provider changes its limit."""


@dataclass(kw_only=True)
class World:
    """`clients` of each of `names` call all the time. A message takes `hop` seconds (from, to) from one daemon through
    Redis to another; `error` is how wrong each daemon's idea of Redis's clock may be. Times are in seconds from the
    beginning, those of `places` the begin and the end of each call. `turns` counts by daemon, after `steady_from`.
    """

    provider: Provider
    limits: Limits
    learns: bool = False
    names: Sequence[str] = "abcd"
    clients: int = 10
    steady_from: float = 10.0
    seed: int = 1
    hop: tuple[float, float] = (0.001, 0.004)
    getting_ready: tuple[float, float] = (0.0005, 0.003)
    error: float = 0.0001
    written_late: tuple[float, float] = (0.0, 0.0)
    """The share of calls that leave later than they were said to, and how much later."""
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    places: list[tuple[float, float]] = field(default_factory=list)
    turns: Counter[str] = field(default_factory=Counter)
    charged: list[tuple[float, float]] = field(default_factory=list)
    """What the provider has charged in tokens so far, every now and then."""

    def play(self, seconds: float) -> World:
        """Plays it for so long."""
        self.random = random.Random(self.seed)
        run_virtual(self._play(seconds), jitter=lambda: self.random.uniform(0, 0.001))
        return self

    async def _play(self, seconds: float) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self.began = loop.time()
        self._arrived = 0.0
        key = Key(name="default", limits=self.limits)
        self.times: dict[str, RedisTime] = {}
        for name in self.names:
            time = self.times[name] = RedisTime(loop.time)
            time.offset = _REDIS + self.random.uniform(-self.error, self.error)
        self._last: dict[tuple[str, str], float] = {}
        owner = self.names[0]
        self.lanes = {name: self._lane(name, key) for name in self.names}
        queue, news, noise = Queue(), News(), self.random.random
        throttle = Throttle(self.limits, learns=self.learns, noise=noise, wall_offset=_REDIS, patience=news)
        owned = OwnedLane("l", "l", key, queue, news=news, throttle=throttle, clock=loop.time, announce=lambda _: None)
        self.arbiter = Arbiter(owned, 1, owner, self.times[owner], self._down, clock=loop.time, waits_for=())
        for name, lane in self.lanes.items():
            self.arbiter.report(name, 1, _as_json(lane.join()))
        self.arbiter.start([], {})
        self.arbiter.share(len(self.names), (), len(self.names))
        tasks = [asyncio.create_task(self._views())]
        tasks += [asyncio.create_task(self._client(name)) for name in self.names for _ in range(self.clients)]
        await asyncio.sleep(seconds)
        self.ended = loop.time()
        self.arbiter.stop()
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def _lane(self, name: str, key: Key) -> SharedLane:
        throttle = Throttle(self.limits, learns=self.learns, noise=self.random.random, wall_offset=_REDIS)
        seat = _Seat(self, name)
        queue, clock = Queue(fair_by="user"), self._loop.time
        return SharedLane("l", "l", key, queue, throttle=throttle, clock=clock, announce=unheard, seat=seat)

    # The post: what goes one way arrives in its order.

    def up(self, name: str, message: list[Any]) -> None:
        """A member says something to the owner."""
        if name == self.names[0]:
            self.arbiter.receive(name, message)
        else:
            self._carry(name, "arbiter", lambda: self.arbiter.receive(name, _as_json(message)))

    def _down(self, name: str, message: list[Any]) -> None:
        self._carry("arbiter", name, lambda: self._hear(name, _as_json(message)))

    def _carry(self, start: str, end: str, arrive: Callable[[], None]) -> None:
        at = max(self._loop.time() + self.random.uniform(*self.hop), self._last.get((start, end), 0.0) + 1e-6)
        self._last[start, end] = at
        self._loop.call_at(at, arrive)

    def _hear(self, name: str, message: list[Any]) -> None:
        tell(self.lanes[name], self.times[name], message)

    async def _views(self) -> None:
        while True:
            plain = codec.view(self.arbiter.view(), self.times[self.names[0]].offset)
            for name in self.names:
                self._down(name, ["v", plain])
            if self.provider.tokens is not None:
                self.charged.append((self._loop.time() - self.began, self.provider.tokens.total))
            await asyncio.sleep(_VIEW_EVERY)

    # Clients and provider.

    async def _client(self, name: str) -> None:
        lane = self.lanes[name]
        while True:
            size, most = BodySize(int(self.random.uniform(400, 4000))), 400
            output = self.random.randint(40, 400)
            tokens = Tokens(int(size.text / 3.6), output, most)
            turn = Turn(lane, a_call(arrived=self._loop.time(), user=name), Demand(size, most))
            while True:
                async with turn:
                    await asyncio.sleep(self.random.uniform(*self.getting_ready))
                    await turn.poised()
                    turn.sent()
                    if self.random.random() < self.written_late[0]:
                        await asyncio.sleep(self.written_late[1])
                    turn.flushed()
                    if await self._answered(turn, tokens):
                        self.turns[name] += self._loop.time() - self.began > self.steady_from
                        break

    async def _answered(self, turn: Turn, tokens: Tokens) -> bool:
        loop, provider = self._loop, self.provider
        now = self._arrived = max(self._arrived, loop.time() + self.random.uniform(0.0001, 0.0003))
        self._change(now)
        ends = now + provider.seconds * self.random.uniform(0.5, 1.5)
        wait = self._wait(now, tokens)
        seen: tuple[Observed, ...] = ()
        if provider.headers and provider.calls is not None:
            left = math.floor(provider.calls.remaining(now))
            full = round(provider.calls.full_in(now), 3)
            header: dict[str, Any] = {"window": 60.0, "limit": provider.headers, "remaining": left, "resets_in": full}
            seen = (Observed(dimension="requests", header="x-ratelimit-limit-requests", **header),)
        if wait > 0:
            self.refused.append(now - self.began)
            await asyncio.sleep(max(now - loop.time(), 0) + 0.02)
            turn.refused(Verdict(kind="wait", reason="429", wait=float(math.ceil(wait))), seen)
            return False
        self.accepted.append(now - self.began)
        if provider.calls is not None:
            provider.calls.take(now)
        if provider.tokens is not None:
            provider.tokens.start(now, tokens, ends)
        if provider.places is not None:
            provider.places.take(now)
        await asyncio.sleep(max(now - loop.time(), 0) + 0.01)
        turn.answered(seen)
        await asyncio.sleep(ends - loop.time())
        if provider.places is not None:
            provider.places.give_back(ends)
            self.places.append((now - self.began, loop.time() - self.began))
        turn.used(Usage(input=tokens.input, output=tokens.output, source="exact"))
        return True

    def _wait(self, now: float, tokens: Tokens) -> float:
        provider = self.provider
        waits = [provider.calls.wait(now)] if provider.calls is not None else []
        if provider.tokens is not None:
            waits.append(provider.tokens.wait(now, tokens))
        if provider.places is not None:
            waits.append(provider.places.wait(now))
        return max(waits)

    def _change(self, now: float) -> None:
        change = self.provider.change
        if change is not None and self.provider.calls is not None and now - self.began >= change[0]:
            self.provider.calls.scale(change[1], now)
            self.provider.headers *= change[1]
            self.provider.change = None

    def use(self, per_minute: float, begin: float, end: float) -> float:
        """The share of a limit that was used between two moments."""
        return sum(begin <= at < end for at in self.accepted) / (per_minute * (end - begin) / 60)

    def places_used(self, places: int, begin: float, end: float) -> float:
        """The share of places that were taken between two moments."""
        taken = sum(max(min(last, end) - max(first, begin), 0) for first, last in self.places)
        return taken / (places * (end - begin))

    def tokens_used(self, per_minute: float, begin: float, end: float) -> float:
        """The share of a limit on tokens that was charged between two moments."""
        inside = [(at, total) for at, total in self.charged if begin <= at < end]
        return (inside[-1][1] - inside[0][1]) / (per_minute * (inside[-1][0] - inside[0][0]) / 60)

    @property
    def unfairness(self) -> float:
        """By which share the daemon that is farthest from the average is away from it."""
        average = self.turns.total() / len(self.names)
        return max(abs(turns - average) for turns in self.turns.values()) / average


class _Seat:
    """Where one member sits."""

    def __init__(self, world: World, name: str) -> None:
        self.time = world.times[name]
        self._world, self._name = world, name

    def send(self, lane: HeldLane, message: list[Any], *, soon: bool = True) -> None:
        self._world.up(self._name, message)

    def add(self, lane: SharedLane) -> None:
        """Nobody has to know."""

    def retuned(self, lane: SharedLane) -> None:
        """Likewise."""


def unheard(event: Event, *, member: str | None = None) -> None:
    """Takes events that nobody listens to, as EventBus.publish takes them."""


def _as_json(message: Any) -> Any:
    return orjson.loads(orjson.dumps(message))
