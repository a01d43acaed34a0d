"""How late this machine is: a process that sleeps a millisecond at a time and tells how much longer it took."""

from __future__ import annotations

import asyncio
import select
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_SLEEP = 0.001
_STEP = 0.0001
_STEPS = 20_000
"""Lateness is counted in tenths of a millisecond, up to two seconds."""


@dataclass(slots=True)
class Noise:
    """Milliseconds by which a sleeper woke late, and the part of all processors that was busy (0 to 1)."""

    p50: float = 0.0
    p99: float = 0.0
    most: float = 0.0
    busy: float = 0.0

    def __str__(self) -> str:
        late = f"p50 {self.p50:.1f}, p99 {self.p99:.1f}, max {self.most:.1f} ms"
        return f"machine {self.busy:.0%} busy, a sleeper late by {late}"


@asynccontextmanager
async def listening() -> AsyncIterator[Noise]:
    """Fills what it gives when the context is left."""
    noise = Noise()
    pipe = asyncio.subprocess.PIPE
    sleeper = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.queue.noise", stdin=pipe, stdout=pipe)
    idle, total = _processors()
    try:
        yield noise
    finally:
        now_idle, now_total = _processors()
        told, _ = await sleeper.communicate(b"")
        noise.p50, noise.p99, noise.most = map(float, told.split())
        noise.busy = 1 - (now_idle - idle) / max(now_total - total, 1)


def _processors() -> tuple[int, int]:
    """Ticks that all processors have been idle, and all ticks (proc(5))."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def percentile(counts: list[int], part: float) -> float:
    """The lateness in milliseconds that this part of the sleeps did not exceed."""
    wanted, seen = part * sum(counts), 0
    for step, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return step * _STEP * 1000
    return len(counts) * _STEP * 1000


def main() -> None:
    """Sleeps until its standard input ends, then prints p50, p99 and the longest lateness in milliseconds."""
    counts, most = [0] * _STEPS, 0.0
    while True:
        began = time.perf_counter()
        ready, _, _ = select.select([sys.stdin], [], [], _SLEEP)
        if ready:
            break
        late = time.perf_counter() - began - _SLEEP
        most = max(most, late)
        counts[min(max(int(late / _STEP), 0), _STEPS - 1)] += 1
    print(percentile(counts, 0.5), percentile(counts, 0.99), most * 1000)


if __name__ == "__main__":
    main()
