"""The nouns that travel: a Call on its way through the daemon, and its Record in the ledger."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec

from llmqd.usage import Cost, Usage

if TYPE_CHECKING:
    from llmqd.messages.transcript import Transcript
    from llmqd.telemetry.context import TraceContext

Dialect = Literal["openai", "anthropic", "gemini", "ollama"]
"""Whose wire format a route speaks: decides error shapes, how usage is read, where a key stands."""

OnDisconnect = Literal["cancel", "finish"]
"""What was done when the client left a running call: stop the upstream, or read its answer to the end for the bill."""

SessionSource = Literal["path", "header", "body", "detected", "new", "none"]

Status = Literal["running", "done", "cut", "failed", "cancelled", "abandoned", "refused", "interrupted"]
"""How a call ended: `done` the upstream answered in full (whatever its HTTP status), `cut` the upstream broke off,
`failed` no answer came, `cancelled` the client left while it ran, `abandoned` the client left while it waited,
`refused` llmqd itself said no, `interrupted` the daemon died under it."""

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME, _RANDOM = 10, 16
"""Characters of an id that tell the time, and those by chance."""
_FIVE_BITS = bytes(ord(_CROCKFORD[byte & 31]) for byte in range(256))


def _by_chance() -> Iterator[str]:
    """The characters that tell ids of one millisecond apart; the kernel is asked for those of many at once."""
    while True:
        many = os.urandom(_RANDOM * 256).translate(_FIVE_BITS).decode()
        yield from [many[begin : begin + _RANDOM] for begin in range(0, len(many), _RANDOM)]


_THIS_SECOND = tuple(first + second for first in _CROCKFORD for second in _CROCKFORD)
"""The last two characters of a time, which change while those before them stay for 1,024 ms."""


@lru_cache(maxsize=4)
def _seconds(milliseconds: int) -> str:
    """All but the last two characters of a time, given without the ten bits that these stand for."""
    return "".join([_CROCKFORD[(milliseconds >> shift) & 31] for shift in range(5 * (_TIME - 3), -1, -5)])


_CHANCE = _by_chance()


def new_call_id(now: float) -> str:
    """A time-ordered id: 48 bits of milliseconds and 80 random bits, 26 characters that sort by time (as ULIDs do).

    `now` is the wall clock in seconds since 1970.
    """
    milliseconds = int(now * 1000)
    return _seconds(milliseconds >> 10) + _THIS_SECOND[milliseconds & 1023] + next(_CHANCE)


class SessionRef(msgspec.Struct, frozen=True, gc=False):
    """The session a call belongs to and how that was recognised."""

    id: str | None = None
    source: SessionSource = "none"


NO_SESSION = SessionRef()


class Call(msgspec.Struct, gc=False):
    """One call of a client: what is known of it before it is sent upstream.

    `path` is the raw path that the upstream will see, still percent-encoded, without the query (queries can hold keys).
    `received_at` is the wall clock (Unix seconds) for the ledger, `arrived` the monotonic clock for durations.
    `priority` is 0 (first) to 9. `max_wait` bounds waiting for a turn, in seconds; None means no bound.
    `text_bytes` and `media` are the size of a JSON body as tokens are estimated from it: bytes without base64 content,
    and how many pictures, sounds or documents that was; 0 where the body was not read. `model` is the one that the
    client asks for, `sent_model` the one that the upstream is asked for where its route gives it another name. `key` is
    the name of the client key that it was made with, `weight` that key's share beside others. `reserved_tokens` and
    `reserved_pico` (picodollars) are what it was expected to take, where it falls under a budget. `trace` is its place
    in a trace; None where it is not traced.
    """

    id: str
    received_at: float
    arrived: float
    method: str
    path: str
    dialect: Dialect
    operation: str
    upstream: str
    model: str | None = None
    stream: bool = False
    priority: int = 5
    max_wait: float | None = None
    no_queue: bool = False
    session: SessionRef = NO_SESSION
    agent: str | None = None
    user: str | None = None
    conversation: str | None = None
    tags: tuple[str, ...] = ()
    store: str = "full"
    client: str | None = None
    client_retry: int = 0
    key: str | None = None
    weight: float = 1.0
    request_bytes: int = 0
    text_bytes: int = 0
    media: int = 0
    sent_model: str | None = None
    reserved_tokens: int = 0
    reserved_pico: int = 0
    trace: TraceContext | None = None

    @property
    def limited_as(self) -> str | None:
        """The model that the upstream sees: its limits and prices are this one's."""
        return self.model if self.sent_model is None else self.sent_model


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """An attempt that was not the last one: after it the call was tried again, later or with another upstream.

    `at_ms` is when its turn came, None where the lane had none for it and nothing was sent; `ended_ms` when it was
    over, both in milliseconds since the call arrived. `http_status` is None where no answer came. `verdict` says what
    was made of it: `wait` and `slower` for another turn, `retry` at once or after a moment, `permanent` for no more of
    it there.
    """

    upstream: str
    lane: str
    verdict: str
    reason: str
    at_ms: float | None = None
    ended_ms: float = 0.0
    http_status: int | None = None


class Outcome(msgspec.Struct, gc=False):
    """How a call went: filled while it runs, written when its record closes. Times are milliseconds since arrival.

    `error` is one of llmqd's own error codes, or the kind of failure; None when the upstream's answer passed.
    `usage` is None where the answer carries none by nature (a model list, a file). `sent_ms` is when the last attempt
    left after its turn; `counted` whether the provider counts that one against its limits. `function_calls` is how many
    calls of tools the answer holds. `on_disconnect` is what was done when the client left a call that ran; None where
    it stayed. `usage.source` says then whether tokens and cost are exact. `tried` are the attempts before the last one.
    """

    status: Status = "running"
    http_status: int | None = None
    error: str | None = None
    lane: str | None = None
    attempts: int = 0
    queued_ms: float | None = None
    sent_ms: float | None = None
    counted: bool = False
    first_byte_ms: float | None = None
    total_ms: float | None = None
    response_bytes: int = 0
    response_model: str | None = None
    provider_id: str | None = None
    finish_reason: str | None = None
    function_calls: int = 0
    usage: Usage | None = None
    cost: Cost | None = None
    on_disconnect: OnDisconnect | None = None
    tried: tuple[Attempt, ...] = ()


@dataclass(slots=True)
class Record:
    """One line of the ledger: a call and its outcome.

    `transcript` is what was said in it, as far as that is to be kept: it goes into the ledger with the record, and is
    asked for there by itself.
    """

    call: Call
    outcome: Outcome = field(default_factory=Outcome)
    transcript: Transcript | None = field(default=None, compare=False, repr=False)
