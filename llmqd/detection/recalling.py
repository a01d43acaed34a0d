"""Brings back what a database has kept of sessions: all of it, whatever order the rows come in."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llmqd.detection.assignment import Evidence
from llmqd.detection.chain import KIND, NOTES, PASSING, Kind, kind_of, node_of
from llmqd.detection.memory import Asked, Latest, Memory, Session

_OF_AN_ANSWER = frozenset({Kind.EXCHANGE, Kind.ANSWER, Kind.HEAD})
"""Kinds by any of which an answer that a session has come to is found again: a database tells those that it was asked
for, and a client that words the question anew does not ask for the exchange."""


def recall(memory: Memory, rows: Sequence[Evidence], used: float | None, *, newer: bool = False) -> int:
    """Remembers these rows; the number of sessions that were not remembered before.

    `used` is when their sessions count as used, None for the time of each row. A session that is remembered already
    keeps its own view of where it waits, unless what the rows say is `newer`.
    """
    before = len(memory)
    alive: dict[str, bool] = {}
    # Tips are of the lowest kind, and so come before what was kept with them.
    for row in sorted(rows, key=lambda row: (row.at, row.mark & KIND)):
        kind = kind_of(row.mark)
        if kind is None:
            continue
        if row.session not in alive:
            alive[row.session] = not newer and memory.find(row.session) is not None
        session = memory.use(row.session, row.at if used is None else used)
        if not alive[row.session]:
            _restore(memory, session, kind, row)
        if row.mark & KIND not in NOTES:
            memory.hold(session, row.mark, row.at)
    return len(memory) - before


def _restore(memory: Memory, session: Session, kind: Kind, row: Evidence) -> None:
    node = node_of(row.mark)
    if kind is Kind.TIP:
        session.wait(node, row.at)
        session.calls += 1
    elif kind is Kind.LEFT:
        session.waiting.pop(node, None)
    elif kind in _OF_AN_ANSWER:
        if session.latest is not None and session.latest.at == row.at:
            session.latest = msgspec.structs.replace(session.latest, marks=session.latest.marks | {row.mark})
            return
        session.latest = Latest(frozenset((row.mark,)), _place(session, row), row.at)
        for given in [given for given in session.scoped if kind_of(given) is Kind.LINE]:
            del session.scoped[given]  # it has said something else since
    elif row.mark & KIND in PASSING:
        session.scoped[row.mark] = _place(session, row)
    elif kind is Kind.FAILED:
        memory.ask(session, node, Asked.FAILED, row.at)
    elif kind in (Kind.ASKED, Kind.SETTLED):
        memory.ask(session, node, Asked.ANSWERED, row.at)


def _place(session: Session, row: Evidence) -> int:
    """The node of the answer from which a row comes: it was kept at the same moment."""
    return next((node for node, at in session.waiting.items() if at == row.at), node_of(row.mark))
