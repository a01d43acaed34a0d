"""Which of the sessions that stood at the same place a call goes on with, and who asks the same once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmqd.detection.assignment import Match, Question, Trail
from llmqd.detection.chain import Kind, mark
from llmqd.detection.memory import Asked, Memory, Session

RETRY_WITHIN = 600.0
"""Seconds after which the same first question is not taken for a repetition of one that failed."""


class Found(NamedTuple):
    """A session, how it was found, how likely it is the right one, and where it may have waited for this."""

    session: Session
    match: Match
    confidence: float
    node: int | None = None


def at_tip(sessions: Sequence[Session], node: int, question: Question, trail: Trail, now: float) -> Found:
    """Who of these goes on from `node`, where all of them were answered.

    A retry belongs to who asked the same and has no whole answer. Else it is whoever waits for exactly this turn: among
    several the one most like this call, then the one that has waited longest. Where nobody waits, it is a branch or a
    regeneration: of who asked the same before, else of who was here last.
    """
    end = trail.end
    if question.client_retry:
        found = _repeated(sessions, end, now)
        if found is not None:
            return found._replace(node=node)
    if len(sessions) == 1:
        only = sessions[0]
        return Found(only, _match(only, end) if node in only.waiting else "exact", 1.0, node)
    waiting = [session for session in sessions if node in session.waiting]
    if waiting:
        chosen = min(waiting, key=lambda one: (-_likeness(one, question, trail), one.waiting[node]))
        return Found(chosen, _match(chosen, end), 0.5 + 0.5 / len(waiting), node)
    same = [session for session in sessions if end in session.asked]
    chosen = max(same or sessions, key=lambda one: (_likeness(one, question, trail), one.used))
    return Found(chosen, "exact", 0.9 if len(same) == 1 else 0.5 + 0.5 / len(same or sessions), node)


def same_question(memory: Memory, question: Question, trail: Trail, now: float) -> Found | None:
    """Who has asked exactly this and got no whole answer: the oldest failure of late, one with the same system prompt
    first, else, for a client that says it is a retry, whoever asked it."""
    end = trail.end
    sessions = memory.holders(mark(Kind.ASKED, end))
    failed = [session for session in sessions if _failed_of_late(session, end, now)]
    if failed:
        chosen = min(failed, key=lambda one: one.system != trail.system)
        return Found(chosen, "retry", 0.9 if len(failed) == 1 else 0.7)
    return _repeated(sessions, end, now) if question.client_retry else None


def _repeated(sessions: Sequence[Session], end: int, now: float) -> Found | None:
    for state in (Asked.FAILED, Asked.RUNNING, Asked.ANSWERED):
        same = [
            session
            for session in sessions
            if end in session.asked and session.asked[end][0] is state and session.asked[end][1] > now - RETRY_WITHIN
        ]
        if same:
            return Found(same[-1] if state is Asked.ANSWERED else same[0], "retry", 0.5 + 0.45 / len(same))
    return None


def _failed_of_late(session: Session, node: int, now: float) -> bool:
    state, at = session.asked.get(node, (None, 0.0))
    return state is Asked.FAILED and at > now - RETRY_WITHIN


def _match(session: Session, end: int) -> Match:
    return "retry" if session.asked.get(end, (None,))[0] is Asked.FAILED else "exact"


def _likeness(session: Session, question: Question, trail: Trail) -> int:
    alike = sum(one == other for one, other in zip(session.traits, question.traits, strict=False))
    return alike + (session.system == trail.system)
