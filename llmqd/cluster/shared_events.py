"""Events of single calls, and alerts, told in every daemon that somebody listens to, with where they have happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from llmqd.events.bus import Gap
from llmqd.events.kinds import KINDS, Alert, Cancelled, Event, Finished, Queued, Refused, Started, Wanted

if TYPE_CHECKING:
    from llmqd.cluster.telling import Telling
    from llmqd.events.bus import EventBus

_SHARED = frozenset(kind.type for kind in (Queued, Started, Finished, Cancelled, Refused, Alert))
"""All others are of lanes, and told in every daemon by whoever decides for the lane."""
_KINDS: dict[str, type[Event]] = {kind.type: kind for kind in KINDS}
_EVERY, _HOLDS = 2.0, 5.0
"""Seconds after which it is said again that somebody listens, and for how many that holds."""
_GOES_ON = 60.0
"""Seconds for which a daemon wants events after its last listener has left: it may come back for what it has missed."""


class SharedEvents:
    """Tells the events of `bus` to the members that want them, and publishes theirs there. `name` is what people call
    this member, `clock` is monotonic. Alerts go to all: what one has told of, others need not.
    """

    def __init__(self, bus: EventBus, telling: Telling, name: str, *, clock: Callable[[], float]) -> None:
        bus.member = name
        self._bus = bus
        self._telling = telling
        self._clock = clock
        self._wanted: dict[str, float] = {}
        """Until when each member wants events."""
        self._heard_until = self._again = -_GOES_ON
        self._own = bus.subscribe(self._pass_on, Wanted(types=_SHARED, own=True))
        telling.hears("events", self._hear)
        telling.hears("events wanted", lambda member, _: self._wanted.update({member: clock() + _HOLDS}))
        telling.every_beat(self._say)

    def _pass_on(self) -> None:
        now = self._clock()
        want = {member for member, until in self._wanted.items() if until > now}
        while taken := self._own.take():
            for published in taken:
                if isinstance(published, Gap):  # so much happens that nobody could follow it
                    continue
                event = published.event
                if to := want.union(self._telling.others) if isinstance(event, Alert) else want:
                    plain = [self._bus.member, event.type, msgspec.to_builtins(event)]
                    self._telling.tell("events", plain, to)

    def _hear(self, _: str, plain: list[Any]) -> None:
        name, kind, fields = plain
        if kind in _SHARED:
            self._bus.publish(_KINDS[kind](**fields), member=name)

    def _say(self, new: frozenset[str]) -> None:
        now = self._clock()
        self._wanted = {member: until for member, until in self._wanted.items() if until > now}
        if self._bus.watched:
            self._heard_until = now + _GOES_ON
        if now < self._heard_until:
            if now >= self._again:
                self._again = now + _EVERY
                self._telling.tell("events wanted", None)
            elif new:
                self._telling.tell("events wanted", None, new)
