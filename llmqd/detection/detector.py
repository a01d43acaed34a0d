"""Finds the session of each call and learns from each answer; decides at once, from memory, without waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from llmqd.call import SessionSource
from llmqd.detection.absent import Absent
from llmqd.detection.assignment import Assignment, Evidence, Learned, Match, Question, Trail
from llmqd.detection.chain import KIND, NOTES, Kind, kind_of, mark, node_of, nodes_of, root, step
from llmqd.detection.choice import Found, at_tip, same_question
from llmqd.detection.learning import Learner
from llmqd.detection.marks import single
from llmqd.detection.memory import Asked, Memory, Session
from llmqd.detection.places import Place, marks_of, places_of, unheard
from llmqd.detection.recalling import recall
from llmqd.detection.resemblance import beginnings, most_alike, tasks, told_by_another, went_on_otherwise
from llmqd.detection.statistics import Statistics
from llmqd.memo import Memo
from llmqd.messages.digest import Digests, bare
from llmqd.messages.message import Message

if TYPE_CHECKING:
    from llmqd.config.sessions import Sessions

_ABSENT_PER_SESSION, _LEAST_ABSENT = 4, 1000
_SCOPES = 1000
"""Scopes whose nodes are kept at hand."""


class Detector:
    """The sessions of one installation. Owned by one event loop; nothing here waits.

    `assign` when a call is known, `answered` when its answer is complete and before the client can send the next turn.
    Where an assignment is `unsure`, nothing has changed: look its marks up in the database, tell `recall` what was
    found, and `assign` again with `look_up` False. `new_id` makes ids for new sessions. Times are Unix seconds;
    `stopwatch` measures what a lookup takes.
    """

    def __init__(
        self,
        settings: Sessions,
        digests: Digests,
        new_id: Callable[[], str],
        stopwatch: Callable[[], float] = perf_counter,
    ) -> None:
        self._settings = settings
        self._digests = digests
        self.new_id = new_id
        self._stopwatch = stopwatch
        self._memory = Memory(settings.max, settings.ttl)
        self._absent = Absent(_absent(settings))
        self._learner = Learner(self._memory, digests)
        self._statistics = Statistics()
        self._told = False
        self._seeds: Memo[str, int] = Memo(_SCOPES)
        self._merged: dict[str, str] = {}
        self._reset = frozenset(bare(phrase).lower() for phrase in settings.reset_phrases)

    def __repr__(self) -> str:
        return f"<Detector {self._memory!r}>"

    def replace(self, settings: Sessions) -> None:
        """Puts other settings in force; what is too much for them is forgotten with the next call."""
        self._settings = settings
        self._memory.resize(settings.max, settings.ttl)
        self._absent.resize(_absent(settings))
        self._reset = frozenset(bare(phrase).lower() for phrase in settings.reset_phrases)

    def assign(self, question: Question, now: float, *, look_up: bool = True) -> Assignment:
        """The session of a call. `look_up` False decides by what is in memory, even where the database may know more.

        A session that the call names always wins, and learns what the call says. A call that says nothing, or all where
        detection is off, has none; its nodes are there all the same.
        """
        began = self._stopwatch()
        self._memory.sweep(now)
        trail = self._trail(question)
        if question.explicit.id is not None:
            self._statistics.explicit += 1
            session = self._memory.use(self.current(question.explicit.id), now)
            left = self._place_left(session, question, trail)
            return self._begun(question, trail, session, question.explicit.source, "explicit", 1.0, left, now)
        if not self._settings.detect or (not trail.keys and question.said.previous_response is None):
            return Assignment(trail)
        assignment = self._detected(question, trail, now, look_up)
        if not assignment.unsure:
            self._statistics.lookups += 1
        self._statistics.lookup_seconds += self._stopwatch() - began
        return assignment

    def answered(
        self,
        assignment: Assignment,
        answer: Message | None,
        provider_id: str | None,
        now: float,
        *,
        complete: bool = True,
        others: Sequence[Message] = (),
        item_id: str | None = None,
    ) -> Learned:
        """Learns how a call ended.

        `answer` is what the model said, None where it said nothing that is known, `complete` whether that is all and
        the client has it, `others` the further choices of an answer that has several. `provider_id` and `item_id` are
        the provider's names for the answer and for the last item of it. A call that failed or was cut may
        come again.
        """
        if assignment.session is None:
            message, node = (None, None) if answer is None else self._learner.place(assignment.trail, answer)
            return Learned([], message, node)
        session = self._memory.use(self.current(assignment.session), now)
        names = [provider_id] if provider_id and assignment.trail.by_response else []
        names += [item_id] if item_id and assignment.trail.by_item else []
        learned = self._learner.learn(session, assignment, answer, names, now, complete=complete, others=others)
        self._absent.discard([given for given, _, _ in learned.evidence])
        return learned

    def recall(self, rows: Iterable[Evidence], now: float, looked_up: Iterable[int] = ()) -> None:
        """Takes what the database knows. `looked_up` are the marks that it was asked for: the others of them are known
        not to be there. Without them it is what was kept of late, told once at the start."""
        found, asked_for = [row._replace(session=self.current(row.session)) for row in rows], set(looked_up)
        self._told = self._told or not asked_for
        self._statistics.recalled += recall(self._memory, found, now if asked_for else None)
        self._absent.add(asked_for.difference(row.mark for row in found if row.mark & KIND not in NOTES))

    def heard(self, rows: Iterable[Evidence], now: float) -> None:
        """Takes what another daemon has just learned from an answer."""
        self._statistics.heard += 1
        recall(self._memory, [row._replace(session=self.current(row.session)) for row in rows], now, newer=True)

    def current(self, session_id: str) -> str:
        """The id under which a session goes on, if it was merged into another."""
        return self._merged.get(session_id, session_id)

    def merge(self, kept: str, gone: str, now: float) -> None:
        """From now on what belongs to `gone` belongs to `kept`, calls that are running included."""
        session = self._memory.find(gone)
        if session is not None:
            self._memory.rename(session, kept, 0.0, now)
            self._memory.forget(session)
        self._merged = {one: kept if other == gone else other for one, other in self._merged.items() if one != kept}
        self._merged[gone] = kept
        if len(self._merged) > self._settings.max:
            del self._merged[next(iter(self._merged))]

    def split(self, session_id: str, new_id: str, since: float, now: float) -> None:
        """What a session has said since that time belongs to another from now on."""
        session = self._memory.find(session_id)
        if session is not None:
            self._memory.rename(session, new_id, since, now)

    def statistics(self) -> dict[str, float]:
        """Figures by name, as Statistics says."""
        return self._statistics.shown(
            active=len(self._memory),
            expired=self._memory.expired,
            evicted=self._memory.evicted,
            max_sessions=self._settings.max,
            ttl=self._settings.ttl,
        )

    def _trail(self, question: Question) -> Trail:
        said = question.said
        seed = self._seeds.get(question.scope)
        if seed is None:
            seed = self._seeds.keep(question.scope, root(self._digests.name_key(question.scope)))
        start = seed
        if said.previous_response is not None:
            start = step(seed, self._digests.name_key(said.previous_response))
        keys, roles = self._digests.keys(said), said.roles
        nodes = nodes_of(start, keys)
        begun = said.message(len(keys) - 1).parts if keys and roles[-1] == "assistant" else ()
        return Trail(
            seed,
            start,
            keys,
            nodes,
            nodes[-1] if nodes else start,
            self._digests.system_keys(said),
            begun,
            "assistant" in roles,
            said.by_response,
            said.keeps_items,
        )

    def _detected(self, question: Question, trail: Trail, now: float, look_up: bool) -> Assignment:
        if self._reset and self._is_reset(question, trail):
            return self._new(question, trail, now, 1.0)
        found, unsure = self._carried_on(question, trail, now)
        if found is None and question.said.previous_response is None:
            found = same_question(self._memory, question, trail, now)
        if found is not None:
            others = self._others(found) if look_up else ()
            return Assignment(trail, unsure=others) if others else self._continued(question, trail, found, now)
        places = places_of(question.said, trail, self._digests)
        if look_up:
            unsure += self._worth_asking(question, trail, places)
            if unsure:
                return Assignment(trail, unsure=tuple(dict.fromkeys(unsure)))
        carried = unheard(places, self._memory)
        if self._settings.fuzzy:
            found = self._resembled(question, trail, places, now)
            if found is not None:
                found.session.carried = carried
                return self._continued(question, trail, found, now)
        has_history = bool(places) or (question.said.previous_response or question.said.reference) is not None
        self._statistics.fragmented += has_history
        return self._new(question, trail, now, 0.5 if has_history else 1.0, carried)

    def _carried_on(self, question: Question, trail: Trail, now: float) -> tuple[Found | None, list[int]]:
        """Who was answered where this request goes on: the session, and what the database may know of it."""
        if question.said.previous_response is not None:
            given = mark(Kind.RESPONSE, trail.start)
            sessions = self._memory.holders(given)
            if sessions:
                return Found(sessions[-1], "exact", 1.0), []
            return None, [given] if self._is_unknown(given) else []
        unsure: list[int] = []
        if question.said.reference is not None:
            given = single(Kind.RESPONSE, trail.seed, self._digests.name_key(question.said.reference))
            sessions = self._memory.holders(given)
            if sessions:
                return Found(sessions[-1], "exact", 1.0), []
            unsure = [given] if self._is_unknown(given) else []
        roles = question.said.roles
        last = len(roles) - 1
        for index in range(last, -1, -1):
            if roles[index] == "assistant":
                node = trail.nodes[index]
                sessions = self._memory.at_tip(node)
                if sessions:
                    return at_tip(sessions, node, question, trail, now), []
                if index < last:  # else the client has begun the answer for the model
                    break
        return None, unsure

    def _resembled(self, question: Question, trail: Trail, places: Sequence[Place], now: float) -> Found | None:
        found = most_alike(places, trail, self._memory) if places else None
        if found is None and len(trail.keys) > 1:
            found = went_on_otherwise(question.said, trail, self._memory, now)
        return found or told_by_another(question, trail, self._memory, self._digests)

    def _worth_asking(self, question: Question, trail: Trail, places: Sequence[Place]) -> list[int]:
        """The marks that the database may know and the memory does not: whose history this is, who has gone on from
        there, who failed to get an answer to it, who asked its beginning. A first question is not worth it unless it is
        a retry; or a task for a sub-agent of somebody who was here before the start, of which nothing was told."""
        if self._told and not places and len(trail.keys) == 1 and not question.client_retry:
            return []
        unknown = [given for given in marks_of(places) if self._is_unknown(given)]
        if not (self._told or places):
            unknown += [given for given in tasks(question.said, trail, self._digests) if self._is_unknown(given)]
        notes = [mark(Kind.LEFT, node_of(given)) for given in unknown if kind_of(given) is Kind.TIP]
        before = [node for node, _ in beginnings(question.said, trail)]
        if places or question.client_retry:
            notes += [mark(kind, node) for node in (trail.end, *before) for kind in (Kind.FAILED, Kind.SETTLED)]
        notes += [given for node in before if self._is_unknown(given := mark(Kind.ASKED, node))]
        return unknown + [given for given in notes if given not in self._absent]

    def _others(self, found: Found) -> tuple[int, ...]:
        """Where nobody who is remembered waits for this turn, somebody who is not may: marks to ask for, once."""
        node = found.node
        if node is None or node in found.session.waiting or mark(Kind.LEFT, node) in self._absent:
            return ()
        return mark(Kind.TIP, node), mark(Kind.LEFT, node)

    def _is_unknown(self, given: int) -> bool:
        return not self._memory.holders(given) and given not in self._absent

    def _is_reset(self, question: Question, trail: Trail) -> bool:
        if not trail.keys or question.said.roles[-1] != "user":
            return False
        return bare(question.said.message(len(trail.keys) - 1).text).lower() in self._reset

    def _place_left(self, session: Session, question: Question, trail: Trail) -> tuple[int, float] | None:
        """The place from which a call goes on that names its session itself."""
        for index in range(len(trail.nodes) - 1, -1, -1):
            if question.said.roles[index] == "assistant" and trail.nodes[index] in session.waiting:
                return trail.nodes[index], session.waiting[trail.nodes[index]]
        return None

    def _continued(self, question: Question, trail: Trail, found: Found, now: float) -> Assignment:
        statistics = self._statistics
        statistics.continued += 1
        if found.match == "fuzzy":
            statistics.fuzzy += 1
        elif found.match == "retry":
            statistics.retried += 1
        else:
            statistics.exact += 1
        node, waiting = found.node, found.session.waiting
        left = (node, waiting[node]) if node is not None and node in waiting else None
        session = self._memory.use(found.session.id, now)
        return self._begun(question, trail, session, "detected", found.match, found.confidence, left, now)

    def _new(
        self, question: Question, trail: Trail, now: float, confidence: float, carried: frozenset[int] = frozenset()
    ) -> Assignment:
        self._statistics.created += 1
        session = self._memory.use(self.new_id(), now)
        session.carried = carried
        return self._begun(question, trail, session, "new", "new", confidence, None, now)

    def _begun(
        self,
        question: Question,
        trail: Trail,
        session: Session,
        source: SessionSource,
        match: Match,
        confidence: float,
        left: tuple[int, float] | None,
        now: float,
    ) -> Assignment:
        """The session has asked: it waits no longer where it has gone on from, and may be asked the same again."""
        if left is not None:
            del session.waiting[left[0]]
        if trail.keys:
            if not session.looping:
                session.question = trail.end
            self._memory.ask(session, trail.end, Asked.RUNNING, now)
        session.latest = None
        session.traits, session.system = question.traits, trail.system
        session.calls += 1
        self._memory.sweep(now)
        return Assignment(trail, session.id, source, match, confidence, (), left)


def _absent(settings: Sessions) -> int:
    return max(settings.max * _ABSENT_PER_SESSION, _LEAST_ABSENT)
