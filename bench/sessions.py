"""`make bench-sessions`: how well sessions are found in a labelled corpus, and what finding them costs."""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import orjson

from bench.session_corpus import ALIKE, BEHAVIOURS, Behaviour
from bench.session_habits import HABITS, TOLD
from bench.session_rewriters import REWRITERS
from bench.session_strangers import EQUAL, STRANGERS
from bench.session_talk import Step
from bench.session_words import OpenAiChat, spoken
from llmqd.call import Dialect
from llmqd.config.sessions import Sessions
from llmqd.detection.assignment import Assignment, Evidence, Question
from llmqd.detection.detector import Detector
from llmqd.messages.digest import Digests
from llmqd.messages.request import read_request
from llmqd.messages.transcript import Mark

_SECRET = b"a secret of the bench's own"
_EACH = 12
"""Conversations of each behaviour in one corpus."""
_AT_ONCE = 40
_SEEDS = 10
_LEAST, _LEAST_EACH = 0.99, 0.97
_MOST_US = 30.0
_ROUNDS, _REPEATED = 1000, 5
_CORPORA: Mapping[str, Mapping[str, Behaviour]] = {
    "behaviours": BEHAVIOURS,
    "habits": HABITS,
    "strangers": STRANGERS,
    "rewriters": REWRITERS,
}
_EQUAL = ALIKE | EQUAL


@dataclass(frozen=True, slots=True)
class Labelled:
    """A call of the corpus: its behaviour, the conversation it belongs to, and the session that it was given."""

    behaviour: str
    conversation: int
    session: str


