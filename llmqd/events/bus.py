"""Hands events to their listeners: one bounded ring, from which everybody reads at their own pace."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import orjson

from llmqd.events.kinds import EVERYTHING, Event, Wanted

KEEP = 8192
"""Events that the ring holds: some megabytes at the most, and several seconds of a very busy daemon."""


class Published(msgspec.Struct, eq=False):
    """An event with its id and its time (Unix seconds), shared by all listeners. Where several daemons share their
    lanes, `member` is the one that it happened in, and `own` whether that is this one."""

    event: Event
    id: int
    at: float
    member: str | None = None
    own: bool = True
    _data: bytes | None = None

    @property
    def data(self) -> bytes:
        """The event as one line of JSON; made once, and only when somebody listens."""
        if self._data is None:
            at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            where = {} if self.member is None else {"member": self.member}
            head = orjson.dumps({"type": self.event.type, "id": self.id, "at": at} | where)
            self._data = head[:-1] + b"," + msgspec.json.encode(self.event)[1:]
        return self._data


@dataclass(frozen=True, slots=True)
class Gap:
    """Events with ids above `after` and below `next` may have happened that this listener cannot get any more.

    It asked for events from before the ring or the daemon began, or it was too slow.
    """

    after: int
    next: int

    @property
    def data(self) -> bytes:
        """The gap as one line of JSON."""
        return orjson.dumps({"type": "gap", "after": self.after, "next": self.next})


class Ring:
    """The last `keep` events. They are numbered from 0 without gaps; ids increase, but not evenly.

    Ids are microseconds of the wall clock, made increasing, so that they increase over restarts of the daemon as well.
    """

    __slots__ = ("_places", "count", "last_id", "lost_id")

    def __init__(self, keep: int, now: float) -> None:
        self._places: list[Published | None] = [None] * keep
        self.count = 0
        """The number that the next event gets."""
        self.lost_id = self.last_id = _micros(now)
        """Id up to which events are no longer held, and id of the last event."""

    @property
    def oldest(self) -> int:
        """The number of the oldest event that is held; `count` when none is."""
        return max(self.count - len(self._places), 0)

    def add(self, event: Event, now: float, member: str | None = None, *, own: bool = True) -> int:
        """Puts an event in, in place of the oldest one when the ring is full, and gives its number."""
        number = self.count
        self.last_id = max(self.last_id + 1, _micros(now))
        place = number % len(self._places)
        if (overwritten := self._places[place]) is not None:
            self.lost_id = overwritten.id
        self._places[place] = Published(event, self.last_id, now, member, own)
        self.count += 1
        return number

    def at(self, number: int) -> Published:
        """The event of this number, which must be held."""
        found = self._places[number % len(self._places)]
        assert found is not None
        return found

    def after(self, event_id: int) -> int:
        """The number of the first held event behind this id."""
        held = range(self.oldest, self.count)
        return self.oldest + bisect_right(held, event_id, key=lambda number: self.at(number).id)


class EventBus:
    """Events for listeners; no I/O, no await. `wall` is Unix time in seconds, `keep` the size of the ring in events.

    Listeners have no queues, only a place in the ring: memory stays bounded whatever they do, and the slowest is
    overtaken and told of the gap.
    """

    def __init__(self, *, wall: Callable[[], float], keep: int = KEEP) -> None:
        self._wall = wall
        self._ring = Ring(keep, wall())
        self._listeners: list[Subscription] = []
        self.closed = False
        self.member: str | None = None
        """What people call this daemon where several share their lanes."""

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    @property
    def watched(self) -> bool:
        """Whether somebody listens to what happens in other daemons, too."""
        return any(not listener.wanted.own for listener in self._listeners)

    def publish(self, event: Event, *, member: str | None = None) -> int:
        """Tells those who want it, and gives the event's id. `member` is the daemon that it happened in, if another."""
        own = member is None
        number = self._ring.add(event, self._wall(), self.member if own else member, own=own)
        for listener in self._listeners:
            listener.offer(event, number, own=own)
        return self._ring.last_id

    def subscribe(
        self, wake: Callable[[], None], wanted: Wanted = EVERYTHING, *, after: int | None = None
    ) -> Subscription:
        """Listens from behind the event `after` (None: from now on) until `unsubscribe`.

        `wake` is called from inside `publish` and `close` when there is something to take; it must not raise.
        """
        listener = Subscription(self._ring, wake, wanted, after)
        self._listeners.append(listener)
        return listener

    def unsubscribe(self, listener: Subscription) -> None:
        """Ends a subscription."""
        self._listeners.remove(listener)

    def close(self) -> None:
        """The daemon stops: every listener is woken and finds `closed` set."""
        self.closed = True
        for listener in self._listeners:
            listener.wake()

    def __repr__(self) -> str:
        held = self._ring.count - self._ring.oldest
        return f"<EventBus {self._ring.count} published, {held} held, {len(self._listeners)} listening>"


class Subscription:
    """A listener's place in the ring. `position` is the id up to which it has been told everything that it wants."""

    __slots__ = ("_gap", "_number", "_ring", "position", "wake", "wanted")

    def __init__(self, ring: Ring, wake: Callable[[], None], wanted: Wanted, after: int | None) -> None:
        self._ring = ring
        self.wanted = wanted
        self.wake = wake
        self._gap: Gap | None = None
        self._number = ring.count
        self.position = ring.last_id if after is None else after
        if after is None:
            return
        if ring.lost_id <= after <= ring.last_id:
            self._number = ring.after(after)
        else:  # from before the ring, or from a daemon whose clock was ahead
            self._missed(after)

    def offer(self, event: Event, number: int, *, own: bool) -> None:
        """Used by the bus: the event of this number has just been published."""
        if self.wanted.has(event, own=own):
            self.wake()
        elif self._number == number:  # caught up: what it does not want must not make it look slow
            self.position = self._ring.last_id
            self._number += 1

    def take(self, limit: int = 256) -> list[Published | Gap]:
        """What is wanted and not yet taken, in order, at most `limit` of it; empty when there is nothing."""
        if self._number < self._ring.oldest:
            self._missed(self._gap.after if self._gap else self.position)
        taken: list[Published | Gap] = []
        if self._gap is not None:
            taken.append(self._gap)
            self._gap = None
        while len(taken) < limit and self._number < self._ring.count:
            published = self._ring.at(self._number)
            if self.wanted.has(published.event, own=published.own):
                taken.append(published)
            self._pass()
        return taken

    def _pass(self) -> None:
        self.position = self._ring.at(self._number).id
        self._number += 1

    def _missed(self, after: int) -> None:
        """Goes on at the oldest event that is held."""
        ring = self._ring
        self._number = ring.oldest
        self._gap = Gap(after, ring.at(ring.oldest).id if ring.oldest < ring.count else ring.last_id + 1)
        self.position = ring.lost_id


def _micros(seconds: float) -> int:
    return int(seconds * 1_000_000)
