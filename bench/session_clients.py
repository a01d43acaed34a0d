"""Clients of the third corpus: what each keeps of its conversation, sends of it, and is answered on the wire."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from bench.session_talk import Step
from bench.session_wire import WIRES, Chat, Manner, Turn, Use, any_manner, shuffled
from llmqd.messages.answer import read_answer

_SUBJECTS = [
    "login page",
    "billing report",
    "search index",
    "mail queue",
    "user table",
    "cache layer",
    "test suite",
    "build script",
]
_VERBS = ["fix", "rename", "review", "explain", "speed up", "split", "document", "remove", "port", "lint"]
_ENDS = [
    "in Python",
    "for mobile",
    "without a lock",
    "by tomorrow",
    "like last time",
    "on staging",
    "for the café",
    "in two steps",
]
_ASIDES = ("yes", "go on", "continue", "ok, thanks", "no, the other one", "why?", "do it", "and now in German please")
_LINES = (
    "The change is small: one function moves and two callers follow.",
    "I have looked at it and there are three things worth mentioning.",
    "Run the tests again, then look at the log once more.",
    "That depends on how many rows the table has; assume a few thousand.",
    "Here is the plan. First the schema, then the reader, then the writer.",
    "```python\ndef total(rows):\n    return sum(row.amount for row in rows)\n```",
    "Natürlich – das lässt sich leicht ändern, größere Umbauten braucht es nicht.",
    "Nothing else refers to it, so it can go.",
)
SYSTEM = "You are a coding assistant. Use the tools. Be brief."


def request_for(rng: random.Random) -> str:
    """What somebody wants: short, and like what others want."""
    return f"{rng.choice(_VERBS)} the {rng.choice(_SUBJECTS)} {rng.choice(_ENDS)} ({rng.randint(1, 400)})"


def aside(rng: random.Random) -> str:
    """What everybody says between."""
    return rng.choice(_ASIDES)


def reply(rng: random.Random, lines: int = 3) -> str:
    """What a model says to it: sentences that all of them use, and now and then a number of its own."""
    told = [rng.choice(_LINES) for _ in range(rng.randint(1, lines))]
    return "\n\n".join([f"About {rng.choice(_SUBJECTS)} #{rng.randint(1, 10**4)}:", *told])


def new_id(rng: random.Random) -> str:
    """As providers make them."""
    return f"{rng.getrandbits(96):024x}"


def use_of(rng: random.Random, name: str = "read_file", **more: str) -> Use:
    """A call of a tool, much like those of other conversations."""
    path = f"src/{rng.choice(_SUBJECTS).replace(' ', '_')}.py"
    given: dict[str, object] = {**more} or {"path": path, "limit": rng.choice((50, 100))}
    return Use(f"call_{new_id(rng)}", name, given)


@dataclass(slots=True)
class Client:
    """One program and its conversation."""

    rng: random.Random
    wire: Chat
    manner: Manner = field(default_factory=Manner)
    system: str | None = SYSTEM
    turns: list[Turn] = field(default_factory=list)
    scope: str = "key-1"
    part: int = 0
    streams: bool = True
    terse: bool = False

    def reply(self, lines: int = 3) -> str:
        """What its model says: sentences, or one word each time."""
        return self.rng.choice(("Yes", "OK.", "Done")) if self.terse else reply(self.rng, lines)

    def ask(self, text: str, image: str = "") -> None:
        """The user says something."""
        self.turns.append(Turn("user", text, image=image))

    def results(self, *pairs: tuple[Use, str]) -> None:
        """The tools have run."""
        self.turns.append(Turn("tool", results=pairs))

    def says(self, text: str = "", *uses: Use, thought: str = "") -> Turn:
        """Something a model says."""
        return Turn("assistant", text, tuple(uses), thought=thought, id=new_id(self.rng))

    def call(
        self, told: Turn | None, *, sent: list[Turn] | None = None, kept: bool = True, cut: float = 1.0, retry: int = 0
    ) -> Step:
        """A call with `sent`, or all of the history; what it is `told` (None: nothing, it fails) is then part of it.

        `cut` is the part of the answer's bytes that come, `retry` which try of the SDK it is.
        """
        fields = self.wire.request(self.system, self.turns if sent is None else sent, self.manner)
        fields |= self.manner.more or {}
        fields = shuffled(self.rng, fields) if self.manner.shuffled else fields
        step = self.sent(fields, told, cut, retry)
        if told is not None and kept:
            self.turns.append(told)
        return step

    def sent(self, fields: object, told: Turn | None, cut: float = 1.0, retry: int = 0) -> Step:
        """A call with this body."""
        answer = response_id = item_id = None
        if told is not None:
            if self.streams:
                kind, body = "text/event-stream", b"".join(self.wire.stream(told))
            else:
                kind, body = "application/json", self.wire.whole(told)
            body = body[: int(len(body) * cut)]
            read = read_answer(self.wire.dialect, self.wire.operation, kind, body)  # type: ignore[arg-type]
            if read is not None:
                answer, response_id, item_id = read.message, read.provider_id, read.item_id
        complete = cut == 1.0 and answer is not None
        names = response_id, item_id
        return Step(self.wire, fields, answer, retry, complete, self.scope, *names, self.part)  # type: ignore[arg-type]


def client(rng: random.Random, *wires: str, **more: object) -> Client:
    """One of any API (of these) that writes in any manner."""
    wire = WIRES[rng.choice(wires or tuple(WIRES))]
    manner, streams, terse = any_manner(rng), rng.random() < 0.7, rng.random() < 0.15
    return Client(rng, wire, manner, streams=streams, terse=terse, **more)  # type: ignore[arg-type]


def asking_for(one: Client, **more: object) -> None:
    """From now on it asks for something else as well."""
    one.manner = replace(one.manner, more={**(one.manner.more or {}), **more})


def goes_on(one: Client, turns: int) -> Iterator[Step]:
    """So many turns more; what opens a conversation is its own."""
    for _ in range(turns):
        one.ask(aside(one.rng) if one.turns and one.rng.random() < 0.4 else request_for(one.rng))
        yield one.call(one.says(one.reply()))


def in_turn(rng: random.Random, running: list[Iterator[Step]]) -> Iterator[Step]:
    """What they do, each at its own pace, until all have ended."""
    while running:
        step = next(chosen := rng.choice(running), None)
        if step is None:
            running.remove(chosen)
        else:
            yield step
