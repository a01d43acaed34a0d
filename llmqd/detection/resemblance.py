"""Which session a request resembles whose history is not exactly what was said: cut, summed up, edited, rewritten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llmqd.detection.assignment import Question, Trail
from llmqd.detection.chain import KIND, PASSING, Kind, kind_of, mark
from llmqd.detection.choice import RETRY_WITHIN, Found
from llmqd.detection.marks import single, told_lines, told_marks
from llmqd.detection.memory import Asked, Memory, Session
from llmqd.detection.places import Hint, Place
from llmqd.messages.digest import NOTHING, Digests, size_of
from llmqd.messages.request import Said

_ENOUGH, _ENOUGH_IF_WAITING, _ENOUGH_IF_ALONE = 12, 6, 4
"""Evidence is weighed in bits: of the sizes of the messages that agree. Less than this can be met by chance; less is
enough where the session waits for exactly this turn, which only one call at a time can take, and still less where it is
the only one that does and both know question and answer."""
_TELLING_QUESTION = 5
_ONE_LONG_LINE, _OF_A_TASK = 60, 20
"""Characters in lines that are of an answer; a line of a task that may be running counts so many more."""
_MOST_BEGINNINGS = 8


def most_alike(places: Sequence[Place], trail: Trail, memory: Memory) -> Found | None:
    """The session that the history agrees with best; None when what agrees may be chance.

    What only few sessions have said weighs more. A session must hold most of what anybody is known to have said, or the
    history is a mixture; and half of all that is looked at, or it is made of examples that nobody has ever said. What
    its client has put into the model's mouth before does not count there.
    """
    scores: dict[Session, float] = {}
    bits: dict[Session, int] = {}
    counts: dict[Session, int] = {}
    known = 0
    unheard: list[Place] = []
    for place in places:
        agreeing = _agreeing(place, memory)
        known += bool(agreeing)
        if not agreeing:
            unheard.append(place)
        for session, (score, weight) in agreeing.items():
            scores[session] = scores.get(session, 0.0) + score
            bits[session] = bits.get(session, 0) + weight
            counts[session] = counts.get(session, 0) + 1
    for session in memory.holders(mark(Kind.ASKED, trail.nodes[0])):
        if session in bits:  # it began with the same question
            bits[session] += size_of(trail.keys[0])
    likely = [
        session
        for session in scores
        if counts[session] * 2 > known
        and counts[session] * 2 >= len(places) - sum(place.key in session.carried for place in unheard)
        and bits[session] >= _ENOUGH_IF_ALONE
    ]
    if not likely:
        return None
    best = max(scores[session] for session in likely)
    equal = [session for session in likely if scores[session] > best - 1e-9]
    last = {hint.mark for hint in _latest(places, unheard, equal)}
    exchanged = {given for given in last if kind_of(given) is Kind.EXCHANGE}
    waiting = [one for one in equal if one.latest is not None and not last.isdisjoint(one.latest.marks)]
    chosen = min(waiting, key=_waiting_since) if waiting else max(equal, key=lambda one: one.used)
    alone = len(waiting) == 1 and chosen.latest is not None and not exchanged.isdisjoint(chosen.latest.marks)
    if bits[chosen] < (_ENOUGH_IF_ALONE if alone else _ENOUGH_IF_WAITING if waiting else _ENOUGH):
        return None
    confidence = min(0.9, 0.4 + bits[chosen] / 60) / len(equal) ** 0.5
    return Found(chosen, "fuzzy", confidence, chosen.latest.node if chosen.latest and waiting else None)


def _latest(places: Sequence[Place], unheard: Sequence[Place], sessions: Sequence[Session]) -> Sequence[Hint]:
    """The latest answer, without those that the clients of all these sessions have written themselves."""
    for place in places:
        if place not in unheard or not all(place.key in session.carried for session in sessions):
            return place.hints
    return ()


def _waiting_since(session: Session) -> float:
    return session.latest.at if session.latest is not None else 0.0


def _agreeing(place: Place, memory: Memory) -> dict[Session, tuple[float, int]]:
    """The sessions that are known to have said this, with the best that speaks for each: its weight, shared among all
    of whom it is true, and as it is."""
    agreeing: dict[Session, tuple[float, int]] = {}
    for given, weight in place.hints:
        holders = memory.holders(given)
        for session in holders:
            score, most = agreeing.get(session, (0.0, 0))
            agreeing[session] = max(score, weight / len(holders)), max(most, weight)
    return agreeing


def went_on_otherwise(said: Said, trail: Trail, memory: Memory, now: float) -> Found | None:
    """Who has asked the beginning of this request, where at most one answer follows, which is not the one it got: an
    answer that was cut, edited or left out by the client, or the last one of a loop of tools."""
    for node, index in beginnings(said, trail):
        sessions = [
            one
            for one in memory.holders(mark(Kind.ASKED, node))
            if node == one.question or next(reversed(one.asked), None) == node
        ]
        failed = [
            one for one in sessions if one.asked[node][0] is Asked.FAILED and one.asked[node][1] > now - RETRY_WITHIN
        ]
        if failed:
            return Found(failed[0], "fuzzy", 0.6 / len(failed) ** 0.5)
        if len(sessions) == 1 and size_of(trail.keys[index]) >= _TELLING_QUESTION:
            return Found(sessions[0], "fuzzy", 0.5)
    return None


def beginnings(said: Said, trail: Trail) -> Iterator[tuple[int, int]]:
    """The questions, as node and index, that one answer at most follows: what may have been asked before this."""
    answers = 0
    for index in range(len(trail.keys) - 2, max(len(trail.keys) - 2 - _MOST_BEGINNINGS, -1), -1):
        answers += said.roles[index + 1] == "assistant"
        if answers > 1:
            return
        if said.roles[index] != "assistant" and trail.keys[index] != NOTHING:
            yield trail.nodes[index], index


def told_by_another(question: Question, trail: Trail, memory: Memory, digests: Digests) -> Found | None:
    """Whose tool call or summary the first message carries: a task for a sub-agent, or a conversation summed up."""
    if not memory.telling:
        return None
    said, first = question.said, _first(question.said, trail)
    if first is None:
        return None
    message = said.message(first)
    for given in told_marks(trail.seed, message, trail.keys[first], digests):
        told = memory.living(given) if given & KIND in PASSING else memory.holders(given)
        if told:
            return Found(max(told, key=lambda one: one.used), "fuzzy", 0.8)
    return _carries(told_lines(message.text), trail.seed, memory, digests)


def tasks(said: Said, trail: Trail, digests: Digests) -> list[int]:
    """The marks by which the task that a first question may be is known, whether or not its tool is running."""
    first = _first(said, trail)
    if first is None:
        return []
    marks = told_marks(trail.seed, said.message(first), trail.keys[first], digests)
    return [given for given in marks if given & KIND not in PASSING]


def _first(said: Said, trail: Trail) -> int | None:
    """Where the user says the first thing, if that is at the beginning."""
    users = (index for index, role in enumerate(said.roles[:2]) if role == "user" and trail.keys[index] != NOTHING)
    return next(users, None)


def _carries(lines: Sequence[str], seed: int, memory: Memory, digests: Digests) -> Found | None:
    """Whose latest answer, or call of a tool that may be running, has these lines. One that several have speaks for
    each of them as much less."""
    lengths: dict[tuple[Session, int | None], float] = {}
    for line in lines:
        key = digests.text_key("line", line)
        for given, is_answer in ((single(Kind.LINE, seed, key), True), (single(Kind.TASK, seed, key), False)):
            living = memory.living(given)
            for session in living:
                whose = session, session.scoped[given] if is_answer else None
                share = (len(line) + (0 if is_answer else _OF_A_TASK)) / len(living)
                lengths[whose] = lengths.get(whose, 0.0) + share
    if not lengths:
        return None
    (session, node), length = max(lengths.items(), key=lambda one: (one[1], one[0][0].used))
    return Found(session, "fuzzy", 0.6, node) if length >= _ONE_LONG_LINE else None
