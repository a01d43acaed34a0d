"""What daemons say to each other: gathered while Redis is busy, sent in one round trip, handed to whom it is for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import orjson

from llmqd.cluster import codec
from llmqd.cluster.asking import Asking
from llmqd.cluster.link import FAULTS
from llmqd.cluster.past import KEPT
from llmqd.cluster.telling import Telling
from llmqd.cluster.timing import LATEST, PACE, SPELL
from llmqd.events.kinds import Event, LimitLearned, Paused, Resumed

if TYPE_CHECKING:
    from llmqd.cluster.arbiter import Arbiter
    from llmqd.cluster.link import Link
    from llmqd.cluster.redis_time import RedisTime
    from llmqd.cluster.shared_lane import SharedLane

logger = logging.getLogger(__name__)

TOLD: dict[str, type[Event]] = {one.type: one for one in (Paused, Resumed, LimitLearned)}
"""Events of a lane that are told in every daemon."""


class Names:
    """How keys and channels are named in Redis."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.shared = [f"{prefix}:{name}" for name in ("members", "owners", "tokens")]

    def of_lane(self, lane: str, what: str) -> str:
        """A key of one lane."""
        return f"{self._prefix}:lane:{lane}:{what}"

    def channel(self, member: str) -> str:
        """Where a member is spoken to."""
        return f"{self._prefix}:to:{member}"


@dataclass(slots=True)
class Held:
    """What a member has and knows, by the name of the lane: its lanes, who owns each by which token, how often it has
    reported, and the arbiters of those that it owns itself."""

    lanes: MutableMapping[str, SharedLane] = field(default_factory=WeakValueDictionary)
    owners: dict[str, tuple[str, int]] = field(default_factory=dict)
    joins: dict[str, int] = field(default_factory=dict)
    arbiters: dict[str, Arbiter] = field(default_factory=dict)


