"""How fast turns come at present: counted, where what limits them cannot be told in calls."""

from __future__ import annotations

from collections import deque

_COUNTED, _LEAST, _TELLING = 512, 64, 16
"""Turns that are remembered; so many of them count at least, where there are; and so many that they tell something."""
_AS_FAR_BACK = 2
"""How many times as many turns count as are ahead: a long wait is told by a long past, as calls differ in size."""
_OLD = 120.0
"""Seconds after which a turn tells nothing any more."""


class Pace:
    """The pace of a lane that always had somebody waiting. Pure: times are monotonic seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_COUNTED)

    def turn(self, now: float, *, waited: bool) -> None:
        """Somebody has a turn now; one that nobody had to wait for says nothing about how fast they can come."""
        if not waited:
            self._times.clear()
        self._times.append(now)

    def eta(self, position: int, now: float) -> float | None:
        """Seconds until the turn of the call at this position, 1 being next; None where too little is known."""
        while self._times and self._times[0] < now - _OLD:
            self._times.popleft()
        if len(self._times) < _TELLING:
            return None
        counted = min(max(_AS_FAR_BACK * position, _LEAST), len(self._times))
        first, last = self._times[-counted], self._times[-1]
        interval = (last - first) / (counted - 1)
        overdue = max(now - last - interval, 0.0)  # slower than counted, then
        return max(position * (interval + overdue / counted) - (now - last), 0.0)
