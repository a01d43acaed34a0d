"""The places of calls that were turned away or left while they waited, kept for their return."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

Key = TypeVar("Key")

MOST = 20_000
"""Places that are kept; each takes less than 1 KB."""


class Place(NamedTuple):
    """Since when a call has waited and until when it may come back for its place, in seconds of one clock.

    `who` made it; `call` tells it from the other calls of the same caller.
    """

    who: str
    call: str
    since: float
    until: float


class Places:
    """Remembers since when a call has waited, so that its repetition does not stand behind those that came later.

    Only a place that a caller really had is given back, once, and only to the same caller for the same call; what a
    request says of itself (that it is a retry) plays no part. Holds `most` places at the most: beyond that a caller who
    has more than an even share of them loses its oldest one, else the oldest of all goes. Times are passed in.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._serial = 0
        self._places: OrderedDict[int, Place] = OrderedDict()
        self._by_who: dict[str, OrderedDict[int, None]] = {}
        self._by_call: dict[tuple[str, str], OrderedDict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def knows(self, who: str) -> bool:
        """Whether any place of this caller is kept."""
        return who in self._by_who

    def keep(self, place: Place, now: float) -> None:
        """Keeps a place; one that nobody may claim any more makes room first."""
        if place.until <= now:
            return
        self._forget_late(now)
        if len(self._places) >= self._most:
            own = self._by_who.get(place.who, ())
            crowded = len(own) * len(self._by_who) >= len(self._places)
            self._drop(next(iter(own if crowded else self._places)))
        self._serial += 1
        self._places[self._serial] = place
        self._by_who.setdefault(place.who, OrderedDict())[self._serial] = None
        self._by_call.setdefault((place.who, place.call), OrderedDict())[self._serial] = None

    def claim(self, who: str, call: str, now: float) -> float | None:
        """Since when this call has waited, which is then kept no more; None for one that has no place.

        Of several equal calls the one that left first comes back first.
        """
        while (equal := self._by_call.get((who, call))) is not None:
            place = self._drop(next(iter(equal)))
            if place.until > now:
                return place.since
        return None

    def export(self, now: float) -> list[dict[str, Any]]:
        """Every place as plain data that outlives the clock: `waited` and `left` in seconds as of `now`."""
        return [
            {"who": place.who, "call": place.call, "waited": now - place.since, "left": place.until - now}
            for place in self._places.values()
            if place.until > now
        ]

    def load(self, exported: Iterable[dict[str, Any]], now: float, *, away: float = 0.0) -> None:
        """Takes in what `export` gave `away` seconds ago, oldest first. Raises ValueError for anything else.

        The time away counts as waited, but not against `left`: nobody could come back meanwhile.
        """
        for each in exported:
            try:
                who, call = each["who"], each["call"]
                since, until = now - away - each["waited"], now + each["left"]
            except (KeyError, TypeError) as error:
                raise ValueError(f"not a place: {each!r}") from error
            if not isinstance(who, str) or not isinstance(call, str):
                raise ValueError(f"not a place: {each!r}")
            self.keep(Place(who, call, min(since, now), until), now)

    def _forget_late(self, now: float) -> None:
        """Lets go of the oldest ones that nobody may claim any more; those between go when they are met."""
        while self._places:
            serial, place = next(iter(self._places.items()))
            if place.until > now:
                return
            self._drop(serial)

    def _drop(self, serial: int) -> Place:
        place = self._places.pop(serial)
        _drop_from(self._by_who, place.who, serial)
        _drop_from(self._by_call, (place.who, place.call), serial)
        return place


def _drop_from(index: dict[Key, OrderedDict[int, None]], key: Key, serial: int) -> None:
    serials = index[key]
    del serials[serial]
    if not serials:
        del index[key]
