"""`make bench-cluster`: several daemons, a real Redis and a strict upstream as processes, under load.

Prints for each scenario what the upstream let through and refused, what clients saw, and how much of it was used.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.queue.load import Calls, Load, fetch
from bench.queue.stage import upstream
from bench.queue.upstream import Spec
from tests.process import LlmqdProcess
from tests.redis_server import RedisServer, server

_STORE = '[store]\nbatch_every = "2s"\nsync_every = "5s"\n[log]\nlevel = "warning"\n'


@dataclass
class Stage:
    """Daemons before one upstream."""

    port: int
    redis: RedisServer
    daemons: list[LlmqdProcess]
    began: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`settings` stand in the daemons' [[upstream]]."""

    spec: Spec
    settings: str
    seconds: float = 70.0
    daemons: int = 4
    clients: int = 15
    queue: str = ""


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
    "concurrency": Scenario(
        spec=Spec(concurrency=20, seconds=0.5), settings="requests_per_minute = 0\nmax_concurrent = 20"
    ),
    "tokens": Scenario(
        spec=Spec(tokens={"tokens": ("actual", "sliding", 60000)}),
        settings="requests_per_minute = 0\ntokens_per_minute = 60000",
        seconds=130,
    ),
    "learned": Scenario(spec=Spec(kind="bucket", per_minute=600, headers="openai"), settings="", seconds=60),
    "open": Scenario(spec=Spec(), settings="requests_per_minute = 0\nlearn = false", daemons=2, clients=40, seconds=20),
}


async def play(name: str, scenario: Scenario) -> None:
    """Plays one scenario and prints what came of it."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmqd-bench-")))
        port = await upstream(stack, scenario.spec, directory / "upstream.log")
        redis = stack.enter_context(server(directory))
        daemons = []
        for number in range(scenario.daemons):
            (own := directory / str(number)).mkdir()
            toml = (
                f'{_STORE}[cluster]\nredis = "{redis.url}"\nmembers = {scenario.daemons}\n[queue]\n{scenario.queue}\n'
                f'[[upstream]]\nname = "openai"\nbase_url = "http://127.0.0.1:{port}"\napi_key = "x"\n'
                f"{scenario.settings}\n"
            )
            daemon = LlmqdProcess(own, toml)
            await daemon.start()
            stack.push_async_callback(_end, daemon)
            daemons.append(daemon)
        await asyncio.sleep(2)
        stage = Stage(port, redis, daemons, time.time())
        loads = [Load(daemon.port, Calls(headers=(("X-LLMQD-User", f"u{n}"),))) for n, daemon in enumerate(daemons)]
        await asyncio.gather(*(load.run(scenario.clients, scenario.seconds) for load in loads))
        counted = await fetch(port, "/figures")
        report(name, scenario, stage, loads, counted)
        for number, daemon in enumerate(daemons):
            for line in daemon.log.read_text().splitlines()[:12]:
                print(f"    {number}: {line[:220]}")


def report(name: str, scenario: Scenario, stage: Stage, loads: list[Load], counted: dict[str, object]) -> None:
    """Prints the figures."""
    times = sorted(each[0] for each in counted["accepted"])  # type: ignore[attr-defined]
    end = min(load.ended for load in loads)
    steady = [at for at in times if stage.began + 10 <= at <= end]
    rate = len(steady) / (end - stage.began - 10) * 60
    per = [load.statuses[200] for load in loads]
    print(
        f"{name}: {len(times)} let through, {counted['refused']} refused; {rate:,.0f}/min after 10 s"
        f" ({rate / scenario.spec.per_minute:.4f} of {scenario.spec.per_minute:g}); by daemon {per};"
        f" clients: {dict(sum((load.statuses for load in loads), Counter()))}, broken {[load.broken for load in loads]}"
    )
    for error in {error for load in loads for error in load.errors}:
        print("   ", error[:200])
    sys.stdout.flush()


async def _end(daemon: LlmqdProcess) -> None:
    if daemon.running:
        await daemon.kill()


async def main() -> None:
    """Plays the scenarios that are named, or all."""
    for name in sys.argv[1:] or SCENARIOS:
        await play(name, SCENARIOS[name])


if __name__ == "__main__":
    asyncio.run(main())
