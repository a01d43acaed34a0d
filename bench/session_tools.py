"""Strangers whose models call tools: loops that are cut, results in another order, other agents at work."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from bench.session_clients import Client, client, goes_on, in_turn, reply, request_for, use_of
from bench.session_talk import Step
from bench.session_wire import renamed


def tool_window(rng: random.Random) -> Iterator[Step]:
    """A tool loop of which the head is cut, within the pair of a call and its result too."""
    one, size = client(rng, "chat", "messages", "responses"), rng.randint(4, 7)
    one.ask(request_for(rng))
    for _ in range(rng.randint(5, 9)):
        use = use_of(rng)
        yield one.call(one.says("", use), sent=one.turns[-size:])
        one.results((use, reply(rng)))
    yield one.call(one.says(one.reply()), sent=one.turns[-size:])


def tools_at_once(rng: random.Random) -> Iterator[Step]:
    """Several tools at once, whose results come in another order, with other ids at times."""
    one, other = client(rng), rng.random() < 0.4
    one.ask(request_for(rng))
    for number in range(rng.randint(2, 5)):
        uses = [use_of(rng, rng.choice(("read_file", "grep"))) for _ in range(rng.randint(2, 4))]
        yield one.call(one.says(one.reply(1) if rng.random() < 0.4 else "", *uses))
        pairs = [(use, reply(rng)) for use in uses]
        rng.shuffle(pairs)
        if one.wire.operation == "generate_content":
            pairs.sort(key=lambda pair: uses.index(pair[0]))
        one.results(*pairs)
        if other:
            one.turns = renamed(one.turns, f"toolu_{number}_")
    yield one.call(one.says(one.reply()))
    yield from goes_on(one, 1)


def tools_alone(rng: random.Random) -> Iterator[Step]:
    """The model only calls tools, with the same arguments as for others; results differ."""
    one = client(rng, "chat", "messages", "responses")
    one.ask(request_for(rng))
    for name in ("list_files", "read_file", "run_tests")[: rng.randint(2, 3)]:
        use = use_of(rng, name, path=".")
        yield one.call(one.says("", use))
        one.results((use, f"{rng.randint(1, 10**6)} lines"))
    yield one.call(one.says(one.reply()))


def agents(rng: random.Random) -> Iterator[Step]:
    """Sub-agents with the same tools, one after another or at once."""
    one = client(rng, "chat", "messages", "responses")
    one.ask(request_for(rng))
    for _ in range(rng.randint(1, 2)):
        uses = [use_of(rng, "Task", description="look", prompt=f"Please {request_for(rng)} and {request_for(rng)}.")
                for _ in range(rng.randint(1, 3))]  # fmt: skip
        yield one.call(one.says("", *uses))
        running = []
        for use in uses:
            agent = Client(rng, one.wire, one.manner, f"You are an agent. {rng.random()}")
            agent.ask(str(use.input["prompt"]))
            running.append(_works(agent, rng.randint(1, 4)))
        yield from in_turn(rng, running)
        one.results(*((use, reply(rng)) for use in uses))
    yield one.call(one.says(one.reply()))


def _works(agent: Client, steps: int) -> Iterator[Step]:
    for _ in range(steps):
        use = use_of(agent.rng)
        yield agent.call(agent.says("", use))
        agent.results((use, reply(agent.rng)))
    yield agent.call(agent.says(agent.reply()))


def thoughtful(rng: random.Random) -> Iterator[Step]:
    """Thoughts before answers and tool calls, sent back within a loop and dropped after it."""
    one = client(rng, "messages", "responses", "gemini")
    for _ in range(rng.randint(2, 4)):
        one.ask(request_for(rng))
        one.manner = replace(one.manner, thoughts=True)
        use = use_of(rng)
        yield one.call(one.says("", use, thought=reply(rng)))
        one.results((use, reply(rng)))
        yield one.call(one.says(reply(rng), thought=reply(rng)))
        one.manner = replace(one.manner, thoughts=False)


def cleared(rng: random.Random) -> Iterator[Step]:
    """Old results of tools are cut short or cleared."""
    one = client(rng, "chat", "messages", "responses")
    one.ask(request_for(rng))
    for _ in range(rng.randint(4, 7)):
        use = use_of(rng)
        yield one.call(one.says(one.reply(1), use))
        one.turns = [
            replace(turn, results=tuple((use, "[old result cleared]") for use, _ in turn.results)) for turn in one.turns
        ]
        one.results((use, reply(rng)))
    yield one.call(one.says(one.reply()))
