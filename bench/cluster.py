"""`make bench-cluster`: several daemons, a real Redis and a strict upstream as processes, under load.

Prints for each scenario how many calls the upstream let through and refused, how many clients saw fail, calls a minute
and the share of the limit that was used (`bench.queue.yardstick`) once all were busy, and how unfair it was.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.queue.load import Calls, Load, fetch
from bench.queue.stage import upstream
from bench.queue.upstream import Spec
from bench.queue.yardstick import rate, steady, used
from tests.process import LlmqdProcess
from tests.redis_server import RedisServer, server

_STORE = '[store]\nbatch_every = "2s"\nsync_every = "5s"\n[log]\nlevel = "warning"\n'
_USED, _UNFAIR = 0.98, 0.03
"""The share of each limit that is used at least, and by which a daemon may be away from the average."""


@dataclass
class Stage:
    """Daemons before one upstream."""

    port: int
    redis: RedisServer
    daemons: list[LlmqdProcess]
    began: float = 0.0
    before: list[int] = field(default_factory=list)
    """How many calls of each were answered before the steady part."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`settings` stand in the daemons' [[upstream]]."""

    spec: Spec
    settings: str
    seconds: float = 70.0
    daemons: int = 4
    clients: int = 15
    queue: str = ""
    steady_after: float = 10.0
    refused: int = 0
    """So many calls the upstream may refuse."""


def _rpm(kind: str, per_minute: float = 600, more: str = "", seconds: float = 70) -> Scenario:
    settings = f"requests_per_minute = {per_minute}\n{more}"
    return Scenario(spec=Spec(kind=kind, per_minute=per_minute), settings=settings, seconds=seconds)


SCENARIOS: dict[str, Scenario] = {
    "bucket of 1": _rpm("bucket of 1"),
    "bucket": _rpm("bucket", more='algorithm = "bucket"\nburst = 600'),
    "quantised": _rpm("quantised", more='quantum = "1s"'),
    "fixed": _rpm("fixed", more='algorithm = "fixed"', seconds=130),
    "sliding": _rpm("sliding", more='algorithm = "sliding"', seconds=130),
    "fast": _rpm("bucket of 1", 2400),
    "bucket of 10": _rpm("bucket of 10", 2400, more='algorithm = "bucket"\nburst = 10'),
    "concurrency": Scenario(
        spec=Spec(concurrency=20, seconds=0.5), settings="requests_per_minute = 0\nmax_concurrent = 20"
    ),
    "tokens": Scenario(
        spec=Spec(tokens={"tokens": ("actual", "sliding", 200_000)}),
        settings="requests_per_minute = 0\ntokens_per_minute = 200000",
        seconds=190,
        steady_after=60.0,
    ),
    "learned": Scenario(
        spec=Spec(kind="bucket", per_minute=600, headers="openai"), settings="", seconds=130, refused=3
    ),
}


async def staged(stack: AsyncExitStack, scenario: Scenario, *, shared: bool = True) -> Stage:
    """Daemons before an upstream, with a Redis or (not `shared`) each by itself."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmqd-bench-")))
    port = await upstream(stack, scenario.spec, directory / "upstream.log")
    redis = stack.enter_context(server(directory))
    daemons = []
    for number in range(scenario.daemons):
        (own := directory / str(number)).mkdir()
        cluster = f'[cluster]\nredis = "{redis.url}"\nmembers = {scenario.daemons}\n' if shared else ""
        toml = (
            f"{_STORE}{cluster}[queue]\n{scenario.queue}\n"
            f'[[upstream]]\nname = "openai"\nbase_url = "http://127.0.0.1:{port}"\napi_key = "x"\n'
            f"{scenario.settings}\n"
        )
        daemon = LlmqdProcess(own, toml)
        await daemon.start()
        stack.push_async_callback(_end, daemon)
        daemons.append(daemon)
    await asyncio.sleep(2)
    return Stage(port, redis, daemons, time.time())


async def loaded(stage: Stage, scenario: Scenario) -> list[Load]:
    """Keeps the clients of every daemon busy for as long as the scenario says."""
    loads = [Load(one.port, Calls(headers=(("X-LLMQD-User", f"u{n}"),))) for n, one in enumerate(stage.daemons)]
    async with asyncio.TaskGroup() as group:
        for load in loads:
            group.create_task(load.run(scenario.clients, scenario.seconds))
        await asyncio.sleep(min(scenario.steady_after, scenario.seconds))
        stage.before = [load.statuses[200] for load in loads]
    return loads


async def play(name: str, scenario: Scenario) -> bool:
    """Plays one scenario and prints what came of it; whether that is good enough."""
    async with AsyncExitStack() as stack:
        stage = await staged(stack, scenario)
        loads = await loaded(stage, scenario)
        good = report(name, scenario, stage, loads, await fetch(stage.port, "/figures"))
        for number, daemon in enumerate(stage.daemons):
            for line in daemon.log.read_text().splitlines()[:12]:
                if "cannot notify systemd" not in line:  # nobody reads what they tell
                    print(f"    {number}: {line[:220]}")
    return good


def report(name: str, scenario: Scenario, stage: Stage, loads: list[Load], counted: dict[str, Any]) -> bool:
    """Prints a row; whether it is good enough. Unfairness is the share by which the daemon farthest from the average is
    away from it. Both it and the share of the limit are those of the steady part."""
    end = min(load.ended for load in loads)
    span = steady(stage.began, scenario.steady_after, end)
    used_ = used(scenario.spec, counted["accepted"], counted["places"], span)
    per = [load.statuses[200] - before for load, before in zip(loads, stage.before, strict=True)]
    average = sum(per) / len(per)
    unfair = max(abs(each - average) for each in per) / max(average, 1)
    failed = sum(load.refused + load.failed for load in loads)
    share = "-" if used_ is None else f"{used_:.3f}"
    through, refused, minutely = len(counted["accepted"]), counted["refused"], rate(counted["accepted"], span)
    good = refused <= scenario.refused and not failed and (used_ or 0.0) >= _USED and unfair <= _UNFAIR
    print(
        f"{name:<14}{through:>8}{refused:>6}{failed:>8}{minutely:>10,.0f}{share:>8}{unfair:>9.1%}"
        f"{'' if good else '  not good enough'}",
        flush=True,
    )
    for error in {error for load in loads for error in load.errors}:
        print("   ", error[:200])
    return good


async def _end(daemon: LlmqdProcess) -> None:
    if daemon.running:
        await daemon.kill()


async def main() -> bool:
    """Plays the scenarios that are named, or all; whether all are good enough."""
    print(f"{'':<14}{'CALLS':>8}{'429':>6}{'FAILED':>8}{'A MINUTE':>10}{'USED':>8}{'UNFAIR':>9}")
    return all([await play(name, SCENARIOS[name]) for name in sys.argv[1:] or SCENARIOS])


if __name__ == "__main__":
    raise SystemExit(0 if asyncio.run(main()) else 1)
