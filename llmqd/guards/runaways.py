"""Finds sessions that run away: that do the same again and again, or spend too much an hour. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from llmqd.config.budgets import amount_text
from llmqd.usage import PICO

if TYPE_CHECKING:
    from llmqd.config.guards import Guards
    from llmqd.guards.doing import Doing

_LONGEST_CYCLE = 3
_BUCKETS = 10
"""Parts of `within` in which cost is summed up."""


class Held(NamedTuple):
    """A session is held back: until when (Unix seconds), and why, as a part of a sentence."""

    until: float
    reason: str


class _Session(msgspec.Struct):
    did: deque[tuple[float, int]]
    spent: deque[tuple[int, int, int]] = msgspec.field(default_factory=deque)
    """Which part of time, calls, picodollars."""
    held: Held | None = None


class Runaways:
    """What is known of the sessions that called last, at most `max_sessions` of them."""

    def __init__(self, settings: Guards) -> None:
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self.settings = settings

    def replace(self, settings: Guards) -> None:
        """Puts other settings in force. Who is held back is free again."""
        self.settings = settings
        self._sessions.clear()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def held(self) -> int:
        """How many sessions were held back when they called last."""
        return sum(1 for session in self._sessions.values() if session.held is not None)

    def holds(self, session_id: str, now: float) -> Held | None:
        """Whether a session is held back now. When that is over, it begins with a clean sheet."""
        session = self._sessions.get(session_id)
        if session is None or session.held is None:
            return None
        if not now < session.held.until <= now + self.settings.lasting:  # also where the clock was set back
            del self._sessions[session_id]
            return None
        return session.held

    def hold(self, session_id: str, held: Held) -> None:
        """A session is held back, whatever is known of it here."""
        self._session(session_id).held = held

    def holding(self, now: float) -> list[tuple[str, Held]]:
        """The sessions that are held back now."""
        found = [(name, session.held) for name, session in self._sessions.items()]
        return [(name, held) for name, held in found if held is not None and held.until > now]

    def answered(self, session_id: str, doing: Doing | None, now: float, pico: int) -> Held | None:
        """A call of a session was answered well and has cost so much. Why the session is held back from now on, where
        it was not before."""
        session = self._session(session_id)
        before = self.holds(session_id, now)
        if before is None and session.held is not None:
            session = self._session(session_id)
        reason = self._spending(session, now, pico)
        if doing is not None and not self._is_ignored(doing):
            session.did.append((now, doing.digest))
            reason = self._repeating(session, doing, now) or reason
        if reason is None:
            return None
        session.held = Held(now + self.settings.lasting, reason)
        return session.held if before is None else None

    def _session(self, session_id: str) -> _Session:
        session = self._sessions.get(session_id)
        if session is None:
            session = _Session(deque(maxlen=self.settings.repeats * _LONGEST_CYCLE))
            self._sessions[session_id] = session
            if len(self._sessions) > self.settings.max_sessions:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(session_id)
        return session

    def _is_ignored(self, doing: Doing) -> bool:
        if not (doing.tools and self.settings.ignore_tools):
            return False
        return any(fnmatchcase(tool, one) for tool in doing.tools for one in self.settings.ignore_tools)

    def _repeating(self, session: _Session, doing: Doing, now: float) -> str | None:
        """A cycle of a few things must be gone through again and again, with nothing else between."""
        did, repeats = session.did, self.settings.repeats
        for length in range(1, _LONGEST_CYCLE + 1):
            needed = length * repeats
            if len(did) < needed:
                return None
            last = list(did)[-needed:]
            if last[0][0] < now - self.settings.within:
                return None
            if all(last[index][1] == last[index - length][1] for index in range(length, needed)):
                what = (
                    f"called {', '.join(doing.tools)} with the same arguments"
                    if doing.tools
                    else "sent the same message"
                )
                cycle = "" if length == 1 else f" in a cycle of {length}"
                return f"it has {what}{cycle} {repeats} times in a row"
        return None

    def _spending(self, session: _Session, now: float, pico: int) -> str | None:
        most = self.settings.cost_per_hour
        if most is None:
            return None
        part = self.settings.within / _BUCKETS
        bucket, spent = int(now // part), session.spent
        while spent and not bucket - _BUCKETS < spent[0][0] <= bucket:
            spent.popleft()
        if spent and spent[-1][0] == bucket:
            _, calls, before = spent.pop()
            spent.append((bucket, calls + 1, before + pico))
        else:
            spent.append((bucket, 1, pico))
        total = sum(cost for _, _, cost in spent)
        hourly = int(total * 3600 / self.settings.within)
        if sum(calls for _, calls, _ in spent) < self.settings.repeats or hourly <= most * PICO:
            return None
        return f"it spends {amount_text(hourly, 'usd')} an hour, more than {most} USD"
