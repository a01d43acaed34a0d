"""`make bench-cluster-scaling`: how much more two daemons carry than one, by the CPU time that each needs for a call.

Load, upstream and Redis run on the same machine and take cores from the daemons, so the rate alone says little where
there are few. What counts is CPU: with a core for each, daemons together carry as many calls a second as the busiest of
them has CPU time for. Rows: one daemon by itself, one with a Redis, two with one, each without limits and with one that
is never reached. Each daemon has its own clients, so that each is as busy as one by itself. Two must carry 1.7 times as
much as the one without Redis.
"""

from __future__ import annotations

import argparse
from contextlib import AsyncExitStack
from dataclasses import replace

import uvloop

from bench.cluster import Scenario, Stage, loaded, staged
from bench.processes import cpu_seconds
from bench.queue.upstream import Spec

_LEAST = 1.7
_WARM_UP = 3.0
_LIMITS = {"no limit": "requests_per_minute = 0", "a limit": 'requests_per_minute = 6000000\nalgorithm = "bucket"'}


async def measured(scenario: Scenario, *, shared: bool) -> tuple[float, list[float], float]:
    """Calls a second, and for each call seconds of CPU of each daemon and of Redis."""
    async with AsyncExitStack() as stack:
        stage: Stage = await staged(stack, scenario, shared=shared)
        await loaded(stage, replace(scenario, seconds=_WARM_UP))
        pids = [*(daemon.pid for daemon in stage.daemons), stage.redis.pid]
        before = [cpu_seconds(pid) for pid in pids]
        loads = await loaded(stage, scenario)
        took = [cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True)]
        calls = sum(load.statuses[200] for load in loads)
        assert calls, [load.errors for load in loads]
        *each, redis = [seconds / calls for seconds in took]
        return calls / scenario.seconds, each, redis


async def main(seconds: float, clients: int) -> bool:
    """Prints the table; whether two carry enough."""
    print(
        f"{'':<24}{'CALLS/S':>9}{'CPU OF EACH, µs A CALL':>26}{'REDIS':>8}{'CALLS/S A CORE EACH':>22}{'TIMES':>8}",
        flush=True,
    )
    one, good = 0.0, True
    for limit, settings in _LIMITS.items():
        for name, daemons, shared in (("1", 1, False), ("1 with Redis", 1, True), ("2 with Redis", 2, True)):
            scenario = Scenario(
                spec=Spec(), settings=f"{settings}\nlearn = false", daemons=daemons, clients=clients,
                seconds=seconds,
            )  # fmt: skip
            rate, each, redis = await measured(scenario, shared=shared)
            carried = 1 / max(each)
            one = carried if name == "1" else one
            costs = ", ".join(f"{seconds * 1e6:.0f}" for seconds in each)
            print(
                f"{name + ', ' + limit:<24}{rate:>9.0f}{costs:>26}{redis * 1e6:>8.0f}{carried:>22.0f}"
                f"{carried / one:>8.2f}",
                flush=True,
            )
            if daemons == 2:
                good = good and carried / one >= _LEAST
    print(f"two daemons carry {_LEAST} times as much as one: {'yes' if good else 'NO'}")
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each row is measured")
    parser.add_argument("--clients", type=int, default=30, help="clients of each daemon that are always busy")
    given = parser.parse_args()
    raise SystemExit(0 if uvloop.run(main(given.seconds, given.clients)) else 1)
