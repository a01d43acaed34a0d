"""Tells what happens in one lane, as events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from llmqd.events.kinds import Event, LimitLearned, Paused, Queued, Resumed, Started

if TYPE_CHECKING:
    from llmqd.call import Call
    from llmqd.lane.learn import Learned


class Announcer:
    """Speaks for one lane. `publish` is told every event."""

    def __init__(self, lane: str, upstream: str, publish: Callable[[Event], object]) -> None:
        self._lane = lane
        self._upstream = upstream
        self._publish = publish

    def queued(self, call: Call, position: int, eta: float | None) -> None:
        """A call has to wait."""
        self._publish(Queued.of(call, self._lane, position=position, eta=eta))

    def started(self, call: Call, now: float) -> None:
        """A call has its turn; `now` is the monotonic clock."""
        self._publish(Started.of(call, self._lane, waited=now - call.arrived))

    def paused(self, reason: str, seconds: float | None, by: str) -> None:
        """Nobody goes for so long; `by` is `operator` or `upstream`."""
        self._publish(Paused(lane=self._lane, upstream=self._upstream, reason=reason, seconds=seconds, by=by))

    def resumed(self) -> None:
        """An operator lets calls through again."""
        self._publish(Resumed(lane=self._lane, upstream=self._upstream, by="operator"))

    def learned(self, limits: Iterable[Learned], group: str) -> None:
        """Limits in force have changed by what the upstream said."""
        for limit in limits:
            self._publish(
                LimitLearned(
                    lane=self._lane,
                    upstream=self._upstream,
                    dimension=limit.setting or limit.dimension,
                    group=group,
                    limit=limit.amount,
                    before=None,
                    source=limit.source,
                )
            )
