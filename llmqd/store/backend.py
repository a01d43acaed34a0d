"""What a database must be able to do for the ledger, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llmqd.call import Record, SessionSource
from llmqd.errors import StoreError
from llmqd.store.conversations import Conversations
from llmqd.store.entries import Entry
from llmqd.store.position import Position
from llmqd.store.spending import Spending
from llmqd.store.tidying import Tidied
from llmqd.usage import LaneUsage, Sample


class Unavailable(StoreError):
    """The database cannot be used for now (locked, full, gone); the same attempt may succeed later."""

    def __init__(self, message: str, *, reopen: bool) -> None:
        super().__init__(message)
        self.reopen = reopen


class Damaged(Unavailable):
    """The database is malformed: no later attempt can succeed, but one with a new database can."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reopen=True)


class Unacceptable(StoreError):
    """The database is well but refuses these entries, now and for ever."""


@dataclass(slots=True, frozen=True)
class SessionTotals:
    """What one session has consumed so far.

    `request_count` counts calls that the upstream answered with 2xx, `error_count` all others that ended. Times are
    Unix seconds. `cost_pico` (1e-12 USD) sums the known costs; `unknown_cost_count` says how many calls with usage
    could not be priced.
    """

    session_id: str
    source: SessionSource
    first_seen: float
    last_seen: float
    request_count: int
    error_count: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    cost_pico: int
    unknown_cost_count: int


class Backend(Protocol):
    """A database that follows one journal.

    `open` and `apply` raise Unavailable when a later attempt may succeed, Damaged where only a new database can help.
    Questions raise Unavailable likewise.
    """

    async def open(self, journal: str) -> Position | None:
        """Connect, bring the schema up to date, and say how far `journal` has been applied; None: not at all.

        Raises StoreError when the database can never be used (NewerDatabase, a file of another program).
        """

    async def apply(self, entries: Sequence[Entry], position: Position, *, durable: bool) -> None:
        """Write the entries and `position` in one transaction, all or nothing; entries already known change nothing.

        With `durable` they survive a power cut as soon as this returns. Raises Unacceptable.
        """

    async def tidy(self, now: float) -> Tidied:
        """Take one small step towards what may be kept, by age (`now` in Unix seconds) and size. Raises Unavailable."""

    async def set_aside(self, now: float) -> str | None:
        """Moves a damaged database out of the way, disconnected, so that `open` makes a new one; says where it is now.

        None for nothing to move. Raises Unavailable.
        """

    def aside(self) -> list[str]:
        """The damaged databases that were set aside and are still there."""

    async def close(self) -> None:
        """Disconnect."""

    @property
    def conversations(self) -> Conversations:
        """Questions about what was said."""

    async def ask(self, statement: str, *values: Any) -> list[Mapping[str, Any]]:
        """The rows that a statement reads, by their columns' names. Gives up after the `query_timeout`."""

    async def call(self, call_id: str) -> Record | None:
        """The record of one call."""

    async def noted(self, name: str) -> str | None:
        """What was last to be remembered under this name; None for nothing."""

    async def session_totals(
        self, limit: int, ids: Sequence[str] | None = None, key: str | None = None
    ) -> list[SessionTotals]:
        """The sessions seen last, at most `limit`, or of these the named ones only, or those of a client key."""

    async def lane_usage(self, since: float, fine_since: float) -> list[LaneUsage]:
        """What lanes have let through from `since` on, in the order of time; summed up more before `fine_since`."""

    async def spending(self, by: str, since: float, until: float, limit: int) -> Spending:
        """What calls received in a time (quarters of an hour; up to infinity: all time) count for in budgets, by key,
        user, agent, session or all together: of the `limit` that called last."""

    async def samples(self) -> list[Sample]:
        """The latest calls of each upstream's models with exact usage, oldest first."""

    async def count_by_status(self) -> dict[str, int]:
        """How many calls ended in which way. Reads the whole table."""
