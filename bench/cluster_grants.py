"""`python -m bench.cluster_grants`: what a turn costs in Redis, and how many a second one Redis takes.

A lane is asked without HTTP: its owner lets calls through in batches, each written down and told to three other daemons
by the one script that does it. Redis's own figures (`INFO cpu`) say how much of its time that took, sockets included.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from itertools import count
from pathlib import Path

import orjson
import uvloop

from llmqd.cluster.link import Link
from llmqd.cluster.messages import Names
from llmqd.cluster.past import KEPT
from llmqd.config.redis_url import RedisUrl
from tests.redis_server import RedisServer, server

LONGEST = 150.0
"""Microseconds of Redis that a turn may take."""
LEAST = 10_000
"""Turns a second that one Redis has to take."""
_LANE = "openai"
_OTHERS = 3


def _spent(redis: RedisServer) -> float:
    """Seconds of CPU that Redis has used so far."""
    told = dict(each.split(":") for each in redis.cli("INFO", "cpu").split() if ":" in each)
    return float(told["used_cpu_sys_main_thread"]) + float(told["used_cpu_user_main_thread"])


def _grant(names: Names, token: int, numbers: list[int], now: float) -> tuple[list[str], list[str | bytes]]:
    """One batch as `Messages` sends it: a step for each member, and what each is told."""
    members = [f"m{each}" for each in range(1, _OTHERS + 1)]
    steps = [[member, ["gpt-4o-mini", now, len(numbers) // _OTHERS, 400, 100, 0]] for member in members]
    said: list[str | bytes] = []
    for index, member in enumerate(members):
        turns = [["g", number, now, 0.5] for number in numbers[index::_OTHERS]]
        if turns:
            said += [names.channel(member), orjson.dumps(["m0", "d", [[_LANE, token, 1, turns]]])]
    keys = [*names.shared[:2], names.of_lane(_LANE, "past"), names.of_lane(_LANE, "hours")]
    hour = f"{int(now // 3600)}|gpt-4o-mini"
    return keys, [_LANE, "m0", str(token), orjson.dumps(steps), str(KEPT), "1", hour, str(len(numbers)), *said]


async def measured(redis: RedisServer, batch: int, seconds: float, per_second: float) -> tuple[float, float]:
    """(microseconds of Redis for each turn, turns a second), at `per_second` turns or as many as go (0)."""
    names = Names("{bench}")
    url = RedisUrl(redis.url)
    link = await Link.to(url, names.channel("m0"), "{bench}")
    others = [await Link.to(url, names.channel(f"m{each}"), "{bench}") for each in range(1, _OTHERS + 1)]
    listening = [asyncio.create_task(_heard(other)) for other in others]
    *_, owners = await link.beat(names.shared, ["m0", 3600, 1.0, names.channel(""), 3600, _LANE, ""])
    token = int(owners[0].decode().rpartition("|")[2])
    before = _spent(redis)
    numbers, done, began = count(1), 0, time.perf_counter()
    while (now := time.perf_counter() - began) < seconds:
        due = int(now * per_second) - done if per_second else batch
        if due < batch and per_second:
            await asyncio.sleep((batch - due) / per_second)
            continue
        turns = [next(numbers) for _ in range(max(min(due, 2000), batch))]
        assert await link.say([_grant(names, token, turns, await link.time())], []) == [True]
        done += len(turns)
    took = time.perf_counter() - began
    micros = (_spent(redis) - before) * 1e6
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    for each in (link, *others):
        await each.close()
    return micros / done, done / took


async def _heard(link: Link) -> None:
    async for _ in link.heard():
        pass


async def main(seconds: float) -> bool:
    """Prints the table; whether both targets are met."""
    good = True
    print(f"{'turns in a batch':>18} {'µs of Redis a turn':>20} {'turns a second':>16}", flush=True)
    with tempfile.TemporaryDirectory() as directory, server(Path(directory)) as redis:
        for batch, wanted in ((1, 0.0), (4, 0.0), (16, 0.0), (64, 0.0), (64, 1.2 * LEAST)):
            micros, rate = await measured(redis, batch, seconds, wanted)
            good = good and micros <= LONGEST and (not wanted or rate >= LEAST)
            print(f"{batch:18} {micros:20.1f} {rate:16,.0f}", flush=True)
    print(f"a turn within {LONGEST:g} µs, {LEAST:,} a second sustained: {'yes' if good else 'NO'}")
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each row is played")
    raise SystemExit(0 if uvloop.run(main(parser.parse_args().seconds)) else 1)
