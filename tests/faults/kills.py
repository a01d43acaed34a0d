"""`python -m tests.faults.kills`: kill -9 at random moments under load, again and again; what the ledger then says."""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.faults.stage import Stage, staged

_BUDGETED = 60
"""Calls a kill for which the budget has room. The load makes more, so that it is used up before the last kill."""
_EXCUSES = frozenset(("refused", "cut", "429"))


@dataclass(frozen=True, slots=True)
class Killed:
    """What all kills together have cost. `counted` are the calls in the roll-up of usage, of `recorded` in the ledger,
    `spent` those of the budget of `budget` calls, of which `sent` arrived upstream.
    """

    kills: int
    delivered: int
    interrupted: int
    refused: int
    failed: dict[str, int]
    examples: dict[str, str]
    lost: int
    recorded: int
    counted: int
    budget: int
    spent: int
    sent: int

    @property
    def wrong(self) -> list[str]:
        """Everything that is not as it was promised."""
        found = []
        if self.lost:
            found.append(f"{self.lost} calls that were delivered in full are not in the ledger")
        if self.counted != self.recorded:
            found.append(f"usage counts {self.counted} calls, the ledger has {self.recorded}")
        if max(self.spent, self.sent) > self.budget:
            found.append(f"{self.spent} calls spent, {self.sent} sent, of a budget of {self.budget}")
        if self.failed:
            found.append(f"calls failed: {self.failed}, such as {[self.examples[kind] for kind in self.failed]}")
        return found

    def __str__(self) -> str:
        return (
            f"{self.kills} kills: {self.delivered} calls delivered in full, {self.lost} of them lost;"
            f" {self.interrupted} interrupted, {self.refused} refused by the budget; {self.recorded} in the ledger,"
            f" {self.counted} counted in usage; {self.spent} of a budget of {self.budget} spent, {self.sent} sent"
        )


async def kill_again_and_again(directory: Path, *, kills: int, rate: float, seed: int) -> Killed:
    """Kills a daemon that is under load, and starts it again, `kills` times."""
    noise = random.Random(seed)
    budget = kills * _BUDGETED
    more = f'[[budget]]\nlimit = "{budget} calls/life"\n'
    async with staged(directory, rate=rate, hold=0, mounting=False, more=more) as stage:
        stage.load.excuse(_EXCUSES)
        for number in range(1, kills + 1):
            await _answered(stage, noise.randint(10, 120))
            await asyncio.sleep(noise.uniform(0, 0.05))
            await stage.restart()
            if number % 20 == 0:
                print(f"{number} kills, {len(stage.load.delivered)} calls delivered", flush=True)
        await _until_refused(stage)
        stage.load.stop()
        await stage.load.settled()
        lost = await stage.lost()
        await stage.process.stop()
        return _counted(stage, kills, budget, len(lost))


async def _answered(stage: Stage, more: int) -> None:
    """So many more calls have been answered. The moment of a kill is counted in them, so that a slow machine is hit as
    often in the middle of its work as a quick one."""
    load = stage.load
    enough = len(load.delivered) + load.excused["429"] + more
    async with asyncio.timeout(60):
        while len(load.delivered) + load.excused["429"] < enough:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


async def _until_refused(stage: Stage) -> None:
    """The budget is used up to its end, if it was not yet."""
    async with asyncio.timeout(120):
        while (await stage.ask("gpt-4o"))[0] != 429:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


def _counted(stage: Stage, kills: int, budget: int, lost: int) -> Killed:
    [(recorded, interrupted)] = stage.process.rows("SELECT count(*), sum(status = 'interrupted') FROM calls")
    [(counted,)] = stage.process.rows("SELECT sum(calls) FROM usage WHERE by = 'all' AND step = 3600")
    [(spent,)] = stage.process.rows("SELECT calls FROM spending WHERE by = 'all' AND slot = 0")
    return Killed(
        kills,
        len(stage.load.delivered),
        int(str(interrupted)),
        stage.load.excused["429"],
        dict(stage.load.failed),
        dict(stage.load.examples),
        lost,
        int(str(recorded)),
        int(str(counted)),
        budget,
        int(str(spent)),
        len(stage.upstream.requests),
    )


def main() -> int:
    """1 where something was lost, counted twice or spent beyond the budget."""
    parser = argparse.ArgumentParser(prog="make test-kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="how often (default: 200)")
    parser.add_argument("--load", type=float, default=200.0, metavar="N", help="calls a second (default: 200)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().getrandbits(32), help="the same moments again"
    )
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="llmqd-kills-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        killed = runner.run(kill_again_and_again(Path(directory), kills=args.kills, rate=args.load, seed=args.seed))
    print(killed, *killed.wrong, sep="\n")
    return int(bool(killed.wrong))


if __name__ == "__main__":
    raise SystemExit(main())
