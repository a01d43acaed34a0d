"""Makes calls for tests that need one and care only for some of its fields."""

from __future__ import annotations

from typing import Any

from llmqd.call import Call, new_call_id


def a_call(**fields: Any) -> Call:
    """A plain chat call; `fields` replace what the test cares for."""
    known: dict[str, Any] = {
        "id": new_call_id(1_800_000_000.0),
        "received_at": 1_800_000_000.0,
        "arrived": 0.0,
        "method": "POST",
        "path": "/v1/chat/completions",
        "dialect": "openai",
        "operation": "chat",
        "upstream": "openai",
        "model": "gpt-4o-mini",
    }
    return Call(**(known | fields))