class Messages:
    """The post of one member. `owned` is told when somebody says that a lane is theirs (lane, member, token),
    `reported` when somebody has said all about a lane of ours.
    """

    def __init__(
        self,
        me: str,
        names: Names,
        time: RedisTime,
        held: Held,
        owned: Callable[[str, str, int], None],
        reported: Callable[[], None],
    ) -> None:
        self.names = names
        self.asking = Asking(me, names.channel, held.arbiters, FAULTS)
        self.waiting = asyncio.Event()
        """Set while there is something to be said."""
        self.telling = Telling(me, names.channel, self.waiting)
        self._me = me
        self._time = time
        self._held = held
        self._owned = owned
        self._reported = reported
        self._ups: dict[str, list[list[Any]]] = {}
        self._downs: dict[tuple[str, str], list[list[Any]]] = {}
        self._due = 0.0
        self._late: asyncio.TimerHandle | None = None

    def up(self, lane: str, message: list[Any], *, soon: bool = True) -> None:
        """Something for the owner of a lane; what need not go `soon` waits a little for what does."""
        self._ups.setdefault(lane, []).append(message)
        if soon:
            self.waiting.set()
        elif self._late is None:
            self._late = asyncio.get_running_loop().call_later(LATEST, self.waiting.set)

    def report(self, lane: str, message: list[Any]) -> None:
        """Something for its owner that takes the place of all that was to be said."""
        self._ups[lane] = [message]
        self.waiting.set()

    def down(self, lane: str, member: str, message: list[Any]) -> None:
        """Something for a member, of a lane that we own: it goes only if we still do."""
        self._downs.setdefault((lane, member), []).append(message)
        self.waiting.set()

    def forget(self, lane: str, member: str) -> None:
        """Nothing of what was to be said to a member of a lane holds any more."""
        self._downs.pop((lane, member), None)

    def connected(self, link: Link | None, members: Sequence[str]) -> None:
        """These are there, and reached by this link; None: nobody is."""
        self.asking.connected(link, members)
        self.telling.present(members)

    async def due(self) -> None:
        """Returns once something is to be said: at once, unless that has been so all the time for the last SPELL."""
        await self.waiting.wait()
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._due - clock())
        self._due = max(self._due, clock() - SPELL) + PACE
        self.waiting.clear()

    def clear(self) -> None:
        """Nothing of what was to be said at all."""
        self.telling.clear()
        self._ups.clear()
        self._downs.clear()

    async def flush(self, link: Link) -> None:
        """Sends all that is to be said, in one round trip."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        ups, self._ups = self._ups, {}
        downs, self._downs = self._downs, {}
        by_lane: dict[str, dict[str, list[list[Any]]]] = {}
        for (name, member), messages in downs.items():
            by_lane.setdefault(name, {})[member] = messages
        grants, own = [], []
        for name, to in by_lane.items():
            if (arbiter := self._held.arbiters.get(name)) is None:
                continue
            grants.append(self._grant(name, arbiter, to))
            own.append((arbiter, name, to.get(self._me), arbiter.joins.get(self._me)))
        by_owner: dict[str, list[Any]] = {}
        for name, messages in ups.items():
            if (place := self._held.owners.get(name)) is not None:
                by_owner.setdefault(place[0], []).append([name, place[1], self._held.joins[name], messages])
        said = [(self.names.channel(owner), orjson.dumps([self._me, "u", lanes])) for owner, lanes in by_owner.items()]
        through = await link.say(grants, said + self.telling.said())
        for went, (arbiter, name, mine, join) in zip(through, own, strict=True):
            if not went:
                if self._held.arbiters.get(name) is arbiter:
                    logger.warning("cluster: another daemon has taken over the lane %s", name)
                    self._held.arbiters.pop(name).stop()
                    self._held.owners.pop(name, None)
                    if (lane := self._held.lanes.get(name)) is not None:
                        lane.lost()
            elif mine and self._held.arbiters.get(name) is arbiter and arbiter.joins.get(self._me) == join:
                self._down(name, mine)

    def _grant(
        self, name: str, arbiter: Arbiter, to: dict[str, list[list[Any]]]
    ) -> tuple[list[str], list[str | bytes]]:
        log, arbiter.log = arbiter.log, {}
        steps = [
            [member, [model, last, calls, into, out, 0]] for (member, model), (calls, into, out, last) in log.items()
        ]
        said: list[str | bytes] = []
        for member, messages in to.items():
            if member != self._me:
                body = [self._me, "d", [[name, arbiter.token, arbiter.joins.get(member, -1), messages]]]
                said += [self.names.channel(member), orjson.dumps(body)]
        keys = [*self.names.shared[:2], self.names.of_lane(name, "past"), self.names.of_lane(name, "hours")]
        hours: dict[str, float] = {}
        for (_, model), (calls, *_, last) in log.items():
            hour = f"{int(last // 3600)}|{model}"
            hours[hour] = hours.get(hour, 0.0) + calls
        counted = [str(each) for hour, calls in hours.items() for each in (hour, round(calls))]
        written = orjson.dumps(steps) if steps else b""
        return keys, [name, self._me, str(arbiter.token), written, str(KEPT), str(len(hours)), *counted, *said]

    def hear(self, message: list[Any]) -> None:
        """What another daemon says."""
        sender, way, lanes = message
        if way in ("q", "a"):
            self.asking.hear(sender, way, lanes)
            return
        if way == "t":
            self.telling.hear(sender, lanes)
            return
        for name, token, join, messages in lanes:
            if way == "u":
                self._up(sender, name, token, join, messages)
            elif messages[0][0] == "h":
                if (lane := self._held.lanes.get(name)) is not None and self._held.owners.get(name, ("", 0))[1] < token:
                    self._owned(lane.name, sender, token)
            elif self._held.owners.get(name) == (sender, token) and self._held.joins.get(name) == join:
                self._down(name, messages)

    def _up(self, member: str, name: str, token: int, join: int, messages: list[list[Any]]) -> None:
        arbiter = self._held.arbiters.get(name)
        if arbiter is None or arbiter.token != token:
            return
        for message in messages:
            if message[0] == "R":
                self._downs.pop((name, member), None)
                join = message[1]
                arbiter.report(member, message[1], message[2])
                self._reported()
            elif arbiter.joins.get(member) == join:
                arbiter.receive(member, message)

    def _down(self, name: str, messages: list[list[Any]]) -> None:
        lane = self._held.lanes.get(name)
        if lane is None:
            return
        for message in messages:
            tell(lane, self._time, message)


def tell(lane: SharedLane, time: RedisTime, message: Sequence[Any]) -> None:
    """Tells a lane what its owner has said."""
    kind, *rest = message
    if kind == "g":
        lane.granted_there(rest[0], time.here(rest[1]), rest[2])
    elif kind == "n":
        lane.refused_there(rest[0], codec.refused(rest))
    elif kind == "q":
        lane.queued_there(*rest)
    elif kind == "v":
        lane.seen_there(rest[0])
    elif kind == "V":
        lane.announce(TOLD[rest[0]](**rest[1]), member=rest[2])
