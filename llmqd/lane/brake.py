"""What a lane does after its upstream said no: one pause for everybody, then one probe, then more and more again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmqd.lane.history import MINUTE

_FIRST_BACK_OFF = 1.0
"""Seconds of pause where the upstream names none: after them any limit on a rate has room for a call."""
_PAST_THE_MINUTE = 0.5
"""Seconds beyond the end of a minute of the wall clock at which it is over for the upstream's clock as well."""
_JITTER = 0.1
"""Share by which a pause is lengthened at random, so that several daemons on one key do not come back together."""
_RAMP_STEP, _RAMP_END = 0.5, 64
"""Seconds in which a lane that comes back doubles the calls in flight if nothing is answered sooner, and the calls up
to which it does; beyond them it is open again."""
_OVERDUE, _LEAST_OVERDUE = 3.0, 1.0
"""A probe has passed when it was not refused for so many times as long as the last refusal took, and so many seconds:
answers may take minutes, refusals do not."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause in force. `until` is monotonic; None until somebody resumes it."""

    until: float | None
    reason: str
    by_operator: bool = False

    def left(self, now: float) -> float:
        """Seconds that are left of it; infinite until somebody resumes it."""
        return float("inf") if self.until is None else max(self.until - now, 0.0)


class Brake:
    """The brake of one model group of one lane. Pure: the clock is passed in, `noise` gives 0 to 1.

    Open, it does nothing. `refused` closes it until the longest deadline that any refusal has named. Then one call goes
    as a probe; until it has passed nobody else goes. Then two may be out without an answer, then four, and so on, with
    every answer and every half second, until the lane is open again. Refusals of calls that were sent before the pause
    began only prolong it: a hundred calls that meet the same wall are one pause.

    Where refusals name no deadline, a pause lasts a second; if its probe is refused as well, to the end of the minute
    of the wall clock (the monotonic one plus `wall_offset`), since that is how most windows are counted; then a minute.
    """

    def __init__(self, noise: Callable[[], float], *, wall_offset: float = 0.0) -> None:
        self._noise = noise
        self._wall_offset = wall_offset
        self._until = float("-inf")
        self._era = 0
        """Counts the pauses and their ends: what was granted in another era does not concern the brake any more."""
        self._reason = ""
        self._unexplained = 0
        """Pauses in a row for which no deadline was named."""
        self._closed = False
        self._allowed = 1
        """Calls that may be out without an answer while the brake is closed; more with the time since `_passed_at`."""
        self._out = 0
        """Calls granted since the last pause began that have no answer yet."""
        self._overdue = _LEAST_OVERDUE
        self._passed_at = float("inf")
        self.pauses = 0

    def resume(self) -> None:
        """Ends the pause at once; the next call is still a probe."""
        self._until = float("-inf")

    @property
    def open(self) -> bool:
        """Whether it holds nobody back any more since the last refusal."""
        return not self._closed

    def paused(self, now: float) -> Pause | None:
        """The pause in force, None when calls may go."""
        return Pause(self._until, self._reason) if self._until > now else None

    def ready_at(self, now: float) -> float:
        """When the next call may go, as far as is known before the next answer."""
        if not self._closed or self._out < self._allowed:
            return max(self._until, now)
        at, allowed = self._passed_at, self._allowed * 2
        while allowed <= self._out and allowed <= _RAMP_END:
            at, allowed = at + _RAMP_STEP, allowed * 2
        return max(self._until, at, now)

    def granted(self, now: float) -> int:
        """A call goes. Gives the era that its end must name."""
        if self._closed:
            self._out += 1
            if self._passed_at == float("inf"):
                self._passed_at = now + self._overdue
            while self._closed and self._out > self._allowed:
                self._double(self._passed_at + _RAMP_STEP)
        return self._era

    def refused(self, wait: float | None, reason: str, era: int, now: float, took: float = 0.0) -> float | None:
        """The upstream refused a call that was granted in `era`, `took` seconds after that; `wait` is what it asked
        for, in seconds. Gives the moment at which a window is thought to end where the upstream names none."""
        guess = None
        if era == self._era:
            if wait is None:
                wait, guess = self._back_off(now, took)
                self._unexplained += 1
            self._era += 1
            self._out, self._allowed, self._closed = 0, 1, True
            self._passed_at = float("inf")
            self._overdue = _LEAST_OVERDUE + _OVERDUE * took
            self.pauses += 1
        until = now + (wait or 0.0) * (1 + _JITTER * self._noise())
        if until > self._until:
            self._until, self._reason = until, reason
        return guess

    def answered(self, era: int, now: float) -> None:
        """A call was answered with anything but a refusal."""
        if not self._closed or era != self._era:
            return
        self._out -= 1
        self._unexplained = 0
        self._double(now + _RAMP_STEP)

    def left(self, era: int) -> None:
        """A call ended without any answer (its client left, the connection failed): another may take its place."""
        if self._closed and era == self._era:
            self._out -= 1
            if self._allowed == 1:
                self._passed_at = float("inf")

    def _double(self, next_at: float) -> None:
        self._allowed *= 2
        self._passed_at = next_at
        if self._allowed > _RAMP_END:
            self._closed, self._out = False, 0
            self._era += 1

    def _back_off(self, now: float, took: float) -> tuple[float, float | None]:
        if self._unexplained == 0:
            return _FIRST_BACK_OFF, None
        if self._unexplained > 1:
            return MINUTE, None
        sent_at = now - took
        ends_at = sent_at + MINUTE - (sent_at + self._wall_offset) % MINUTE
        return max(ends_at + _PAST_THE_MINUTE - now, _FIRST_BACK_OFF), ends_at

    def __repr__(self) -> str:
        state = f"{self._out} of {self._allowed} out" if self._closed else "open"
        return f"<Brake {state}, {self.pauses} pauses>"
