"""How lanes and calls look in the answers of `/queue`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from llmqd.cluster.seen_lane import SeenLane

if TYPE_CHECKING:
    from llmqd.call import Call
    from llmqd.lane.gate import Figure
    from llmqd.lane.lane import Lane
    from llmqd.lane.learn import Learned
    from llmqd.lane.queue import Ticket
    from llmqd.lane.ticket import Running

Shape = dict[str, object]


class Waiting(NamedTuple):
    """A call that waits, and where: `position` 1 is next in its lane."""

    lane: Lane
    position: int
    ticket: Ticket


class Placed(NamedTuple):
    """A call that runs, and in which lane."""

    lane: Lane
    running: Running


def waiting(lanes: Iterable[Lane], session: str | None) -> Iterator[Waiting]:
    """The waiting calls, lane by lane, in their order; only those of `session` unless it is None."""
    for lane in lanes:
        for position, ticket in enumerate(lane.tickets(), 1):
            if session is None or ticket.call.session.id == session:
                yield Waiting(lane, position, ticket)


def running(lanes: Iterable[Lane], session: str | None) -> Iterator[Placed]:
    """The running calls, lane by lane, the one that began first first; only those of `session` unless it is None."""
    for lane in lanes:
        for one in lane.running_calls():
            if session is None or one.call.session.id == session:
                yield Placed(lane, one)


def lane_shape(lane: Lane, now: float) -> Shape:
    """A lane with its figures and its pause. `now` is the monotonic clock."""
    paused: Shape | None = None
    if (pause := lane.paused) is not None:
        left = None if pause.until is None else round(max(pause.until - now, 0.0), 3)
        by = "operator" if pause.by_operator else "upstream"
        paused = {"by": by, "reason": pause.reason, "seconds_left": left}
    learned = lane.learned()
    return {
        "lane": lane.name,
        "upstream": lane.upstream,
        "waiting": lane.waiting,
        "waiting_bytes": lane.waiting_bytes,
        "running": lane.running,
        "granted": lane.granted,
        "requests_per_minute": lane.requests_per_minute,
        "limits": [_limit_shape(figure, learned) for figure in lane.figures()],
        "paused": paused,
        "cluster": lane.together if isinstance(lane, SeenLane) else None,
    }


def _limit_shape(figure: Figure, learned: list[tuple[str, Learned]]) -> Shape:
    """One limit in force; `source` says where it was learned, null where it is as configured or assumed."""
    from_upstream = figure.learned is not None and figure.learned == figure.limit
    sources = [each.source for group, each in learned if group == figure.group and each.setting == figure.dimension]
    return {
        "dimension": figure.dimension,
        "models": figure.group or None,
        "limit": figure.limit,
        "configured": figure.configured or None,
        "used": round(figure.used, 4),
        "algorithm": figure.algorithm,
        "source": sources[0] if from_upstream and sources else None,
    }


def waiting_shape(one: Waiting, now: float) -> Shape:
    """A waiting call with its position and, where it can be known, its ETA; `deadline_ms` is what is left to wait."""
    lane, position, ticket = one
    call = ticket.call
    eta = lane.eta(position, ticket)
    left = None if call.max_wait is None else _ms(max(ticket.until - now, 0.0))
    return _call_shape(call, lane.name, "waiting") | {
        "waited_ms": _ms(now - ticket.entered),
        "position": position,
        "eta_ms": None if eta is None else _ms(eta),
        "deadline_ms": left,
    }


def running_shape(one: Placed, now: float) -> Shape:
    """A running call: how long it had waited, and how long it has been running."""
    call, since = one.running.call, one.running.since
    return _call_shape(call, one.lane.name, "running") | {
        "waited_ms": _ms(since - call.arrived),
        "running_ms": _ms(now - since),
    }


def _call_shape(call: Call, lane: str, state: str) -> Shape:
    return {
        "request_id": call.id,
        "state": state,
        "lane": lane,
        "upstream": call.upstream,
        "model": call.model,
        "operation": call.operation,
        "stream": call.stream,
        "priority": call.priority,
        "session": call.session.id,
        "agent": call.agent,
        "user": call.user,
        "conversation": call.conversation,
        "tags": call.tags,
        "client": call.client,
        "bytes": call.request_bytes,
        "received_at": rfc3339(call.received_at),
    }


def rfc3339(at: float) -> str:
    """Unix seconds as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
