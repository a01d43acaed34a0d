"""`python -m bench.cluster_order`: how many low calls go before a high one that comes to another daemon.

A thousand low calls wait in one of four daemons, before a strict upstream of 600 calls a minute. Then high ones come
to the others, one after another. At most one call may go before each: it may have had its turn already.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from contextlib import AsyncExitStack

import uvloop

from bench.cluster import Scenario, Stage, staged
from bench.queue.load import Calls, Load, fetch, read_answer
from bench.queue.upstream import Spec

_WAITING, _ASKED = 1000, 60
_AT_MOST = 1
_SCENARIO = Scenario(spec=Spec(kind="bucket of 1", per_minute=600), settings="requests_per_minute = 600")


async def main() -> bool:
    """Prints the row; whether every high call was the next one."""
    async with AsyncExitStack() as stack:
        stage = await staged(stack, _SCENARIO)
        low = Load(stage.daemons[0].port, Calls(headers=(("X-LLMQD-Priority", "low"),)))
        crowd = asyncio.create_task(low.run(_WAITING + 20, 600))
        stack.callback(crowd.cancel)
        while (await fetch(stage.daemons[1].port, "/queue?limit=1"))["total"] < _WAITING:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        before, waits = [], []
        for number in range(_ASKED):
            passed, wait = await _high(stage, number)
            before.append(passed)
            waits.append(wait)
        good = max(before) <= _AT_MOST and not low.refused + low.failed
    print(
        f"{_ASKED} high calls, each past {_WAITING:,} low ones in another daemon: {max(before)} went before one of them"
        f" at most (at most {_AT_MOST}), answered in {statistics.median(waits) * 1000:.0f} ms (median),"
        f" {max(waits) * 1000:.0f} ms (longest): {'yes' if good else 'NO'}"
    )
    return good


async def _high(stage: Stage, number: int) -> tuple[int, float]:
    """How many calls went upstream after a high one was asked for and before it, and its seconds."""
    daemon = stage.daemons[1 + number % (len(stage.daemons) - 1)]
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    began, wall = time.perf_counter(), time.time()
    writer.write(Calls(streamed=0.0, headers=(("X-LLMQD-Priority", "high"),)).draw(random.Random(number)))
    status, _ = await read_answer(reader)
    took = time.perf_counter() - began
    writer.close()
    accepted = (await fetch(stage.port, "/figures"))["accepted"]
    assert status == 200
    return sum(wall < at < wall + took for at, *_ in accepted) - 1, took


if __name__ == "__main__":
    raise SystemExit(0 if uvloop.run(main()) else 1)
