"""Tells what happens in one lane, as events."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from llmqd.events.kinds import Event, LimitLearned, Paused, Queued, Resumed, Started

if TYPE_CHECKING:
    from llmqd.call import Call
    from llmqd.lane.brake import Pause
    from llmqd.lane.learn import Change


class Pausing(Protocol):
    """Who knows whether the lane pauses."""

    def paused(self, now: float) -> Pause | None: ...


class Announcer:
    """Speaks for one lane. `publish` is told every event."""

    def __init__(self, lane: str, upstream: str, publish: Callable[[Event], object]) -> None:
        self._lane = lane
        self._upstream = upstream
        self._publish = publish
        self.is_paused = False
        """Whether it was told that nobody goes, and not yet that this is over."""

    def queued(self, call: Call, position: int, eta: float | None) -> None:
        """A call has to wait."""
        self._publish(Queued.of(call, self._lane, position=position, eta=eta))

    def started(self, call: Call, now: float) -> None:
        """A call has its turn; `now` is the monotonic clock."""
        self._publish(Started.of(call, self._lane, waited=now - call.arrived))

    def paused(self, reason: str, seconds: float | None, by: str) -> None:
        """Nobody goes for so long; `by` is `operator` or `upstream`."""
        self.is_paused = True
        self._publish(Paused(lane=self._lane, upstream=self._upstream, reason=reason, seconds=seconds, by=by))

    def resumed(self) -> None:
        """An operator lets calls through again."""
        self._resumed("operator")

    def see(self, throttle: Pausing, now: float) -> float:
        """Tells that the pause that was told is over, if it is. Gives the moment at which to ask again (monotonic)."""
        if not self.is_paused:
            return math.inf
        pause = throttle.paused(now)
        if pause is None:
            self._resumed("time")
        return math.inf if pause is None or pause.until is None else pause.until

    def learned(self, changes: Iterable[Change], group: str) -> None:
        """Limits in force have changed by what the upstream said."""
        for limit, before in changes:
            self._publish(
                LimitLearned(
                    lane=self._lane,
                    upstream=self._upstream,
                    dimension=limit.setting or limit.dimension,
                    group=group,
                    limit=limit.amount,
                    before=before or None,
                    source=limit.source,
                )
            )

    def _resumed(self, by: str) -> None:
        self.is_paused = False
        self._publish(Resumed(lane=self._lane, upstream=self._upstream, by=by))
