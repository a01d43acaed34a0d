"""What must come at once: the refusal of a hopeless deadline, and the turn on an idle lane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.queue.load import Calls, fetch, post, read_answer
from bench.queue.measures import Measure, milliseconds, quantile
from bench.queue.stage import Stage, staged
from bench.queue.upstream import Spec

PATH = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"%b"}]}' % (b"x" * 400)
_PROBES, _IDLE_CALLS, _IDLE_PAUSE = 300, 100, 0.13
_BACKLOG = 100
_SLOW = "requests_per_minute = 60"
_ADDED = 0.3, 1.0
"""Milliseconds at p50 and at p90 that count as none: two daemons on one machine differ by as much."""
Header = tuple[str, str]


async def hopeless() -> list[Measure]:
    """How long a call that cannot get its turn in time takes to hear it, behind 100 calls at one a second."""
    results = []
    own = ("X-LLMQD-User", "one")
    for name, fair_by, backlog, probe in (
        ("behind 100 calls of higher priority", "user", [("X-LLMQD-Priority", "high")], [own]),
        ("behind 100 calls of the same caller", "user", [own], [own]),
        ("behind 100 calls, no fair sharing", "none", [], [own]),
    ):
        async with (
            staged(Spec(), _SLOW, queue=f'fair_by = "{fair_by}"\n') as stage,
            backlogged(stage.daemon.port, _BACKLOG, *backlog),
        ):
            results.append(await refusal_times(stage.daemon.port, name, _PROBES, *probe))
    return results


async def refusal_times(port: int, name: str, probes: int, *headers: Header) -> Measure:
    """Milliseconds to the refusal of calls with a deadline of a second; gives up when one is let wait instead."""
    times: list[float] = []
    waited = None
    request = post(PATH, BODY, ("X-LLMQD-Deadline", "1"), *headers)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(probes):
            began = time.perf_counter()
            writer.write(request)
            status, body = await read_answer(reader)
            times.append((time.perf_counter() - began) * 1000)
            if status != 429 or b"would_exceed_deadline" not in body:
                waited = f"not refused, but {status} after {times[-1]:.0f} ms"
                break
    finally:
        writer.close()
    met = waited is None and quantile(times, 0.99) < 10
    return Measure(f"refusal {name}", waited or milliseconds(times), "p99 < 10 ms", met)


async def idle() -> list[Measure]:
    """What a limit adds to a call that comes when nobody waits: the answer's time, beside that without any limit."""
    spec = Spec(kind="bucket of 1", seconds=0.005)
    limited, free = list[float](), list[float]()
    async with staged(spec, "requests_per_minute = 600") as one, staged(spec, "requests_per_minute = 0") as other:
        sides = [(limited, *(await _connected(one))), (free, *(await _connected(other)))]
        try:
            for _ in range(_IDLE_CALLS):
                for times, reader, writer in sides:
                    began = time.perf_counter()
                    writer.write(post(Calls().path, BODY))
                    status, _ = await read_answer(reader)
                    times.append((time.perf_counter() - began) * 1000)
                    if status != 200:
                        raise RuntimeError(f"a call on an idle lane was answered {status}")
                    await asyncio.sleep(_IDLE_PAUSE / 2)
        finally:
            for _, _, writer in sides:
                writer.close()
    added = [quantile(limited, part) - quantile(free, part) for part in (0.5, 0.9)]
    value = f"{added[0]:+.2f} ms at p50, {added[1]:+.2f} at p90, of {quantile(limited, 0.5):.2f} ms in all"
    target = f"≤ {_ADDED[0]:g}, ≤ {_ADDED[1]:g} ms"
    met = added[0] <= _ADDED[0] and added[1] <= _ADDED[1]
    return [Measure("a limit of 600/min on an idle lane adds", value, target, met)]


async def _connected(stage: Stage) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", stage.daemon.port)


@asynccontextmanager
async def backlogged(port: int, calls: int, *headers: Header) -> AsyncIterator[None]:
    """So many calls wait in the first lane; they vanish with the context."""
    writers = await opened(port, post(PATH, BODY, *headers), calls + 1)
    try:
        await until_waiting(port, calls)
        yield
    finally:
        for _, writer in writers:
            writer.transport.abort()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def opened(port: int, request: bytes, count: int, at_once: int = 250) -> list[Streams]:
    """Connections that have sent a request each."""
    streams: list[Streams] = []
    while len(streams) < count:
        batch = min(at_once, count - len(streams))
        made = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port, limit=1 << 14) for _ in range(batch)))
        for _, writer in made:
            writer.write(request)
        streams += made
    return streams


async def until_waiting(port: int, calls: int, within: float = 60.0) -> None:
    """Returns when so many calls wait. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while True:
            waiting: int = (await fetch(port, "/queue?limit=0"))["total"]
            if waiting >= calls:
                return
            await asyncio.sleep(0.2)
