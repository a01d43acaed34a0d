"""Whose share of a lane a call uses: the flow that fair queueing charges it to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmqd.call import Call

_KNOWN: Mapping[str, Callable[[Call], str | None]] = {
    "key": lambda call: call.key,
    "user": lambda call: call.user,
    "agent": lambda call: call.agent,
    "session": lambda call: None if call.session.source in ("new", "none") else call.session.id,
    "address": lambda call: call.client,
}
_FALLBACK = ("key", "user", "agent", "session", "address")
"""From the one that says most surely who pays to the one that is always there."""


def flow_of(call: Call, fair_by: str) -> str:
    """The flow of a call, as text that names its kind: `user:ada`.

    `fair_by` is `[queue] fair_by`: `key`, `session`, `user`, `agent` or `none` (all calls are one flow). A call that
    lacks what is asked for is told apart by the next best it has: client key, user, agent, session, address.
    A session that was made up for the call alone (source `new`) says nothing about who calls and is passed over.
    """
    if fair_by == "none":
        return ""
    for kind in (fair_by, *_FALLBACK):
        if whose := _KNOWN[kind](call):
            return f"{kind}:{whose}"
    return ""
