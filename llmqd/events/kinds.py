"""The kinds of event, and which of them a listener wants.

In JSON an event is its fields beside `type`, `id` and `at` (RFC 3339, UTC). Fields named `*_ms` are milliseconds,
`seconds` are seconds; what is not known is null.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import msgspec

from llmqd.usage import dollars

if TYPE_CHECKING:
    from llmqd.call import Call, Record
    from llmqd.errors import CallRefused


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What every event can say: the lane and the upstream that it happened in, and the session that it concerns."""

    type: ClassVar[str]

    lane: str | None = None
    upstream: str | None = None
    session: str | None = None


class CallEvent(Event, frozen=True, kw_only=True, gc=False):
    """An event of one call."""

    request_id: str
    model: str | None = None
    priority: int


class Queued(CallEvent, frozen=True, kw_only=True, gc=False):
    """A call has to wait. `position` 1 is next; `eta_ms` is null while nobody can know."""

    type: ClassVar[str] = "queued"

    position: int
    eta_ms: float | None = None

    @classmethod
    def of(cls, call: Call, lane: str, *, position: int, eta: float | None) -> Self:
        """`eta` in seconds."""
        eta_ms = None if eta is None else round(eta * 1000, 1)
        return cls(**_about(call, lane), request_id=call.id, priority=call.priority, position=position, eta_ms=eta_ms)


class Started(CallEvent, frozen=True, kw_only=True, gc=False):
    """A call has got its turn and goes upstream. `attempt` counts from 1; a retry is another one."""

    type: ClassVar[str] = "started"

    queued_ms: float
    attempt: int = 1

    @classmethod
    def of(cls, call: Call, lane: str, *, waited: float, attempt: int = 1) -> Self:
        """`waited` in seconds since the call arrived."""
        queued_ms = round(waited * 10_000) / 10
        return cls(
            lane=lane,
            upstream=call.upstream,
            session=call.session.id,
            model=call.model,
            request_id=call.id,
            priority=call.priority,
            queued_ms=queued_ms,
            attempt=attempt,
        )


class Finished(CallEvent, frozen=True, kw_only=True, gc=False):
    """A call that was sent, or whose client left, has ended. `status`, `error`: as in the ledger."""

    type: ClassVar[str] = "finished"

    status: str
    http_status: int | None = None
    error: str | None = None
    attempts: int = 0
    queued_ms: float | None = None
    first_byte_ms: float | None = None
    total_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: str | None = None
    """Exact, as a decimal in a string."""

    @classmethod
    def of(cls, record: Record) -> Self:
        """The end of a closed record."""
        call, outcome = record.call, record.outcome
        return cls(
            lane=outcome.lane,
            upstream=call.upstream,
            session=call.session.id,
            model=call.model,
            request_id=call.id,
            priority=call.priority,
            status=outcome.status,
            http_status=outcome.http_status,
            error=outcome.error,
            attempts=outcome.attempts,
            queued_ms=outcome.queued_ms,
            first_byte_ms=outcome.first_byte_ms,
            total_ms=outcome.total_ms,
            input_tokens=None if outcome.usage is None else outcome.usage.input,
            output_tokens=None if outcome.usage is None else outcome.usage.output,
            cost_usd=None if outcome.cost is None else dollars(outcome.cost.total),
        )


class Refused(CallEvent, frozen=True, kw_only=True, gc=False):
    """llmqd has answered a call itself, with the error `code`."""

    type: ClassVar[str] = "refused"

    code: str
    http_status: int
    message: str
    position: int | None = None
    eta_ms: float | None = None

    @classmethod
    def of(cls, call: Call, error: CallRefused, lane: str | None) -> Self:
        """What was answered to whom. For `Cancelled`, use the class of the same error: `Cancelled.of`."""
        return cls(
            **_about(call, lane),
            request_id=call.id,
            priority=call.priority,
            code=error.code,
            http_status=error.status,
            message=error.message,
            position=error.position,
            eta_ms=None if error.eta is None else round(error.eta * 1000, 1),
        )


class Cancelled(Refused, frozen=True, kw_only=True, gc=False):
    """An operator has taken a waiting call out of the queue; its client got the error."""

    type: ClassVar[str] = "cancelled"


class Paused(Event, frozen=True, kw_only=True, gc=False):
    """A lane lets nobody through for `seconds`; null: until it is resumed. `by`: `operator` or `upstream`."""

    type: ClassVar[str] = "paused"

    reason: str
    seconds: float | None
    by: str


class Resumed(Event, frozen=True, kw_only=True, gc=False):
    """A lane lets calls through again. `by`: `operator`, or `time` when the pause was over."""

    type: ClassVar[str] = "resumed"

    by: str


class LimitLearned(Event, frozen=True, kw_only=True, gc=False):
    """A limit in force has changed by what the upstream said. `before` was in force until now; null: there was none.

    `dimension` and `group` are as in `GET /queue`; `source` says where it was read, for example `headers`.
    """

    type: ClassVar[str] = "limit_learned"

    dimension: str
    group: str
    limit: float
    before: float | None
    source: str


class Alert(Event, frozen=True, kw_only=True, gc=False):
    """Somebody should look at this. `name` is stable, for programs; `message` is a sentence, for people."""

    type: ClassVar[str] = "alert"

    name: str
    message: str


KINDS: tuple[type[Event], ...] = (
    Queued, Started, Finished, Paused, Resumed, LimitLearned, Alert, Cancelled, Refused,
)  # fmt: skip
TYPES = tuple(kind.type for kind in KINDS)
"""The names of all types of event."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a listener wants: of any of these types, lanes, sessions; an empty set means all. `own`: only those
    that happened in this daemon."""

    types: frozenset[str] = frozenset()
    lanes: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    own: bool = False

    def has(self, event: Event, *, own: bool = True) -> bool:
        """Whether this event is one of them. An event of no session is of none of the wanted ones."""
        return (
            (own or not self.own)
            and (not self.types or event.type in self.types)
            and (not self.lanes or event.lane in self.lanes)
            and (not self.sessions or event.session in self.sessions)
        )


EVERYTHING = Wanted()


def wanted_types(names: Iterable[str]) -> frozenset[str]:
    """Checks names of types. Raises ValueError naming the unknown one and all that are known."""
    chosen = frozenset(names)
    if unknown := sorted(chosen - set(TYPES)):
        raise ValueError(f"{unknown[0]!r} is not a type of event; there are {', '.join(TYPES)}")
    return chosen


def _about(call: Call, lane: str | None) -> dict[str, str | None]:
    return {"lane": lane, "upstream": call.upstream, "session": call.session.id, "model": call.model}
