"""What a lane does after its upstream said no: one pause for everybody, then one probe, then more and more again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 1.0, 60.0
"""Seconds of pause where the upstream names none: doubled with each probe that is refused as well."""
_JITTER = 0.1
"""Share by which a pause is lengthened at random, so that several daemons on one key do not come back together."""
_RAMP_END = 64
"""Calls in flight up to which a lane that comes back doubles with each success; beyond it is open again."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause in force. `until` is monotonic; None until somebody resumes it."""

    until: float | None
    reason: str
    by_operator: bool = False


class Brake:
    """The brake of one model group of one lane. Pure: the clock is passed in, `noise` gives 0 to 1.

    Open, it does nothing. `refused` closes it until the longest deadline that any refusal has named. Then one call goes
    as a probe; while it has no answer nobody else goes. When the probe is answered, two may be out without an answer,
    then four, and so on, until the lane is open again. Refusals of calls that were sent before the pause began only
    prolong it: a hundred calls that meet the same wall are one pause.
    """

    def __init__(self, noise: Callable[[], float]) -> None:
        self._noise = noise
        self._until = float("-inf")
        self._era = 0
        """Counts the pauses and their ends: what was granted in another era does not concern the brake any more."""
        self._reason = ""
        self._back_off = _FIRST_BACK_OFF
        self._allowed = 0
        """Calls that may be out without an answer; 0 is any number."""
        self._out = 0
        """Calls granted since the last pause began that have no answer yet."""
        self._operator: Pause | None = None
        self.pauses = 0

    def pause(self, until: float | None, reason: str) -> None:
        """An operator's pause: stays until its end or `resume`."""
        self._operator = Pause(until, reason, by_operator=True)

    def resume(self) -> None:
        """Ends every pause at once; where the upstream had refused, the next call is still a probe."""
        self._operator = None
        self._until = float("-inf")

    def paused(self, now: float) -> Pause | None:
        """The pause in force, None when calls may go."""
        operator = self._operator
        if operator is not None and (operator.until is None or operator.until > now):
            return operator
        return Pause(self._until, self._reason) if self._until > now else None

    def ready_at(self, now: float) -> float:
        """When the next call may go; infinite while that depends on an answer or on an operator."""
        operator = self._operator
        if operator is not None:
            if operator.until is None:
                return float("inf")
            if operator.until > now:
                return max(operator.until, self._until)
            self._operator = None
        if self._allowed and self._out >= self._allowed:
            return float("inf")
        return max(self._until, now)

    def granted(self) -> int:
        """A call goes. Gives the era that its end must name."""
        if self._allowed:
            self._out += 1
        return self._era

    def refused(self, wait: float | None, reason: str, era: int, now: float) -> None:
        """The upstream refused a call that was granted in `era`; `wait` is what it asked for, in seconds."""
        if era == self._era:
            if wait is None:
                wait, self._back_off = self._back_off, min(self._back_off * 2, _LONGEST_BACK_OFF)
            self._era += 1
            self._out = 0
            self._allowed = 1
            self.pauses += 1
        until = now + (wait or 0.0) * (1 + _JITTER * self._noise())
        if until > self._until:
            self._until, self._reason = until, reason

    def answered(self, era: int) -> None:
        """A call was answered with anything but a refusal."""
        if not self._allowed or era != self._era:
            return
        self._out -= 1
        self._back_off = _FIRST_BACK_OFF
        self._allowed *= 2
        if self._allowed > _RAMP_END:
            self._allowed, self._out = 0, 0
            self._era += 1

    def left(self, era: int) -> None:
        """A call ended without any answer (its client left, the connection failed): another may take its place."""
        if self._allowed and era == self._era:
            self._out -= 1

    def __repr__(self) -> str:
        state = f"{self._out} of {self._allowed} out" if self._allowed else "open"
        return f"<Brake {state}, {self.pauses} pauses>"
