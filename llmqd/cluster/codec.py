"""How calls, answers and the state of lanes look as plain data between daemons. Times on the way are Redis's."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from llmqd import errors
from llmqd.call import NO_SESSION
from llmqd.lane.brake import Pause
from llmqd.lane.estimate import BodySize, EstimateError
from llmqd.lane.gate import Figure
from llmqd.lane.learn import Found, Learned
from llmqd.lane.throttle import Demand, Known
from llmqd.providers.limit_values import Observed
from llmqd.providers.refusals import Verdict
from llmqd.usage import Usage

if TYPE_CHECKING:
    from llmqd.lane.ticket import Ticket

Plain = Any
"""What JSON can say."""

_REFUSALS: dict[str, type[errors.CallRefused]] = {
    one.code: one
    for one in (errors.QueueFull, errors.WouldExceedDeadline, errors.DeadlineExceeded, errors.TooLargeForLimit)
}


class Distant:
    """A call that waits in another daemon, as far as a lane needs to know of it."""

    __slots__ = (
        "agent", "arrived", "client", "id", "key", "limited_as", "max_wait", "no_queue", "priority", "request_bytes",
        "session", "user", "weight",
    )  # fmt: skip

    def __init__(self, plain: Plain) -> None:
        self.id, self.limited_as, self.priority, self.key, self.weight, self.request_bytes, self.no_queue = plain
        self.agent = self.user = self.client = None
        self.session = NO_SESSION
        self.max_wait: float | None = None
        self.arrived = 0.0


class Asked(NamedTuple):
    """A call that asks for a turn: since and until when it waits (infinite: no end), and what it needs."""

    number: int
    call: Distant
    since: float
    until: float
    demand: Demand


def ask(number: int, ticket: Ticket, offset: float) -> Plain:
    """A waiting call as plain data."""
    call, demand = ticket.call, ticket.demand or Demand()
    size = demand.size
    return [
        number,
        [call.id, call.limited_as, call.priority, ticket.flow, ticket.weight, call.request_bytes, call.no_queue],
        ticket.since + offset,
        None if call.max_wait is None else ticket.until + offset,
        [size.text, size.media, demand.max_tokens, demand.choices],
    ]


def asked(plain: Plain, offset: float) -> Asked:
    """The same as it arrives."""
    number, call, since, until, (text, media, most, choices) = plain
    return Asked(
        number,
        Distant(call),
        since - offset,
        math.inf if until is None else until - offset,
        Demand(BodySize(text, media), most, choices),
    )


def observed(plain: Plain) -> tuple[Observed, ...]:
    """Limits that an answer's headers told."""
    return tuple(Observed(**one) for one in plain)


def verdict(plain: Plain) -> Verdict:
    """What a refusal means."""
    return Verdict(**plain)


def used(usage: Usage | None) -> Plain:
    """What a call has used, as plain data."""
    return None if usage is None else msgspec.structs.asdict(usage)


def usage(plain: Plain) -> Usage | None:
    """The same as it arrives."""
    return None if plain is None else Usage(**plain)


def refusal(number: int, error: errors.CallRefused) -> Plain:
    """Why a call gets no turn."""
    return [number, error.code, error.message, error.retry_after, error.retry, error.position, error.eta]


def refused(plain: Plain) -> errors.CallRefused:
    """The same as it arrives."""
    _, code, message, retry_after, retry, position, eta = plain
    return _REFUSALS.get(code, errors.QueueFull)(
        message, retry_after=retry_after, retry=retry, position=position, eta=eta
    )


class View(NamedTuple):
    """A lane as all daemons together see it, from whoever owns it. Times are local ones of whoever holds it.

    `past` is what all of them have let through in the last minute, its times Redis's. `members` is how many there are,
    `free` whether nothing limits the lane: then calls need not ask.
    """

    waiting: int = 0
    running: int = 0
    granted: int = 0
    requests_per_minute: float = 0.0
    pauses: int = 0
    members: int = 1
    paused: Pause | None = None
    figures: tuple[Figure, ...] = ()
    learned: tuple[tuple[str, Learned], ...] = ()
    known: Known = Known(None, {}, {})
    error: EstimateError | None = None
    past: Plain = ()
    free: bool = False


def view(one: View, offset: float) -> Plain:
    """A view as plain data."""
    known = one.known
    return [
        *one[:6],
        _pause(one.paused, offset),
        [asdict(figure) for figure in one.figures],
        [[group, _learned(each, offset)] for group, each in one.learned],
        [
            _pause(known.operator, offset),
            {name: _pause(each, offset) for name, each in known.pauses.items()},
            {name: _found(each, offset) for name, each in known.found.items()},
        ],
        None if one.error is None else msgspec.structs.asdict(one.error),
        one.past,
        one.free,
    ]


def viewed(plain: Plain, offset: float) -> View:
    """The same as it arrives."""
    waiting, running, granted, rate, pauses, members, pause, figures, learned, known, error, past, free = plain
    operator, held, found = known
    return View(
        waiting,
        running,
        granted,
        rate,
        pauses,
        members,
        _paused(pause, offset),
        tuple(Figure(**each) for each in figures),
        tuple((group, _learnt(each, offset)) for group, each in learned),
        Known(
            _paused(operator, offset),
            {name: each for name, plain in held.items() if (each := _paused(plain, offset)) is not None},
            {name: _finding(each, offset) for name, each in found.items()},
        ),
        None if error is None else EstimateError(**error),
        past,
        free,
    )


def _pause(pause: Pause | None, offset: float) -> Plain:
    if pause is None:
        return None
    return [None if pause.until is None else pause.until + offset, pause.reason, pause.by_operator]


def _paused(plain: Plain, offset: float) -> Pause | None:
    if plain is None:
        return None
    return Pause(None if plain[0] is None else plain[0] - offset, plain[1], plain[2])


def _learned(each: Learned, offset: float) -> Plain:
    ends = None if each.resets_at is None else each.resets_at + offset
    return asdict(each) | {"since": _plain(each.since + offset), "resets_at": ends}


def _learnt(plain: Plain, offset: float) -> Learned:
    ends = None if plain["resets_at"] is None else plain["resets_at"] - offset
    return Learned(**plain | {"since": _number(plain["since"], -1) - offset, "resets_at": ends})


def _found(found: Found, offset: float) -> Plain:
    searched = {one: [*map(_plain, each[:3]), each[3]] for one, each in found.searched.items()}
    return [searched, _plain(found.in_flight), [_learned(each, offset) for each in found.windows]]


def _finding(plain: Plain, offset: float) -> Found:
    searched = {
        one: (_number(rate), _number(ceiling), _number(named), source)
        for one, (rate, ceiling, named, source) in plain[0].items()
    }
    return Found(searched, _number(plain[1]), tuple(_learnt(each, offset) for each in plain[2]))


def _plain(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _number(plain: float | None, sign: int = 1) -> float:
    return sign * math.inf if plain is None else plain
