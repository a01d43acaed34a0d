"""Applies one fault after the other to a daemon under load, and says in a table what each has cost."""

from __future__ import annotations

import asyncio
import itertools
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tests.faults.faults import FAULTS, Fault
from tests.faults.stage import Stage, staged


@dataclass(frozen=True, slots=True)
class Cost:
    """What a fault has cost. `failed` are calls that it did not make impossible itself, `excused` those that it did;
    `wrong` is what was not as it should be, "" for nothing; memory is in MiB.
    """

    name: str
    calls: int
    failed: int
    excused: int
    lost: int
    heal: float
    before: float
    after: float
    wrong: str


async def run(directory: Path, *, rate: float, hold: float, seconds: float = 0.0, only: str = "*") -> list[Cost]:
    """Every fault whose name fits once, and again and again until `seconds` have passed."""
    chosen = [each for each in FAULTS if fnmatchcase(each.name, only)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    until, costs = began + seconds, []
    async with staged(directory, rate=rate, hold=hold) as stage:
        await stage.healed()
        for number, each in enumerate(itertools.cycle(chosen)):
            if number >= len(chosen) and loop.time() >= until:
                break
            costs.append(await _cost(stage, each))
            print(line(costs[-1]), file=sys.stderr, flush=True)
        reached = stage.load.begun / (loop.time() - began)
        carried = f"load: {rate:g} calls a second wanted, {reached:.0f} carried by this machine"
        for note in (*stage.notes, carried):
            print(note, file=sys.stderr)
        for kind, example in stage.load.examples.items():
            print(f"{kind}: {example}", file=sys.stderr)
    return costs


async def _cost(stage: Stage, fault: Fault) -> Cost:
    load, before, wrong, heal = stage.load, stage.memory, "", 0.0
    begun, failed, excused = load.begun, load.failed.total(), load.excused.total()
    load.excuse(fault.excuses)
    try:
        await fault.applied(stage)
        heal = await stage.healed()
        await load.settled()
        load.excuse(frozenset())
        lost = await stage.lost()
        assert not lost, f"lost: {sorted(lost)[:3]}"
        if load.failed.total() > failed:
            wrong = f"calls failed: {dict(load.failed)}; {list(load.examples.values())[-2:]}"
    except Exception as error:
        wrong = "".join(traceback.format_exception_only(error)).strip()
        lost = set()
        load.excuse(frozenset())
        if not stage.process.running:
            raise
    return Cost(
        fault.name,
        load.begun - begun,
        load.failed.total() - failed,
        load.excused.total() - excused,
        len(lost),
        heal,
        before,
        stage.memory,
        wrong,
    )


_HEAD = f"{'FAULT':38} {'CALLS':>7} {'FAILED':>7} {'(ITS OWN)':>9} {'LOST':>5} {'HEAL s':>7} {'MiB':>5} {'AFTER':>6}"


def line(cost: Cost) -> str:
    """A row of the table."""
    row = (
        f"{cost.name:38} {cost.calls:7} {cost.failed:7} {cost.excused:9} {cost.lost:5} {cost.heal:7.2f}"
        f" {cost.before:5.0f} {cost.after:6.0f}"
    )
    return f"{row}  {cost.wrong}".rstrip()


def table(costs: Iterable[Cost]) -> str:
    """All rows; of a fault that was applied several times one, with the worst of it."""
    worst: dict[str, Cost] = {}
    for each in costs:
        known = worst.get(each.name)
        worst[each.name] = each if known is None else _together(known, each)
    return "\n".join([_HEAD, *(line(each) for each in worst.values())])


def _together(one: Cost, other: Cost) -> Cost:
    return Cost(
        one.name,
        one.calls + other.calls,
        one.failed + other.failed,
        one.excused + other.excused,
        one.lost + other.lost,
        max(one.heal, other.heal),
        one.before,
        other.after,
        one.wrong or other.wrong,
    )
