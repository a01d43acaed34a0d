"""A lane as all daemons together see it, from whoever owns it; by itself where nobody can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmqd.cluster import codec
from llmqd.lane.lane import Lane

if TYPE_CHECKING:
    from llmqd.lane.amounts import Ask
    from llmqd.lane.brake import Pause
    from llmqd.lane.estimate import EstimateError
    from llmqd.lane.gate import Figure
    from llmqd.lane.learn import Learned
    from llmqd.lane.queue import Ticket


class SeenLane(Lane):
    """Shows `view`, or, `alone`, what it is itself."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.alone = False
        self.view = codec.View()
        self._numbers: dict[Ticket, int] = {}
        self._expected: dict[int, tuple[int, float | None, float]] = {}
        """Of calls that wait, by number: place, seconds until the turn, and when that was said."""
        super().__init__(*given, **named)

    @property
    def together(self) -> dict[str, object]:
        """The lane over all daemons, for people."""
        view = self.view
        counts: dict[str, object] = {"waiting": view.waiting, "running": view.running, "granted": view.granted}
        return counts | {"members": view.members, "alone": self.alone}

    @property
    def requests_per_minute(self) -> float:
        return super().requests_per_minute if self.alone else self.view.requests_per_minute

    @property
    def paused(self) -> Pause | None:
        if self.alone:
            return super().paused
        pause = self.view.paused
        return pause if pause is not None and (pause.until is None or pause.until > self._clock()) else None

    def pause_left(self, model: str | None) -> float:
        if self.alone:
            return super().pause_left(model)
        return 0.0 if (pause := self.paused) is None else pause.left(self._clock())

    @property
    def pauses(self) -> int:
        return super().pauses if self.alone else self.view.pauses

    def estimate_error(self) -> EstimateError:
        error = self.view.error
        return super().estimate_error() if self.alone or error is None else error

    def figures(self) -> list[Figure]:
        return super().figures() if self.alone else list(self.view.figures)

    def learned(self) -> list[tuple[str, Learned]]:
        return super().learned() if self.alone else list(self.view.learned)

    def eta(self, position: int, ticket: Ticket | None = None) -> float | None:
        if self.alone:
            return super().eta(position, ticket)
        known = None if ticket is None else self._expected.get(self._numbers.get(ticket, -1))
        if known is not None:
            return None if known[1] is None else max(known[1] - (self._clock() - known[2]), 0.0)
        rate = self.view.requests_per_minute
        return None if self.paused is not None or not rate else (self.view.waiting + position) * 60.0 / rate

    def position(self, ticket: Ticket) -> int:
        known = None if self.alone else self._expected.get(self._numbers.get(ticket, -1))
        return super().position(ticket) if known is None else known[0]

    def _passes(self, ticket: Ticket, ask: Ask) -> bool:
        return self.alone and super()._passes(ticket, ask)
