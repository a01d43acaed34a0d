"""The sessions of late and the marks they are known by; bounded, and forgotten in the order of their use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from enum import Enum

import msgspec

from llmqd.detection.chain import KIND, Kind

_TIP, _ASKED = int(Kind.TIP), int(Kind.ASKED)
_TELLING = frozenset(map(int, (Kind.ARGUMENT, Kind.LINE, Kind.TASK)))
_MARKS_PER_SESSION = 128
"""Newest marks that a session is known by; the older ones are the database's."""
_MARKS_ON_AVERAGE = 32
"""What `max` sessions may have together is this many times `max`."""
_HOLDERS = 128
"""Sessions known by one mark. Where more would be, it tells nothing anyway."""
_OPEN = 64
"""Turns that a session may wait for at the same time (its own next one, those of its sub-agents, branches)."""
_QUESTIONS = 16
"""Questions whose outcome a session remembers."""


class Asked(Enum):
    """What has become of a question."""

    RUNNING = 1
    ANSWERED = 2
    FAILED = 3


class Latest(msgspec.Struct, frozen=True):
    """The exchange that a session has come to: the marks that tell it (its own, that of the answer, that of how the
    answer begins), the node and the time of the answer."""

    marks: frozenset[int]
    node: int
    at: float


class Session(msgspec.Struct, eq=False):
    """A session as far as it is remembered. Times are Unix seconds.

    `marks` says when each was made, the oldest first. `waiting` holds the nodes at which it was answered and has not
    gone on, with the time of the answer. `asked` says how the latest questions fared. `latest` is the exchange it has
    come to last, until it goes on. `scoped` holds the passing marks, each with the node of the answer that it comes
    from: they are evidence while the session waits there. `traits` and `system` are those of its latest call, and
    `calls` counts them as far as they are remembered. `question` is the node of the latest question that was no result
    of a tool, `looping` whether the model has called one since. `carried` are keys of answers that stood in its history
    and that no model is known to have given: its client has written them.
    """

    id: str
    used: float
    marks: dict[int, float] = {}
    waiting: dict[int, float] = {}
    asked: dict[int, tuple[Asked, float]] = {}
    latest: Latest | None = None
    scoped: dict[int, int] = {}
    traits: tuple[object, ...] = ()
    system: tuple[int, ...] = ()
    calls: int = 0
    question: int | None = None
    looping: bool = False
    carried: frozenset[int] = frozenset()

    def wait(self, node: int, at: float) -> None:
        """It was answered here, so it waits for the turn that follows."""
        self.waiting.pop(node, None)
        self.waiting[node] = at
        if len(self.waiting) > _OPEN:
            del self.waiting[next(iter(self.waiting))]


class Memory:
    """At most `max_sessions`, each until it was not used for `ttl` seconds."""

    def __init__(self, max_sessions: int, ttl: float) -> None:
        self._max = max_sessions
        self._ttl = ttl
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._holders: dict[int, Session | list[Session]] = {}
        self._held = 0
        self.telling = 0
        """How many marks of what tools were told and of summaries are known: none, and nobody need look for them."""
        self.expired = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def __repr__(self) -> str:
        return f"<Memory {len(self._sessions)} sessions, {self._held} times {len(self._holders)} marks>"

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def resize(self, max_sessions: int, ttl: float) -> None:
        """Other bounds; what is beyond them goes with the next sweep."""
        self._max, self._ttl = max_sessions, ttl

    def find(self, session_id: str) -> Session | None:
        """A session that is remembered."""
        return self._sessions.get(session_id)

    def use(self, session_id: str, now: float) -> Session:
        """A session, remembered from now on if it was not, and the last to be forgotten."""
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = Session(session_id, now)
        else:
            session.used = now
            self._sessions.move_to_end(session_id)
        return session

    def sweep(self, now: float) -> None:
        """Forgets what has expired, and what is too much."""
        sessions = self._sessions
        oldest = now - self._ttl
        while sessions:
            first = next(iter(sessions.values()))
            if first.used < oldest:
                self.expired += 1
            elif len(sessions) > self._max or (self._held > self._max * _MARKS_ON_AVERAGE and len(sessions) > 1):
                self.evicted += 1
            else:
                return
            self.forget(first)

    def forget(self, session: Session) -> None:
        """Drops a session and its marks."""
        del self._sessions[session.id]
        for given in session.marks:
            self._release(session, given)
        session.marks.clear()

    def holders(self, given: int) -> Sequence[Session]:
        """The sessions known by a mark, in the order in which they got it."""
        held = self._holders.get(given, ())
        return (held,) if isinstance(held, Session) else held

    def living(self, given: int) -> list[Session]:
        """The sessions known by a passing mark whose time has not passed."""
        return [one for one in self.holders(given) if one.scoped.get(given) in one.waiting]

    def at_tip(self, node: int) -> Sequence[Session]:
        """The sessions whose conversation stood there once."""
        return self.holders(node << 4 | _TIP)

    def hold(self, session: Session, given: int, at: float) -> None:
        """From now on a session is known by this mark."""
        if given in session.marks:
            del session.marks[given]
            session.marks[given] = at
            return
        session.marks[given] = at
        self._held += 1
        if given & KIND in _TELLING:
            self.telling += 1
        held = self._holders.get(given)
        if held is None:
            self._holders[given] = session
        elif isinstance(held, Session):
            self._holders[given] = [held, session]
        else:
            held.append(session)
            if len(held) > _HOLDERS:
                self.drop(held[0], given)
        if len(session.marks) > _MARKS_PER_SESSION:
            self.drop(session, next(iter(session.marks)))

    def ask(self, session: Session, node: int, state: Asked, at: float) -> None:
        """What has become of the question that ends here; the latest few are remembered."""
        session.asked.pop(node, None)
        session.asked[node] = state, at
        self.hold(session, node << 4 | _ASKED, at)
        if len(session.asked) > _QUESTIONS:
            oldest = next(one for one in session.asked if one != session.question)
            del session.asked[oldest]
            self.drop(session, oldest << 4 | _ASKED)

    def drop(self, session: Session, given: int) -> None:
        """A session is not known by this mark any more."""
        if session.marks.pop(given, None) is not None:
            self._release(session, given)

    def rename(self, session: Session, new_id: str, since: float, now: float) -> Session:
        """Hands to the session of another id everything of this one that was made since that time."""
        other = self.use(new_id, now)
        for given, at in [(given, at) for given, at in session.marks.items() if at >= since]:
            self.drop(session, given)
            self.hold(other, given, at)
        for node, at in [(node, at) for node, at in session.waiting.items() if at >= since]:
            del session.waiting[node]
            other.wait(node, at)
        for node, (state, at) in [(node, asked) for node, asked in session.asked.items() if asked[1] >= since]:
            del session.asked[node]
            self.ask(other, node, state, at)
        latest = session.latest
        if latest is not None and latest.at >= since:
            session.latest = None
            if other.latest is None or other.latest.at < latest.at:
                other.latest = latest
        for given in [given for given in session.scoped if given in other.marks]:
            other.scoped[given] = session.scoped.pop(given)
        return other

    def _release(self, session: Session, given: int) -> None:
        self._held -= 1
        if given & KIND in _TELLING:
            self.telling -= 1
        session.scoped.pop(given, None)
        held = self._holders.get(given)
        if held is session:
            del self._holders[given]
        elif isinstance(held, list):
            held.remove(session)
            if len(held) == 1:
                self._holders[given] = held[0]
