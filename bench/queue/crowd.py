"""A crowd before a real daemon: what each of 10,000 waiting clients takes, and what is left of 1,000 who vanish."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.queue.load import fetch, post, read_answer, steer
from bench.queue.measures import Measure
from bench.queue.prompt import BODY, PATH, Streams, opened, refusal_times, until_waiting
from bench.queue.stage import Stage, staged
from bench.queue.upstream import Spec
from bench.queue.yardstick import Accepted

CROWD = 10_000
_MOST_BYTES = 10 * 1024
_WARM, _PROBES = 500, 300
_ROOM, _FILES = 100, 1000
"""Of the half of its open files that the daemon gives to clients, those that are not the crowd's; and of our own."""
_QUEUE = 'max_waiting = 0\nmax_waiting_bytes = 0\nmax_wait = "1h"\nfair_by = "user"\n'
_VANISHING, _STAYING, _A_SECOND = 1000, 1000, 100
_LARGE = BODY.replace(b"x" * 400, b"x" * 4000)
_IN_FLIGHT = 0.1
"""Seconds after the clients have vanished in which the daemon may still learn of it."""
_USED_ON = 0.98
_GROWN = 0.25
"""Part of what a crowd took that the next one of the same size may take more."""


def resident(pid: int) -> int:
    """Bytes of memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def crowd() -> list[Measure]:
    """Bytes for each of 10,000 waiting clients in the whole process, and how they fare."""
    clients = _clients()
    if not _may_open(clients + _FILES):
        return [Measure(f"{clients:,} waiting clients", f"needs {clients + _FILES} open files", met=False)]
    bare = await _bare(clients)
    async with staged(Spec(seconds=0.0), "requests_per_minute = 60000", queue=_QUEUE) as stage:
        port, pid = stage.daemon.port, stage.daemon.pid
        await _answered(await opened(port, post(PATH, BODY), _WARM))
        await _pause(port)
        before = resident(pid)
        began = time.perf_counter()
        streams = await opened(port, post(PATH, BODY), clients)
        await until_waiting(port, clients, within=300.0)
        took = time.perf_counter() - began
        each = (resident(pid) - before) / clients - len(BODY)
        refusals = await refusal_times(port, f"behind {clients:,} calls, lane paused for an hour", _PROBES)
        await steer(port, "/queue/openai/resume")
        statuses = await _answered(streams)
        held = resident(pid) - before
        unsent = await _idle_grants(stage)
    served = sum(status == 200 for status in statuses)
    own = each - bare
    return [
        Measure(
            f"{clients:,} waiting, whole process, each beyond its body",
            f"{each:,.0f} bytes, {bare:,.0f} in bare aiohttp",
        ),
        Measure("    beyond what bare aiohttp takes", f"{own:,.0f} bytes", f"≤ {_MOST_BYTES:,}", own <= _MOST_BYTES),
        Measure(
            f"    they came in {took:.1f} s; served when the lane goes on",
            f"{served:,}, {unsent} idle grants, {held / 1e6:.0f} MB kept",
            f"{clients:,}, 0",
            served == clients and not unsent,
        ),
        refusals,
    ]


async def vanishing() -> list[Measure]:
    """1,000 of 2,000 waiting clients vanish at once while others are served."""
    if not _may_open(_VANISHING + _STAYING + 1000):
        return [Measure("vanishing clients", "needs more open files (ulimit -n)", met=False)]
    settings = f"requests_per_minute = {60 * _A_SECOND}"
    async with staged(Spec(kind="sliding", per_minute=60 * _A_SECOND), settings, queue=_QUEUE) as stage:
        port, pid = stage.daemon.port, stage.daemon.pid
        await _answered(await opened(port, post(PATH, BODY), _A_SECOND))
        sizes = [resident(pid)]
        leaving, staying = await _gathered(port)
        sizes.append(resident(pid))
        await steer(port, "/queue/openai/resume")
        await asyncio.sleep(2)
        vanished = _abandon(leaving)
        statuses = await _answered(staying)
        sizes.append(resident(pid))
        accepted: list[Accepted] = (await fetch(stage.upstream_port, "/figures"))["accepted"]
        unused = await _idle_grants(stage)
        again = await _gathered(port)
        sizes.append(resident(pid))
        for streams in again:
            _abandon(streams)
    return [*_left_behind(accepted, vanished, unused, statuses), _memory(sizes)]


async def _gathered(port: int) -> tuple[list[Streams], list[Streams]]:
    """Clients that wait in a paused lane: those who are going to leave, and those who are going to stay."""
    await _pause(port)
    leaving = await opened(port, post(PATH, _LARGE, ("X-LLMQD-User", "leaving")), _VANISHING)
    staying = await opened(port, post(PATH, BODY, ("X-LLMQD-User", "staying")), _STAYING)
    await until_waiting(port, _VANISHING + _STAYING)
    return leaving, staying


def _abandon(streams: Sequence[Streams]) -> float:
    """Cuts all connections at once; when that was, in Unix time."""
    for _, writer in streams:
        writer.transport.abort()
    return time.time()


def _left_behind(accepted: Sequence[Accepted], vanished: float, unused: int, statuses: Sequence[int]) -> list[Measure]:
    late = sum(call[1] > len(BODY) / 2 and call[0] > vanished + _IN_FLIGHT for call in accepted)
    times = [call[0] for call in accepted if call[0] > vanished]
    used = (len(times) - 1) / ((times[-1] - times[0]) * _A_SECOND) if len(times) > 1 else 0.0
    served = sum(status == 200 for status in statuses)
    return [
        Measure("1,000 of 2,000 waiting vanish: calls sent for them later", str(late), "0", late == 0),
        Measure(
            "    turns that nobody took: of the quota is used from then on",
            f"{used:.3f}, {unused} turns were given back",
            f"≥ {_USED_ON}",
            used >= _USED_ON,
        ),
        Measure("    the others are served", f"{served:,}", f"{_STAYING:,}", served == _STAYING),
    ]


def _memory(sizes: Sequence[int]) -> Measure:
    """Memory is back when the next crowd finds it: the allocator does not return it to the system."""
    before, crowded, _, again = sizes
    grown = (again - crowded) / (crowded - before)
    value = " → ".join(f"{size / 1e6:.0f}" for size in sizes) + f" MB, {grown:+.0%}"
    return Measure("    memory: before, crowd, after it, next crowd", value, "next ≤ +25 %", grown <= _GROWN)


async def _bare(clients: int) -> float:
    """What a waiting client takes in a bare aiohttp server beyond its body."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.queue.waiting_server", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        port = int(await server.stdout.readline())
        warm = await opened(port, post(PATH, BODY), _WARM)
        await asyncio.sleep(1)
        for _, writer in warm:
            writer.transport.abort()
        await asyncio.sleep(1)
        before = resident(server.pid)
        streams = await opened(port, post(PATH, BODY), clients)
        await asyncio.sleep(2)
        each = (resident(server.pid) - before) / clients - len(BODY)
        for _, writer in streams:
            writer.transport.abort()
        return each
    finally:
        server.kill()
        await server.wait()


async def _pause(port: int) -> None:
    await steer(port, "/queue/openai/pause", b'{"seconds": 3600, "reason": "bench"}')


async def _answered(streams: Sequence[Streams]) -> list[int]:
    """The status of each answer; 0 where none came. The connections are closed."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        try:
            return (await read_answer(reader))[0]
        except (OSError, EOFError, ValueError):
            return 0
        finally:
            writer.transport.abort()

    return await asyncio.gather(*(one(*pair) for pair in streams))


async def _idle_grants(stage: Stage) -> int:
    """Turns that were given to nobody who used them."""
    counted = await fetch(stage.upstream_port, "/figures")
    lanes = (await fetch(stage.daemon.port, "/queue?limit=0"))["lanes"]
    granted: int = sum(lane["granted"] for lane in lanes)
    return granted - len(counted["accepted"])


def _clients() -> int:
    """How many clients there are: the daemon lets no more connect than half of its open files."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return CROWD if hard == resource.RLIM_INFINITY else min(CROWD, hard // 2 - _ROOM)


def _may_open(files: int) -> bool:
    """Raises this process's bound on open files, which the daemon inherits; False where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= files
    if enough and soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return enough
