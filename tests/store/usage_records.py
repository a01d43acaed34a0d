"""Calls at chosen times for the tests of roll-ups and questions, and a database that has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmqd.call import Record, new_call_id
from llmqd.store.entries import Entry, decode, encode_closed
from llmqd.store.position import Position
from tests.store.records import answer, make_record

HERE = Position(1, 10)
MIDNIGHT = 1_800_057_600
"""Unix seconds: 2027-01-16 in UTC."""
_OUTCOME = {
    "prompt", "completion", "usage", "cost", "total_ms", "first_byte_ms", "http_status", "status", "queued_ms",
    "function_calls", "attempts", "tried",
}  # fmt: skip


def ended_call(at: float, session: str | None = "s", **fields: Any) -> Record:
    """A call received at that time (Unix seconds) that has ended; `fields` of the call or of its outcome."""
    outcome = {name: fields.pop(name) for name in [*fields] if name in _OUTCOME}
    call_id = fields.pop("id", None) or new_call_id(at)
    return answer(make_record(session, id=call_id, received_at=at, **fields), **outcome)


def closed(record: Record) -> Entry:
    return decode(encode_closed(record))


async def told(backend: Any, *records: Record) -> None:
    """The database learns how these calls ended."""
    await backend.apply([closed(record) for record in records], HERE, durable=False)


async def figures(backend: Any, by: str = "all", columns: str = "calls", step: int = 3600) -> Sequence[tuple[Any, ...]]:
    """Columns of the roll-ups by that dimension, with their start and value."""
    statement = f"SELECT start, value, {columns} FROM usage WHERE by = ? AND step = ? ORDER BY start, value, part"
    return [tuple(row.values()) for row in await backend.ask(statement, by, step)]
