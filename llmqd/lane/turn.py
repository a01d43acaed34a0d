"""A call's turn in a lane: waited for on entry, settled and given back on exit, whatever happens in between."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmqd.lane.throttle import Demand

if TYPE_CHECKING:
    from llmqd.call import Call
    from llmqd.lane.lane import Lane
    from llmqd.lane.queue import Ticket
    from llmqd.lane.standing import Standing
    from llmqd.providers.limit_values import Observed
    from llmqd.providers.refusals import Verdict
    from llmqd.usage import Usage


class Turn:
    """`async with Turn(lane, call, demand) as turn:` waits for the call's turn and holds what it takes of the limits.

    Entering raises QueueFull, WouldExceedDeadline, DeadlineExceeded, TooLargeForLimit, Cancelled or ShuttingDown
    instead of a turn. A turn that was left may be entered again: the call, refused upstream, then waits at the place
    that it had. `standing` is what the call takes along from lane to lane, and told of a wait that ends without a turn.

    Inside, `poised` waits for the very moment at which the request may leave, `sent` reports that it does, `answered`
    or `refused` what the upstream said, `used` the tokens in the end. What was never sent costs nothing.
    """

    __slots__ = ("_call", "_counted", "_demand", "_lane", "_sent", "_standing", "_ticket", "_usage")

    def __init__(
        self,
        lane: Lane,
        call: Call,
        demand: Demand = Demand(),  # noqa: B008 (immutable)
        standing: Standing | None = None,
    ) -> None:
        self._lane = lane
        self._call = call
        self._demand = demand
        self._standing = standing
        self._ticket: Ticket | None = None
        self._sent = False
        self._counted = True
        self._usage: Usage | None = None

    @property
    def metered(self) -> bool:
        """Whether it matters at which moment the request leaves: else nobody need ask `poised` or tell `flushed`."""
        return self._ticket is not None and self._lane.is_metered(self._ticket)

    async def poised(self) -> None:
        """The request is ready to leave: returns when it may, mostly at once. Then `sent` must follow without delay."""
        if self._ticket is not None:
            await self._lane.poised(self._ticket)

    def sent(self) -> None:
        """The request leaves now."""
        assert self._ticket is not None
        self._sent = True
        self._lane.sent(self._ticket)

    def flushed(self) -> None:
        """The request has left by now: an event loop may write a little later than it is told to."""
        if self._ticket is not None:
            self._lane.flushed(self._ticket)

    def answered(self, observed: tuple[Observed, ...]) -> None:
        """An answer that is no refusal has begun; `observed` are the limits in its headers."""
        assert self._ticket is not None
        self._lane.answered(self._ticket, observed)

    def refused(self, verdict: Verdict, observed: tuple[Observed, ...]) -> None:
        """The upstream refused for want of quota."""
        assert self._ticket is not None
        self._counted = False
        self._lane.refused(self._ticket, verdict, observed)

    def failed(self) -> None:
        """No answer came, or one that providers do not count."""
        self._counted = False

    @property
    def waited(self) -> bool:
        """Whether the turn did not come at once."""
        return self._ticket is not None and self._ticket.turn is not None

    @property
    def counted(self) -> bool:
        """Whether the provider counts what was sent in this turn, as far as is known."""
        return self._sent and self._counted

    def used(self, usage: Usage | None) -> None:
        """What the call has consumed, as far as is known."""
        self._usage = usage

    async def __aenter__(self) -> Self:
        self._sent, self._counted, self._usage = False, True, None
        try:
            if self._ticket is None:
                self._ticket = self._lane.enter(self._call, self._demand, self._standing)
            else:
                self._lane.reenter(self._ticket)
            if not self._ticket.granted:
                await self._lane.wait(self._ticket)
        except BaseException as error:
            if self._standing is not None:
                self._standing.left(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._ticket is not None
        if self._sent:
            self._lane.leave(self._ticket, self._usage, counted=self._counted)
        else:
            self._lane.withdraw(self._ticket)
