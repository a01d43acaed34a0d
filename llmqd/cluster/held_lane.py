"""A shared lane as far as calls have their turns: what becomes of each is told to the lane's owner.

Where nothing limits the lane, calls take their turns without asking, and the owner is told only how many do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from llmqd.cluster import codec
from llmqd.cluster.held_turn import HeldTurn
from llmqd.cluster.past import Past
from llmqd.cluster.seen_lane import SeenLane
from llmqd.lane.amounts import Ask

if TYPE_CHECKING:
    from llmqd.cluster.redis_time import RedisTime
    from llmqd.cluster.shared_lane import SharedLane
    from llmqd.lane.queue import Ticket
    from llmqd.providers.limit_values import Observed
    from llmqd.providers.refusals import Verdict
    from llmqd.usage import Usage

_OVER = -1.0
"""For so many seconds a turn is valid that a daemon has given itself, once others share the lane again."""
_LATER = 0.0001
"""Seconds by which a call left later than it was said to, from which on that is told."""
_REMEMBERED = 1024
"""Calls that were refused or failed whose numbers are remembered until they ask again."""


class Seat(Protocol):
    """The way to whoever owns the lane."""

    @property
    def time(self) -> RedisTime: ...

    def send(self, lane: HeldLane, message: list[Any], *, soon: bool = True) -> None: ...

    def add(self, lane: SharedLane) -> None: ...

    def retuned(self, lane: SharedLane) -> None: ...


class HeldLane(SeenLane):
    """Keeps the turns that calls have here. `seat` is the way to the lane's owner."""

    def __init__(self, *given: Any, seat: Seat, **named: Any) -> None:
        self.past = Past()
        self._seat = seat
        self._joined = False
        self._last = 0
        self._left: deque[Ticket] = deque()
        self._away: dict[int, Ticket] = {}
        """Calls that have asked for a turn, by number."""
        self._held: dict[Ticket, HeldTurn] = {}
        """The turns that the owner knows of."""
        self._freely = [0, 0]
        """Turns that it does not know of and that go on, and those taken since it was told of the number."""
        super().__init__(*given, **named)

    # Turns that are taken without asking.

    def _goes_freely(self, ticket: Ticket) -> bool:
        """Lets a call through at once where nothing limits the lane and nobody waits before it."""
        if not (self.view.free and self._joined and self._queue.waiting == 1):
            return False
        now = self._clock()
        self._queue.head(now)
        self._queue.take()
        self._freely[1] += 1
        self._unsent.add(ticket)
        self._begin(ticket, now)
        return True

    def _begin(self, ticket: Ticket, now: float) -> None:
        self._turns[ticket] = now
        self.granted += 1
        self._announcer.started(ticket.call, now)
        if ticket.turn is not None:
            ticket.turn.set_result(None)

    def tell_free(self) -> None:
        """Tells the owner how many calls go without its knowledge, where that has changed."""
        told, (running, begun) = self._freely[0], (len(self._turns) - len(self._held), self._freely[1])
        if self._joined and (begun or running != told):
            self._freely = [running, 0]
            self._send(["f", running, begun])

    def _hold_all(self, now: float) -> None:
        """The turns that were taken here are such as the owner knows of, from now on; one that was not used is over."""
        for ticket, since in self._turns.items():
            if ticket not in self._held:
                sent = None if ticket in self._unsent else since
                self._held[ticket] = HeldTurn(self._number(ticket), now, _OVER, sent=sent)
                ticket.grant = None
        self._unsent.clear()
        self._freely = [0, 0]

    # What becomes of a turn, as in Lane.

    def sent(self, ticket: Ticket) -> None:
        now = self._clock()
        self.past.add(model_of(ticket), now, tokens_of(ticket), alone=ticket not in self._held)
        held = self._held.get(ticket)
        if held is None:
            super().sent(ticket)
            return
        held.sent = now
        self._tell_left(held, now)

    def is_metered(self, ticket: Ticket) -> bool:
        """Another daemon may meter it."""
        return True

    def flushed(self, ticket: Ticket) -> None:
        held, now = self._held.get(ticket), self._clock()
        if held is None:
            super().flushed(ticket)
        elif held.sent is not None and now - held.sent > _LATER:
            self._tell_left(held, now)

    def _tell_left(self, held: HeldTurn, now: float) -> None:
        time = self._seat.time
        self._send(["s", held.number, time.there(held.ready), time.there(now)], soon=self._crowded)

    def answered(self, ticket: Ticket, observed: tuple[Observed, ...]) -> None:
        held = self._held.get(ticket)
        if held is None:
            super().answered(ticket, observed)
        else:
            self._send(["a", held.number, [asdict(each) for each in observed]], soon=self._crowded)

    def refused(self, ticket: Ticket, verdict: Verdict, observed: tuple[Observed, ...]) -> None:
        held = self._held.get(ticket)
        if held is None and ticket.grant is not None:
            super().refused(ticket, verdict, observed)
            return
        self.refusals += 1
        if held is None:  # of this one the owner has to know
            at = self._turns[ticket]
            held = self._held[ticket] = HeldTurn(self._number(ticket), at, sent=at)
            time = self._seat.time
            self.view = self.view._replace(free=False)
            self._send(["t", codec.ask(held.number, ticket, time.offset), time.there(at)])
        self._send(["r", held.number, asdict(verdict), [asdict(each) for each in observed]])

    def leave(self, ticket: Ticket, usage: Usage | None, *, counted: bool) -> None:
        held = self._held.pop(ticket, None)
        at = self._turns[ticket] if held is None or held.sent is None else held.sent
        self.past.settle(model_of(ticket), at, tokens_of(ticket), usage, counted=counted)
        if counted:
            self._numbers.pop(ticket, None)
        else:
            self._remember(ticket)
        if held is None:
            super().leave(ticket, usage, counted=counted)
            return
        del self._turns[ticket]
        self._send(["l", held.number, codec.used(usage), counted], soon=self._crowded)

    def withdraw(self, ticket: Ticket) -> None:
        held = self._held.pop(ticket, None)
        self._numbers.pop(ticket, None)
        if held is None:
            if ticket in self._turns:
                super().withdraw(ticket)
            return
        del self._turns[ticket]
        self._send(["w", held.number])

    # Between here and the owner.

    @property
    def _crowded(self) -> bool:
        """Whether anybody waits for what others give back, here or elsewhere."""
        return bool(self._queue.waiting or self.view.waiting)

    def _send(self, message: list[Any], *, soon: bool = True) -> None:
        if self._joined:
            self._seat.send(self, message, soon=soon)

    def _number(self, ticket: Ticket) -> int:
        number = self._numbers.get(ticket)
        if number is None:
            self._last += 1
            number = self._numbers[ticket] = self._last
        return number

    def _remember(self, ticket: Ticket) -> None:
        """A call that was refused or failed may come back for another turn, under its number."""
        self._left.append(ticket)
        if len(self._left) > _REMEMBERED:
            gone = self._left.popleft()
            if gone not in self._held and self._away.get(self._numbers.get(gone, -1)) is not gone:
                self._numbers.pop(gone, None)


def ask_of(ticket: Ticket) -> Ask:
    """What a call is going to need, as far as is known."""
    return ticket.ask or Ask()


def model_of(ticket: Ticket) -> str:
    """The model that it asks for."""
    return ask_of(ticket).model or ""


def tokens_of(ticket: Ticket) -> tuple[float, float]:
    """The tokens that it is expected to take, in and out."""
    return ask_of(ticket).input_tokens, ask_of(ticket).output_tokens
