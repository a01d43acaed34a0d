"""What a session is known by once a call of it has ended, and what of that is worth keeping."""

from __future__ import annotations

from collections.abc import Sequence

from llmqd.detection.assignment import Assignment, Learned, Node, Trail
from llmqd.detection.chain import KIND, NOTES, PASSING, Kind, mark, node_of, step
from llmqd.detection.marks import (
    argument_marks,
    call_marks,
    exchange,
    head,
    is_telling_answer,
    line_marks,
    single,
)
from llmqd.detection.memory import Asked, Latest, Memory, Session
from llmqd.messages.digest import Digests, size_of
from llmqd.messages.message import Message, ToolCall
from llmqd.messages.transcript import Mark

_TIP = int(Kind.TIP)
_MAY_BE_CLIPPED = 8
"""An answer of at least 2 ** 7 characters may come back as its beginning alone, even after a restart."""


class Learner:
    """Writes the outcome of calls into the memory."""

    def __init__(self, memory: Memory, digests: Digests) -> None:
        self._memory = memory
        self._digests = digests

    def place(self, trail: Trail, answer: Message) -> tuple[Message, Node]:
        """An answer, whole, and where it stands. One that goes on from what the client has begun to say for the model
        is one message with that, and stands in its place."""
        last = len(trail.keys) - 1
        if not trail.begun:
            return answer, self._node(trail.end, answer, last + 1)
        whole = Message("assistant", trail.begun + answer.parts)
        return whole, self._node(trail.before(last), whole, last)

    def learn(
        self,
        session: Session,
        assignment: Assignment,
        answer: Message | None,
        names: Sequence[str],
        now: float,
        *,
        complete: bool,
        others: Sequence[Message],
    ) -> Learned:
        """Notes how a call ended. `names` are those by which later requests may refer to its answer."""
        trail = assignment.trail
        kept = self._state(session, assignment, now, done=complete and answer is not None)
        message, node = None, None
        further = tuple([self.place(trail, other)[1] for other in others])
        if answer is not None:
            message, node = self.place(trail, answer)
            session.looping = any(isinstance(part, ToolCall) for part in answer.parts)
            kept += self._tips(session, trail, answer, (node, *further), now)
            kept += self._marks(session, trail, answer, node, now, complete=complete)
            kept += [single(Kind.RESPONSE, trail.seed, self._digests.name_key(name)) for name in names]
        for given in kept:
            if given & KIND not in NOTES:
                self._memory.hold(session, given, now)
        evidence = [(given, session.id, now) for given in kept]
        return Learned(evidence + self._gone_on(session, assignment, kept, now), message, node, further)

    def _node(self, parent: int, message: Message, position: int) -> Node:
        key = self._digests.key(message)
        return Node(step(parent, key), parent, key, position)

    def _state(self, session: Session, assignment: Assignment, now: float, *, done: bool) -> list[int]:
        """Whether the question is settled; one that failed takes the session back to where it waited before. That it
        was asked is worth keeping only where the answers before it were no evidence, or little."""
        end = assignment.trail.end
        if not assignment.trail.keys:
            return []
        if done:
            self._memory.ask(session, end, Asked.ANSWERED, now)
            if assignment.match == "fuzzy":
                return [mark(Kind.ASKED, end)]
            return [mark(Kind.SETTLED, end)] if assignment.match == "retry" else []
        self._memory.ask(session, end, Asked.FAILED, now)
        if assignment.left is not None:
            session.waiting[assignment.left[0]] = assignment.left[1]
        return [mark(Kind.FAILED, end)]

    def _tips(self, session: Session, trail: Trail, answer: Message, nodes: Sequence[Node], now: float) -> list[int]:
        tips = [node.key for node in nodes]
        if trail.begun:  # the client may also leave out what it had begun
            tips.append(step(nodes[0].parent, self._digests.key(answer)))
        for tip in tips:
            session.wait(tip, now)
        return [mark(Kind.TIP, tip) for tip in tips]

    def _marks(
        self, session: Session, trail: Trail, answer: Message, node: Node, now: float, *, complete: bool
    ) -> list[int]:
        digests, seed, key = self._digests, trail.seed, node.content
        before = trail.keys[node.position - 1] if node.position else trail.start
        if not trail.begun:
            digests.expect(answer, key)
        pair = exchange(seed, before, key)
        beginning = head(seed, before, answer, digests)
        kept = [pair]
        if beginning is not None:
            self._memory.hold(session, beginning, now)
            kept += [beginning] if not complete or size_of(key) >= _MAY_BE_CLIPPED else []
        if is_telling_answer(key):
            kept.append(single(Kind.ANSWER, seed, key))
        session.latest = Latest(frozenset((*kept, beginning or pair)), node.key, now)
        if session.calls > 1 or trail.has_history:
            kept += line_marks(seed, answer, digests, self._memory.holders)
        if session.looping:  # it calls tools
            kept += call_marks(seed, answer, digests)
            kept += argument_marks(seed, answer, trail.keys, digests)
        for given in kept:
            if given & KIND in PASSING:
                session.scoped[given] = node.key
        return kept

    def _gone_on(self, session: Session, assignment: Assignment, kept: Sequence[int], now: float) -> list[Mark]:
        """Where sessions share a place, who has gone on from it must be kept too, or a restart would mix them up: each
        when it goes on, and the first of them when the second comes."""
        gone: list[Mark] = []
        left = assignment.left
        if left is not None and left[0] not in session.waiting and len(self._memory.at_tip(left[0])) > 1:
            gone.append((mark(Kind.LEFT, left[0]), session.id, now))
        for given in kept:
            if given & KIND == _TIP:
                first, *rest = self._memory.holders(given)
                if rest == [session] and node_of(given) not in first.waiting:
                    gone.append((mark(Kind.LEFT, node_of(given)), first.id, now))
        return gone
