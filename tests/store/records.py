"""Records as the daemon makes them, for the tests of the store."""

from __future__ import annotations

import time
from typing import Any

from llmqd.call import Call, Outcome, Record, SessionRef, new_call_id
from llmqd.usage import Cost, Usage


def make_record(session: str | None = None, **call: Any) -> Record:
    """A call that has just been sent; `call` overrides its fields."""
    now = time.time()
    ref = SessionRef(session, "header") if session else SessionRef()
    fields: dict[str, Any] = {
        "id": new_call_id(now),
        "received_at": now,
        "arrived": 0.0,
        "method": "POST",
        "path": "/v1/chat/completions",
        "dialect": "openai",
        "operation": "chat",
        "upstream": "openai",
        "model": "gpt-4o-mini",
        "session": ref,
    }
    return Record(Call(**(fields | call)))


def answer(record: Record, prompt: int = 10, completion: int = 20, **outcome: Any) -> Record:
    """The same record after its answer; `outcome` overrides fields of the outcome."""
    fields: dict[str, Any] = {
        "status": "done",
        "http_status": 200,
        "lane": "openai/default",
        "attempts": 1,
        "total_ms": 1500.0,
        "usage": Usage(input=prompt, output=completion, source="exact"),
        "cost": Cost(total=3_000, input=1_000, output=2_000),
    }
    record.outcome = Outcome(**(fields | outcome))
    return record
