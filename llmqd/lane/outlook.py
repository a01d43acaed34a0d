"""What a call that waits has before it: the time until its turn, and whether its deadline lets it wait so long."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmqd.errors import WouldExceedDeadline
from llmqd.lane.throttle import Demand

if TYPE_CHECKING:
    from llmqd.lane.queue import CallQueue, Ticket
    from llmqd.lane.throttle import Throttle

_SURE = 1.1
"""How far beyond its deadline a call must be before it is refused for that without waiting."""


class Outlook:
    """Looks ahead for one lane, changing nothing. `clock` is monotonic; waits are in seconds, None: nobody can know."""

    def __init__(self, queue: CallQueue, throttle: Throttle, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._throttle = throttle
        self._clock = clock

    def eta(self, position: int, ticket: Ticket | None = None) -> float | None:
        """The wait of the call at this position: 1 is next."""
        ask = ticket.ask if ticket is not None else None
        if ask is None:
            head = self._queue.head(self._clock())
            ask = head.ask if head is not None and head.ask is not None else self._throttle.ask(None, Demand())
        now = self._clock()
        before = self._queue.typical(ask) if self._throttle.by_tokens else None
        return self._throttle.wait_for(position, ask, now, before)

    def refuse_hopeless(self, ticket: Ticket, position: int, eta: float | None, *, rate_is_known: bool) -> None:
        """Raises WouldExceedDeadline where even the calls that are certain to go first take longer than it may wait."""
        if ticket.call.max_wait is None or eta is None:
            return
        left = max(ticket.until - self._clock(), 0.0)
        least = self.eta(self._certain(ticket, rate_is_known) + 1, ticket)
        if least is not None and least > left * _SURE:
            raise WouldExceedDeadline(
                f"the wait ahead is about {eta:.0f} s, longer than the {round(left, 2):g} s that this call may wait",
                position=position,
                eta=eta,
                retry_after=max(eta - left, 1.0),
            )

    def _certain(self, ticket: Ticket, rate_is_known: bool) -> int:
        """The calls that are certain to go before this one.

        Those of higher priority are, and those of its own flow: among all others fairness may let it go before calls
        that came first. While the rate is still being found, the flow's own calls may go sooner than it says now.
        """
        above = self._queue.ahead_of(ticket.call.priority - 1)
        return above + self._queue.ahead_in_flow(ticket) if rate_is_known else above
