"""`make bench-analytics`: how long each question to the API takes over HTTP while 200 calls a second are written.

A ledger of 10,000 calls and one of 1,000,000 (`--calls`) are filled with conversations of 20 turns over 30 days. For
each a real daemon is started, real calls go through it to a fast mock upstream at a steady rate, and every question is
asked `--rounds` times, in turn, over one connection. A ledger that was filled before is used again from `--keep`.

Beside it stand the same questions to the same calls in PostgreSQL (`bench/predecessor.py`), where that is installed,
and the size of the ledger beside that of the bodies that went by. All calls and sessions are exported, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import uvloop

from bench import predecessor
from bench.__main__ import llmqd, started
from bench.conversations import Recording, fill
from bench.processes import resident
from llmqd.config.store import Store
from tests.postgres import NoPostgres, server

SMALL = 10_000
RATE = 200
DAYS = 30.0
LONGEST = 0.050
"""Seconds that the 95th percentile of every question may take."""
RATIO = 3.0
"""A question to the small ledger may be quicker by so much."""
_CALL = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "How long does a question take? " * 10}]}
_NO_ANSWER = 0
_WARM_UP = 3
_ROUNDS = 3
"""Of PostgreSQL, where some questions take seconds."""
EXPORTING, _LOOKED_AT = 50, 50
"""Megabytes above idle that an export may hold; every so many pieces of it that is looked at."""
SHARE = 8
"""The database may have this part of the bytes of the bodies."""
_WEIGHT = "weight.json"


async def prepared(directory: Path, calls: int) -> None:
    """Fills the ledger in that directory, unless it is there already."""
    if (directory / "llmqd.db").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    recording = Recording(directory, Store(max_size=0, retention=0.0), bulk=True)
    recording.at = time.time() - DAYS * 86_400
    async with recording.ledger:
        seconds = await fill(recording, calls, days=DAYS)
        lost = recording.ledger.health().lost
    weight = {"raw_bytes": recording.raw_bytes, "bytes": (directory / "llmqd.db").stat().st_size, "lost": lost}
    (directory / _WEIGHT).write_text(json.dumps(weight))
    print(f"{calls:,} calls recorded in {seconds:.0f} s", flush=True)


@asynccontextmanager
async def writing(http: aiohttp.ClientSession, url: str) -> AsyncIterator[list[int]]:
    """Makes calls at a steady rate meanwhile; the list has their statuses."""
    statuses: list[int] = []
    numbers = itertools.count()

    async def one() -> None:
        number = next(numbers)
        headers = {
            "X-LLMQD-Session": f"bench-{number // 20 % 500}",
            "X-LLMQD-Agent": f"agent-{number % 5}",
            "X-LLMQD-User": f"user-{number % 300}",
        }
        try:
            async with http.post(f"{url}/v1/chat/completions", json=_CALL, headers=headers) as answer:
                await answer.read()
                statuses.append(answer.status)
        except (aiohttp.ClientError, TimeoutError):
            statuses.append(_NO_ANSWER)

    async def steadily() -> None:
        began, sent = time.perf_counter(), 0
        async with asyncio.TaskGroup() as group:
            while True:
                due = int((time.perf_counter() - began) * RATE)
                for _ in range(due - sent):
                    group.create_task(one())
                sent = max(sent, due)
                await asyncio.sleep(0.01)

    task = asyncio.create_task(steadily())
    try:
        yield statuses
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def questions(http: aiohttp.ClientSession, url: str) -> dict[str, tuple[str, dict[str, Any] | None]]:
    """Every question by its name: path, and body where it is a POST."""
    async with http.get(f"{url}/api/v1/sessions?limit=1&offset=100") as answer:
        [session] = (await answer.json())["sessions"]
    async with http.get(f"{url}/api/v1/requests?limit=1&session_id={quote(session['session_id'])}") as answer:
        [call] = (await answer.json())["requests"]
    name, model = quote(session["session_id"]), quote(session["models_used"][0])
    return {
        "overview, 30 days": ("analytics/overview", None),
        "overview, a day": ("analytics/overview?days=1", None),
        "agents": ("analytics/agents", None),
        "models": ("analytics/models", None),
        "usage-trends by day": ("analytics/usage-trends", None),
        "usage-trends by hour, a week": ("analytics/usage-trends?granularity=hour&days=7", None),
        "usage-trends by day and model": ("analytics/usage-trends?by=model", None),
        "cost-breakdown by model": ("analytics/cost-breakdown?by=model", None),
        "cost-breakdown by user": ("analytics/cost-breakdown?by=user", None),
        "cost-breakdown by session": ("analytics/cost-breakdown?by=session&limit=20", None),
        "search, first page": ("sessions/search", {}),
        "search by agent and model": ("sessions/search", {"agent_name": "writer", "model": session["models_used"][0]}),
        "search for a frequent word": ("sessions/search", {"text": "statement"}),
        "search for two words": ("sessions/search", {"text": "interpreter exponent"}),
        "search for a rare word": ("sessions/search", {"text": "pydoc"}),
        "search for a beginning": ("sessions/search", {"text": "metac*"}),
        "search for nothing": ("sessions/search", {"text": "zyzzyva"}),
        "search by cost": ("sessions/search", {"min_cost": 0.001}),
        "session summary": (f"sessions/{name}/summary", None),
        "session messages": (f"sessions/{name}/messages", None),
        "requests, first page": ("requests", None),
        "requests of a model": (f"requests?model={model}", None),
        "requests that failed": ("requests?status=failed", None),
        "one request": (f"requests/{call['request_id']}", None),
        "messages of a request": (f"requests/{call['request_id']}/messages", None),
    }


async def exported(http: aiohttp.ClientSession, url: str, pid: int) -> bool:
    """Prints what exporting every call and session takes; whether the daemon held little memory for it."""
    idle, good = resident(pid), True
    for what in ("requests", "sessions"):
        began, rows, pieces, most = time.perf_counter(), 0, 0, idle
        timeout = aiohttp.ClientTimeout(total=None)
        async with http.get(f"{url}/api/v1/export?what={what}&format=jsonl", timeout=timeout) as answer:
            async for piece in answer.content.iter_any():
                rows, pieces = rows + piece.count(b"\n"), pieces + 1
                if pieces % _LOOKED_AT == 0:
                    most = max(most, resident(pid))
        above, seconds = (most - idle) / 1e6, time.perf_counter() - began
        good = good and above <= EXPORTING
        print(
            f"{rows:,} {what} exported at {rows / seconds:,.0f}/s, {above:.0f} MB above idle (at most {EXPORTING})",
            flush=True,
        )
    return good


async def measured(directory: Path, rounds: int) -> tuple[dict[str, float], bool]:
    """(the 95th percentile of each question in seconds, whether exports held little memory)."""
    (directory / "notify").unlink(missing_ok=True)
    took: dict[str, list[float]] = {}
    mock_process, mock_port = started("-m", "bench.mock")
    processes: list[subprocess.Popen[Any]] = [mock_process]
    try:
        daemon, port, _ = llmqd(f"http://127.0.0.1:{mock_port}/v1", str(directory))
        processes.insert(0, daemon)
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as http:
            await asyncio.sleep(2)
            good = await exported(http, url, daemon.pid)
            asked = await questions(http, url)
            async with writing(http, url) as statuses:
                await asyncio.sleep(2)
                before, began = len(statuses), time.perf_counter()
                for number in range(_WARM_UP + rounds):
                    for name, (path, body) in asked.items():
                        seconds = await _once(http, f"{url}/api/v1/{path}", body)
                        if number >= _WARM_UP:
                            took.setdefault(name, []).append(seconds)
                rate = (len(statuses) - before) / (time.perf_counter() - began)
            print(
                f"meanwhile {rate:.0f} calls/s written, {sum(status != 200 for status in statuses)} failed", flush=True
            )
    finally:
        for process in processes:
            process.terminate()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    return {name: statistics.quantiles(seconds, n=20)[-1] for name, seconds in took.items()}, good


async def _once(http: aiohttp.ClientSession, url: str, body: dict[str, Any] | None) -> float:
    began = time.perf_counter()
    async with http.request("GET" if body is None else "POST", url, json=body) as answer:
        data = await answer.read()
        assert answer.status == 200, data
    return time.perf_counter() - began


async def in_postgres(directory: Path) -> dict[str, float]:
    """The same questions to the same calls, as a predecessor asks them; none where there is no PostgreSQL."""
    try:
        with server() as running:
            return await predecessor.measured(await predecessor.filled(running, directory / "llmqd.db"), _ROUNDS, RATE)
    except NoPostgres as none:
        print(f"not compared with PostgreSQL: {none}")
        return {}


def weighed(directory: Path) -> bool:
    """Prints how large the ledger is beside the bodies; whether it is small enough."""
    weight = json.loads((directory / _WEIGHT).read_text())
    share = weight["raw_bytes"] / weight["bytes"]
    print(
        f"bodies {weight['raw_bytes'] / 1e6:,.0f} MB, database {weight['bytes'] / 1e6:,.0f} MB with every text:"
        f" 1/{share:.1f} (at most 1/{SHARE}: {'yes' if share >= SHARE else 'NO'}), {weight['lost']} records lost"
    )
    return share >= SHARE and not weight["lost"]


async def main(keep: Path, calls: int, rounds: int) -> bool:
    """Prints the table; whether every question is quick enough and the database small enough."""
    sizes = (SMALL, calls)
    results, good = [], True
    for size in sizes:
        directory = keep / str(size)
        await prepared(directory, size)
        took, little = await measured(directory, rounds)
        results.append(took)
        good = good and little
    good = weighed(keep / str(calls)) and good
    rows = await in_postgres(keep / str(calls))
    heads = "".join(f"{f'{size:,} calls':>18}" for size in sizes)
    print(f"{'p95 over HTTP':<32}{heads}{'ratio':>8}{'PostgreSQL':>18}")
    for name, small in results[0].items():
        large = results[1][name]
        # Where both are a few milliseconds, the ratio is noise.
        ok = large <= LONGEST and (large <= RATIO * small or large < LONGEST / 5)
        good = good and ok
        beside = f"{rows[name] * 1000:>15,.0f} ms" if name in rows else f"{'':>18}"
        mark = "" if ok else "  too slow"
        print(f"{name:<32}{small * 1000:>15.1f} ms{large * 1000:>15.1f} ms{large / small:>8.1f}{beside}{mark}")
    print(
        f"every question within {LONGEST * 1000:.0f} ms and {RATIO:g} times the small one's: {'yes' if good else 'NO'}"
    )
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000_000, help="calls in the large ledger")
    parser.add_argument("--rounds", type=int, default=60, help="how often each question is asked")
    parser.add_argument("--keep", type=Path, help="where ledgers are kept for the next time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        keep = arguments.keep or Path(temporary)
        ok = uvloop.run(main(keep, arguments.calls, arguments.rounds))
    raise SystemExit(0 if ok else 1)
