"""`python -m tests.faults.soak`: a steady load with texts for a long time; what the daemon holds, minute by minute."""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.faults.stage import Stage, staged

_SETTLED = 10
"""Minutes after which memory should not grow any more."""
_HEAD = f"{'MINUTE':>6} {'CALLS':>8} {'FAILED':>6} {'MiB':>7} {'FDS':>5} {'TASKS':>6} {'THREADS':>7} {'DB MiB':>7}"


@dataclass(frozen=True, slots=True)
class Minute:
    """How it was at the end of a minute; sizes in MiB."""

    number: int
    calls: int
    failed: int
    memory: float
    descriptors: int
    tasks: int
    threads: int
    database: float

    def __str__(self) -> str:
        return (
            f"{self.number:6} {self.calls:8} {self.failed:6} {self.memory:7.1f} {self.descriptors:5} {self.tasks:6}"
            f" {self.threads:7} {self.database:7.1f}"
        )


async def soak(directory: Path, *, minutes: int, rate: float) -> list[Minute]:
    """Prints each minute as it ends."""
    seen: list[Minute] = []
    async with staged(directory, rate=rate, hold=0, texts=True, mounting=False) as stage:
        await stage.healed()
        print(f"load: {rate:g} calls a second wanted", _HEAD, sep="\n")
        for number in range(1, minutes + 1):
            await asyncio.sleep(60)
            seen.append(await _minute(stage, number))
            print(seen[-1], flush=True)
        await stage.load.settled()
        lost = await stage.lost()
        print(f"records lost: {len(lost)}; failed: {dict(stage.load.failed)} {stage.load.examples}")
    return seen


async def _minute(stage: Stage, number: int) -> Minute:
    async with stage.web.get(f"{stage.process.url}/metrics") as answer:
        metrics = await answer.text()
    found = re.search(r"^llmqd_tasks ([0-9.e+]+)$", metrics, re.MULTILINE)
    status = Path(f"/proc/{stage.process.pid}/status").read_text()
    return Minute(
        number,
        stage.load.begun,
        stage.load.failed.total(),
        stage.memory,
        stage.descriptors,
        int(float(found[1])) if found else -1,
        int(status.partition("Threads:")[2].split()[0]),
        sum(path.stat().st_size for path in stage.state.glob("llmqd.db*")) / (1 << 20),
    )


def verdict(seen: list[Minute]) -> str:
    """How much memory has grown since it should have settled."""
    since = [each for each in seen if each.number >= min(_SETTLED, len(seen) // 2 + 1)]
    first, last = since[0], since[-1]
    return (
        f"memory from minute {first.number} to {last.number}: {first.memory:.1f} to {last.memory:.1f} MiB"
        f" ({last.memory / first.memory - 1:+.1%}); descriptors {min(each.descriptors for each in since)} to"
        f" {max(each.descriptors for each in since)}, tasks {min(each.tasks for each in since)} to"
        f" {max(each.tasks for each in since)}"
    )


def main() -> int:
    """Prints the figures and what they say."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=100.0, metavar="N", help="calls a second (default: 100)")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="llmqd-soak-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        seen = runner.run(soak(Path(directory), minutes=args.minutes, rate=args.rate))
    print(verdict(seen))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
