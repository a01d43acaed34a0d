"""Where one call stands, whatever lane it waits in: since when, until when, and how it may come back to its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmqd.errors import DeadlineExceeded, QueueFull, ShuttingDown, WouldExceedDeadline
from llmqd.lane.places import Place, Places

_GRACE = 60.0
"""Seconds beyond Retry-After within which a call may come back: SDKs add jitter, and back off for up to 8 s by
themselves."""


class Standing:
    """One call's place among all. A call that is not to come back has one without a memory.

    `since` is the moment from which it counts as waiting, `until` the one at which its wait ends for good, both set by
    the first lane that it waits in (monotonic seconds); a lane that it goes on to takes them over.
    """

    __slots__ = ("since", "until")

    def __init__(self) -> None:
        self.since: float | None = None
        self.until: float | None = None

    def left(self, error: BaseException) -> None:
        """The wait has ended without a turn, by this error."""


class Returning(Standing):
    """The standing of a call that may come back: it has the place that it had before, if it had one.

    `who` makes the call; `call` gives what tells it from other calls of theirs, asked for only when there is a need.
    `clock` is that of the lanes.
    """

    __slots__ = ("_call", "_clock", "_places", "_who")

    def __init__(self, places: Places, who: str, call: Callable[[], str], *, clock: Callable[[], float]) -> None:
        super().__init__()
        self._places = places
        self._who = who
        self._call = call
        self._clock = clock
        if places.knows(who):
            self.since = places.claim(who, call(), clock())

    def left(self, error: BaseException) -> None:
        """Keeps the place where the same call may be back for it."""
        within = _back_within(error)
        if within is not None:
            now = self._clock()
            since = now if self.since is None else self.since
            self._places.keep(Place(self._who, self._call(), since, now + within), now)


def _back_within(error: BaseException) -> float | None:
    """Seconds within which a call is back that was turned away so; None for what is no reason to come back."""
    match error:
        case QueueFull() | DeadlineExceeded() | WouldExceedDeadline() | ShuttingDown():
            return (error.retry_after or 0.0) + _GRACE
        case asyncio.CancelledError() | ConnectionError():
            return _GRACE
        case _:
            return None
