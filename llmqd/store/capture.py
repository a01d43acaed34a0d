"""Decides how much of a call is kept: what the settings allow, and what its client has asked to be left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from llmqd.call import Call
    from llmqd.config.store import Store

Capture = Literal["full", "usage", "none"]
"""`full` everything; `usage` figures and keyed marks by which the session is known again; `none` figures only."""

_GENERATING = frozenset({"chat", "messages", "generate_content", "responses", "completion", "complete", "other"})
"""Operations in which somebody talks to a model. What is embedded, transcribed or drawn is no conversation."""


def captured(call: Call, settings: Store) -> Capture:
    """What of this call may be written. A client's wish (`call.store`) only ever lowers what the settings say."""
    if call.operation not in _GENERATING or call.store == "none":
        return "none"
    return "full" if settings.capture == "full" and call.store == "full" else "usage"
