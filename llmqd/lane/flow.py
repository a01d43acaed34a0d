"""Whose share of a lane a call uses: the flow that fair queueing charges it to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmqd.call import Call

_MADE_UP = ("new", "none")
_KNOWN: Mapping[str, Callable[[Call], str | None]] = {
    "user": lambda call: call.user,
    "agent": lambda call: call.agent,
    "session": lambda call: None if call.session.source in _MADE_UP else call.session.id,
}


def flow_of(call: Call, fair_by: str) -> str:
    """The flow of a call, as text that names its kind: `user:ada`.

    `fair_by` is `[queue] fair_by`: `key`, `session`, `user`, `agent` or `none` (all calls are one flow). A call that
    lacks what is asked for is told apart by the next best it has: client key, user, agent, session, address.
    A session that was made up for the call alone (source `new`) says nothing about who calls and is passed over.
    """
    if fair_by == "none":
        return ""
    if fair_by != "key" and (whose := _KNOWN[fair_by](call)):
        return f"{fair_by}:{whose}"
    # From what says most surely who pays to what is always there.
    if call.key:
        return f"key:{call.key}"
    if call.user:
        return f"user:{call.user}"
    if call.agent:
        return f"agent:{call.agent}"
    if call.session.id and call.session.source not in _MADE_UP:
        return f"session:{call.session.id}"
    return f"address:{call.client}" if call.client else ""
