"""Makes several daemons one: who is there, who owns which lane, and what they say to each other, through Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
import orjson

from llmqd.background import end, obituary
from llmqd.cluster import codec
from llmqd.cluster.arbiter import Arbiter
from llmqd.cluster.link import FAULTS, Link
from llmqd.cluster.messages import TOLD, Held, Messages, Names
from llmqd.cluster.news import News
from llmqd.cluster.owned_lane import OwnedLane
from llmqd.cluster.past import KEPT
from llmqd.cluster.redis_time import RedisTime
from llmqd.cluster.shared_lane import SharedLane
from llmqd.cluster.timing import ALONE, BACK, BEAT, FORGOTTEN, GATHER, GONE, LEASE
from llmqd.lane.throttle import Throttle

if TYPE_CHECKING:
    from llmqd.cluster.held_lane import HeldLane
    from llmqd.cluster.shared_budgets import SharedBudgets
    from llmqd.config.cluster import ClusterSettings
    from llmqd.config.redis_url import RedisUrl
    from llmqd.events.kinds import Event

logger = logging.getLogger(__name__)

_LEAST = 0.02
"""Seconds between two signs of life, however much hurry there is."""


class Cluster:
    """This daemon's part in it. An async context manager: inside it is a member, leaving it says so.

    `lane` makes the lanes. `clock` is monotonic. `budgets` say who we are.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        url: RedisUrl,
        *,
        clock: Callable[[], float],
        budgets: SharedBudgets,
    ) -> None:
        self.time = RedisTime(clock)
        self.me = budgets.me
        self._settings = settings
        self._url = url
        self._clock = clock
        self._broken = False
        self._hurry = asyncio.Event()
        self._held = Held()
        self._names = Names(settings.prefix)
        self._messages = Messages(self.me, self._names, self.time, self._held, self._learn_owner, self._hurry.set)
        self._budgets = budgets
        self.asking, self.telling = self._messages.asking, self._messages.telling
        self._members: list[str] = []
        self._silent: list[str] = []
        self._missing: dict[str, float] = {}
        self._link: Link | None = None
        self._alive_at = clock()
        self._alone = False
        self._failures = 0
        self._fault = "Redis has not been reached yet"
        self._tasks: list[asyncio.Task[None]] = []

    # What others ask.

    def lane(self, *given: Any, **named: Any) -> SharedLane:
        """Makes a lane that all members share; called as Lane is."""
        return SharedLane(*given, **named, seat=self)

    def faults(self) -> list[str]:
        """What is wrong, for people."""
        part = f"each daemon keeps to 1/{self._parts} of every limit by itself until Redis is back"
        return [f"cluster: {self._fault}; {part}"] if self._alone else []

    @property
    def alone(self) -> bool:
        """Whether this daemon goes on by itself."""
        return self._alone

    @property
    def figures(self) -> tuple[int, int, int]:
        """1 where it goes on by itself, how many daemons there are, and for how many lanes this one decides."""
        return int(self._alone), max(len(self._members), 1), len(self._held.arbiters)

    # What lanes do.

    def retuned(self, lane: SharedLane) -> None:
        """A lane has other settings."""
        if (arbiter := self._held.arbiters.get(lane.name)) is not None:
            arbiter.lane.retune(lane.key, lane.queue_settings, learns=lane.learns)

    def add(self, lane: SharedLane) -> None:
        """A lane was made."""
        self._held.lanes[lane.name] = lane
        self._hurry.set()
        if self._alone:
            lane.go_alone(*self._place())

    def send(self, lane: HeldLane, message: list[Any], *, soon: bool = True) -> None:
        """A lane says something to its owner."""
        owner, _ = self._held.owners[lane.name]
        if owner == self.me:
            arbiter = self._held.arbiters.get(lane.name)
            if arbiter is not None:
                arbiter.receive(self.me, message)
            return
        self._messages.up(lane.name, message, soon=soon)

    # The tasks.

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(GATHER):
                await self._connect()
                await self._beat()
        except FAULTS as error:
            self._lose(error)
        self._begin(self._live(), "cluster")
        self._begin(self._flush_all(), "cluster messages")
        self._begin(self._budgets.work(self._break), "cluster budgets")
        return self

    def _begin(self, run: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(run, name=name)
        task.add_done_callback(obituary(logger, f"the task {name} has died", logging.CRITICAL))
        self._tasks = [*(each for each in self._tasks if not each.done()), task]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(*self._tasks)
        for arbiter in self._held.arbiters.values():
            arbiter.stop()
        if self._link is not None:
            mine = [each for name, one in self._held.arbiters.items() for each in (name, f"{self.me}|{one.token}")]
            try:
                async with asyncio.timeout(GATHER):
                    await self._budgets.say(self._link)
                    await self._link.leave(self._names.shared[:2], [self.me, *mine])
            except FAULTS:
                pass
            await self._link.close()

    async def _live(self) -> None:
        while True:
            try:
                async with asyncio.timeout(2 * GONE):
                    self._hurry.clear()
                    if self._broken:
                        raise ConnectionError("the connection to Redis broke")
                    if self._link is None:
                        await self._connect()
                    await self._beat()
            except FAULTS as error:
                await self._cut(error)
            await self._gathered()
            if self._failures > 1 and self._clock() - self._alive_at > ALONE and not self._alone:
                self._go_alone()
            if self._link is None:
                await asyncio.sleep(BEAT)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT):
                    await self._hurry.wait()
            await asyncio.sleep(_LEAST)

    async def _flush_all(self) -> None:
        while True:
            await self._messages.due()
            if self._link is None:
                self._messages.clear()
                continue
            try:
                async with asyncio.timeout(GONE):
                    await self._messages.flush(self._link)
            except FAULTS as error:
                logger.debug("cluster: %s", error)
                self._break()

    async def _listen(self, link: Link) -> None:
        try:
            async for data in link.heard():
                self._messages.hear(orjson.loads(data))
        except FAULTS as error:
            logger.debug("cluster: %s", error)
            self._break()

    # Connecting and losing the connection.

    def _break(self) -> None:
        self._broken = True
        self._messages.connected(None, ())
        self._hurry.set()

    async def _connect(self) -> None:
        link = await Link.to(self._url, self._names.channel(self.me), self._settings.prefix)
        try:
            self.time.forget()
            for _ in range(5):
                asked = self._clock()
                told = await link.time()
                self.time.read(asked, self._clock(), told)
        except BaseException:
            await link.close()
            raise
        self._broken = False
        self._link = link
        self._missing = {one: self._clock() + BACK for one in self._members if one != self.me}
        self._begin(self._listen(link), "cluster listening")

    def _lose(self, error: BaseException) -> None:
        self._fault = f"Redis cannot be reached ({type(error).__name__}: {error})" if str(error) else "Redis is silent"
        self._budgets.connected(None)
        self._link = None
        self._failures += 1
        for arbiter in self._held.arbiters.values():
            arbiter.stop()
        self._held.arbiters.clear()
        self._held.owners.clear()
        self._messages.clear()
        for lane in list(self._held.lanes.values()):
            lane.lost()

    async def _cut(self, error: BaseException) -> None:
        link = self._link
        self._lose(error)
        self._broken = False
        if link is not None:
            try:
                async with asyncio.timeout(GONE):
                    await link.close()
            except FAULTS:
                pass

    def _go_alone(self) -> None:
        self._alone = True
        index, parts = self._place()
        logger.warning("cluster: %s; this daemon goes on with 1/%d of every limit", self._fault, parts)
        self._budgets.go_alone(parts)
        for lane in list(self._held.lanes.values()):
            lane.go_alone(index, parts)

    def _place(self) -> tuple[int, int]:
        known = sorted({*self._members, *self._silent, self.me})
        return known.index(self.me), self._parts

    @property
    def _parts(self) -> int:
        return max(len({*self._members, *self._silent, self.me}), self._settings.members)

    # Signs of life.

    async def _beat(self) -> None:
        assert self._link is not None
        names = sorted(self._held.lanes)
        await self._give_up([name for name in self._held.arbiters if name not in self._held.lanes])
        mine = {name: str(one.token) for name, one in self._held.arbiters.items()}
        pairs = [each for name in names for each in (name, mine.get(name, ""))]
        asked = self._clock()
        seconds, micros, known, there, silent, owners = await self._link.beat(
            self._names.shared, [self.me, LEASE, GONE, self._names.channel(""), FORGOTTEN, *pairs]
        )
        now = self._clock()
        self.time.read(asked, now, float(seconds) + float(micros) / 1e6)
        self._alive_at = asked
        self._failures = 0
        self._members = sorted(each.decode() for each in there)
        self._silent = [each.decode() for each in silent]
        if self._alone:
            self._alone = False
            self._budgets.come_back()
            logger.warning("cluster: Redis is back; %d daemons share their limits again", len(self._members))
        self._budgets.connected(self._link)
        self._messages.connected(self._link, self._members)
        again = not known
        for name, owner in zip(names, owners, strict=True):
            who, _, token = owner.decode().rpartition("|")
            self._learn_owner(name, who, int(token), again=again)
        self._share()
        for lane in list(self._held.lanes.values()):
            lane.tell_free()
        for name, arbiter in self._held.arbiters.items():
            self._tell_view(name, arbiter)

    async def _give_up(self, names: list[str]) -> None:
        """Lanes that are no more here, but maybe elsewhere, are for another daemon to own."""
        for name in names:
            arbiter = self._held.arbiters.pop(name)
            arbiter.stop()
            if self._link is not None:
                await self._link.leave(self._names.shared[:2], ["", name, f"{self.me}|{arbiter.token}"])

    def _learn_owner(self, name: str, who: str, token: int, *, again: bool = False) -> None:
        lane = self._held.lanes.get(name)
        if lane is None or (self._held.owners.get(name) == (who, token) and not again):
            return
        self._held.owners[name] = who, token
        if who == self.me and (name not in self._held.arbiters or self._held.arbiters[name].token != token):
            self._own(lane, token)
        elif who != self.me and name in self._held.arbiters:
            self._held.arbiters.pop(name).stop()
        self._report(lane)

    def _report(self, lane: SharedLane) -> None:
        owner, _ = self._held.owners[lane.name]
        join = self._held.joins[lane.name] = self._held.joins.get(lane.name, 0) + 1
        report = lane.join()
        if owner == self.me:
            self._messages.forget(lane.name, self.me)
            self._held.arbiters[lane.name].report(self.me, join, report)
            return
        self._messages.report(lane.name, ["R", join, report])

    def _own(self, lane: SharedLane, token: int) -> None:
        news, noise, offset = News(), random.random, self.time.offset
        throttle = Throttle(lane.key.limits, learns=lane.learns, noise=noise, wall_offset=offset, patience=news)
        more: dict[str, Any] = {
            "news": news,
            "throttle": throttle,
            "clock": self._clock,
            "announce": self._spread(lane),
        }
        owned = OwnedLane(lane.name, lane.upstream, lane.key, lane.queue_settings, **more)
        owned.recall((), lane.samples)
        self._held.arbiters[lane.name] = Arbiter(
            owned,
            token,
            self.me,
            self.time,
            partial(self._messages.down, lane.name),
            clock=self._clock,
            waits_for=self._members,
        )
        for member in {*self._members} - {self.me}:
            self._messages.down(lane.name, member, ["h"])

    async def _gathered(self) -> None:
        """Lets new arbiters begin that have heard of everybody, or have waited for long enough."""
        now = self._clock()
        for member in [one for one, till in self._missing.items() if till < now or one in self._members]:
            del self._missing[member]
        if self._missing:
            return
        for name, arbiter in list(self._held.arbiters.items()):
            late = self._clock() - arbiter.began > GATHER
            if arbiter.open or self._link is None or (arbiter.waits_for & {*self._members} and not late):
                continue
            try:
                entries = await self._link.written(self._names.of_lane(name, "past"), self.time.now - KEPT)
                hours = await self._link.hours(self._names.of_lane(name, "hours"))
            except FAULTS:
                return
            if self._held.arbiters.get(name) is arbiter and not arbiter.open:
                arbiter.start([each for entry in entries for each in orjson.loads(entry)], hours)
                self._tell_view(name, arbiter)
                self._share()

    def _share(self) -> None:
        known = sorted({*self._members, *self._silent})
        silent = tuple(index for index, one in enumerate(known) if one not in self._members)
        parts = max(len(known), self._settings.members) if silent else len(known)
        self._budgets.leave(len(silent), parts)
        for arbiter in self._held.arbiters.values():
            for member in [one for one in arbiter.joins if one not in self._members]:
                arbiter.forget(member)
            arbiter.share(len(self._members), silent, parts)

    def _tell_view(self, name: str, arbiter: Arbiter) -> None:
        if arbiter.open:
            plain = codec.view(arbiter.view(), self.time.offset)
            for member in arbiter.joins:
                self._messages.down(name, member, ["v", plain])

    def _spread(self, lane: SharedLane) -> Callable[[Event], object]:
        """What the owner of a lane tells of it is told in every daemon."""

        def spread(event: Event) -> None:
            arbiter = self._held.arbiters.get(lane.name)
            if event.type in TOLD and arbiter is not None:
                for member in arbiter.joins:
                    here = None if member == self.me else self.asking.name
                    self._messages.down(lane.name, member, ["V", event.type, msgspec.structs.asdict(event), here])
                self._tell_view(lane.name, arbiter)

        return spread
