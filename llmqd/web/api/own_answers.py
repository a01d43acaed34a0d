"""What the answers of llmqd's other URLs look like, to describe them; they are made elsewhere."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Fault(Struct):
    """What was wrong: `message` for people, `type` as OpenAI names it, `param` the field, `code` llmqd's own name."""

    message: str
    type: str
    code: str | None
    param: str | None = None


class Refused(Struct):
    """An error of llmqd's own."""

    error: Fault


class Root(Struct):
    """What this is, with links."""

    name: str
    version: str
    links: dict[str, str]


class LaneHealth(Struct):
    """A lane in short."""

    lane: str
    waiting: int
    running: int
    requests_per_minute: float


class StoreHealth(Struct):
    """The ledger in short."""

    ok: bool
    records_behind: int
    journal_bytes: int
    lost: int


class Health(Struct):
    """How llmqd is: `ok`, `degraded` (`faults` say what to do) or `stopping`."""

    status: str
    version: str
    uptime_seconds: float
    faults: list[str]
    upstreams: dict[str, dict[str, str]]
    lanes: list[LaneHealth]
    store: StoreHealth


class Providers(Struct):
    """The configured upstreams, and the presets that could be."""

    configured: list[str]
    presets: list[str]


class SessionTotals(Struct):
    """What one session used; the rest of the fields with `detail=1` only."""

    session_id: str
    total_prompt_tokens: int
    total_completion_tokens: int
    total_tokens: int
    request_count: int


class LaneLimit(Struct):
    """One limit in force, and the share of it that is used up."""

    dimension: str
    models: Any
    limit: float | None
    configured: float | None
    used: float
    algorithm: str
    source: str | None


class Pause(Struct):
    """Why a lane waits; `seconds_left` is null until somebody resumes it."""

    by: str
    reason: str | None
    seconds_left: float | None


class Lane(Struct):
    """The queue of one upstream key."""

    lane: str
    upstream: str
    waiting: int
    waiting_bytes: int
    running: int
    granted: int
    requests_per_minute: float
    limits: list[LaneLimit]
    paused: Pause | None


class QueuedCall(Struct):
    """A call that waits (`position`, `eta_ms`, `deadline_ms`) or runs (`running_ms`)."""

    request_id: str
    state: str
    lane: str
    upstream: str
    model: str | None
    operation: str
    stream: bool
    priority: int
    session: str | None
    agent: str | None
    user: str | None
    conversation: str | None
    tags: list[str]
    client: str | None
    bytes: int
    received_at: str
    waited_ms: float


class Queue(Struct):
    """Who waits where, in the order of the turns, and what runs."""

    lanes: list[Lane]
    total: int
    running_total: int
    limit: int
    offset: int
    next: int | None
    waiting: list[QueuedCall]
    running: list[QueuedCall]


class Lanes(Struct):
    """The lanes that were paused or resumed."""

    lanes: list[Lane]


class NewPriority(Struct):
    """`high`, `normal`, `low`, `batch`, or 0 (first) to 9."""

    priority: int | str


class NewPause(Struct):
    """How long a lane waits, and why; without `seconds`, until it is resumed."""

    seconds: float | None = None
    reason: str | None = None