class Database:
    """Keeps evidence as a database would."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, float]] = defaultdict(dict)

    def keep(self, rows: Iterable[Mark]) -> None:
        """Writes it down."""
        for mark, session, at in rows:
            self._rows[mark][session] = at

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def known_by(self, marks: Iterable[int]) -> Iterator[Evidence]:
        """What is known under these marks."""
        for mark in marks:
            for session, at in self._rows.get(mark, {}).items():
                yield Evidence(mark, session, at)

    def everything(self) -> list[Evidence]:
        """All of it."""
        return list(self.known_by(list(self._rows)))


class Run:
    """Plays a corpus against detectors. `restart` is what the new one is given at half-time: `none` goes on with the
    old one, `lookups` begins with nothing and asks, `told` is told everything at its start."""

    def __init__(
        self, seed: int, restart: str, max_sessions: int = 10000, corpus: Mapping[str, Behaviour] = BEHAVIOURS
    ) -> None:
        self._corpus = corpus
        self._rng = random.Random(seed)
        self._restart = restart
        self._ids = itertools.count()
        self._settings = Sessions(max=max_sessions)
        self._now = 1.7e9
        self._detector = self._new()
        self.database = Database()
        self.calls: list[Labelled] = []

    def play(self) -> list[Labelled]:
        """Every call with its session, in the order in which they came."""
        waiting = [
            (name, number, self._corpus[name](random.Random(self._rng.random())))
            for number, name in enumerate([name for name in self._corpus for _ in range(_EACH)])
        ]
        self._rng.shuffle(waiting)
        half = len(waiting) // 2
        active: list[tuple[str, int, Iterator[Step]]] = []
        running: list[tuple[tuple[str, int, Iterator[Step]], Assignment, Step]] = []
        restarted = self._restart == "none"
        while waiting or active or running:
            self._now += self._rng.random()
            if not restarted and len(waiting) <= half:
                restarted = True
                for _, assignment, step in running:  # they run to their end before a daemon goes
                    self._end(assignment, step)
                active += [one for one, _, _ in running]
                running.clear()
                self._detector = self._new()
                if self._restart == "told":
                    self._detector.recall(self.database.everything(), self._now)
            if waiting and len(active) + len(running) < _AT_ONCE:
                active.append(waiting.pop())
            elif running and (not active or self._rng.random() < 0.5):
                one, assignment, step = running.pop(self._rng.randrange(len(running)))
                self._end(assignment, step)
                active.append(one)
            else:
                one = active.pop(self._rng.randrange(len(active)))
                following = next(one[2], None)
                if following is not None:
                    running.append((one, self._begin(one[0], one[1], following), following))
        return self.calls

    def _new(self) -> Detector:
        return Detector(self._settings, Digests(_SECRET, 80000), lambda: f"s{next(self._ids)}")

    def _begin(self, name: str, conversation: int, step: Step) -> Assignment:
        fields = orjson.loads(orjson.dumps(step.fields))
        said = read_request(cast("Dialect", step.writer.dialect), step.writer.operation, fields)
        question = Question(step.scope, said, client_retry=step.retry)
        assignment = self._detector.assign(question, self._now)
        if assignment.unsure:
            found = list(self.database.known_by(assignment.unsure))
            self._detector.recall(found, self._now, assignment.unsure)
            assignment = self._detector.assign(question, self._now, look_up=False)
        assert assignment.session is not None
        self.calls.append(Labelled(name, 10 * conversation + step.part, assignment.session))
        return assignment

    def _end(self, assignment: Assignment, step: Step) -> None:
        learned = self._detector.answered(
            assignment,
            step.answer,
            step.response_id,
            self._now,
            complete=step.complete,
            others=step.others,
            item_id=step.item_id,
        )
        self.database.keep(learned.evidence)


def pairwise(calls: Sequence[Labelled]) -> tuple[float, float]:
    """(precision, recall) over pairs of calls: two that share a session should share a conversation."""
    both = Counter((one.conversation, one.session) for one in calls)
    found = _pairs(Counter(one.session for one in calls))
    right, wanted = _pairs(both), _pairs(Counter(one.conversation for one in calls))
    return right / found if found else 1.0, right / wanted if wanted else 1.0


def f1(calls: Sequence[Labelled]) -> float:
    """The harmonic mean of the two."""
    precision, recall = pairwise(calls)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def of_behaviour(calls: Sequence[Labelled], behaviour: str) -> list[Labelled]:
    """The calls of one behaviour and all that were put into a session with them."""
    sessions = {one.session for one in calls if one.behaviour == behaviour}
    return [one for one in calls if one.behaviour == behaviour or one.session in sessions]


def _pairs(counts: Counter[str] | Counter[int] | Counter[tuple[int, str]]) -> int:
    return sum(count * (count - 1) // 2 for count in counts.values())


def cost(messages: int, characters: int = 1000) -> float:
    """Median microseconds from the parsed body of so many messages, the system's among them, to its session; all but
    the last two were seen before."""
    writer, ids = OpenAiChat(), itertools.count()
    detector = Detector(Sessions(), Digests(_SECRET, 80000), lambda: f"s{next(ids)}")
    rng = random.Random(messages)
    texts = ["".join(rng.choice("abcdefgh ") for _ in range(characters)) for _ in range(messages - 1)]
    history = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    times = []
    for number in range(_ROUNDS * 20 // messages):
        now, head = float(number), writer.body("Be brief.", history[:-2])
        before = detector.assign(Question("key", read_request("openai", "chat", head)), now, look_up=False)
        detector.answered(before, spoken(f"{number} {texts[-2]}"), None, now)
        for message, text in zip(history[-2:], texts[-2:], strict=True):
            message["content"] = f"{number} {text}"
        fields = orjson.loads(orjson.dumps(writer.body("Be brief.", history)))
        began = time.perf_counter()
        assignment = detector.assign(Question("key", read_request("openai", "chat", fields)), now)
        times.append(time.perf_counter() - began)
        assert assignment.match == "exact"
    return sorted(times)[len(times) // 2] * 1e6


def main(seeds: int) -> int:
    """Prints the table; 1 where a figure is not what it should be."""
    good = True
    for (title, corpus), restart in itertools.product(_CORPORA.items(), ("none", "lookups", "told")):
        runs = [Run(seed, restart, corpus=corpus) for seed in range(seeds)]
        corpora = [run.play() for run in runs]
        whole = [one for seed, calls in enumerate(corpora) for one in _apart(calls, seed)]
        excused = _EQUAL | TOLD if restart == "lookups" else _EQUAL
        score, differing = f1(whole), f1([one for one in whole if one.behaviour not in excused])
        good = good and score >= _LEAST
        print(
            f"{title}, restart: {restart:<8} {len(whole):>7,} calls, {seeds} corpora   F1 {score:.4f}, wanted {_LEAST}"
        )
        print(f"{'':18}F1 {differing:.4f} where histories differ{' and lookups can tell' * (restart == 'lookups')}")
        print(f"{'':18}{sum(len(run.database) for run in runs) / len(whole):.1f} rows of evidence a call")
        for behaviour in corpus:
            part = of_behaviour(whole, behaviour)
            score, (precision, recall) = f1(part), pairwise(part)
            fine = score >= _LEAST_EACH or behaviour in excused
            good = good and fine
            note = "" if fine else "   TOO LOW"
            note = "   histories are equal" if behaviour in _EQUAL else note
            print(f"    {behaviour:<26} F1 {score:.4f}   precision {precision:.4f}   recall {recall:.4f}{note}")
    for messages in (20, 100, 400):
        took = min(cost(messages) for _ in range(_REPEATED))
        fine = took <= _MOST_US or messages > 20
        good = good and fine
        print(f"{messages:>4} messages of 1,000 characters: {took:6.1f} µs, {took / messages:.2f} µs a message")
    return 0 if good else 1


def _apart(calls: Sequence[Labelled], seed: int) -> Iterator[Labelled]:
    for one in calls:
        yield Labelled(one.behaviour, one.conversation + seed * 10**6, f"{seed}/{one.session}")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else _SEEDS))
