"""`make bench-queue`: strict upstreams of every kind behind real daemons: how many 429s, how much of the quota used."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import orjson
import uvloop

from bench.queue_figures import Figures, judged
from bench.queue_load import Load, fetch
from bench.queue_rows import Row, alone, rows
from llmqd.config.load import load
from llmqd.errors import ConfigError
from tests.process import LlmqdProcess

REPORT = Path("build/bench-queue.json")
_STARTING_AT_ONCE = 4
_LINES_KEPT = 5
_STORE = '[store]\nbatch_every = "2s"\nsync_every = "5s"\n[log]\nlevel = "warning"\n'
"""Dozens of daemons on one disk: their ledgers are not what is measured."""


class Unsupported(Exception):
    """The daemon's configuration is refused: it does not have what this row needs."""


@dataclass(slots=True)
class Stage:
    """One row with its processes running."""

    row: Row
    upstream_port: int
    daemon: LlmqdProcess

    async def play(self) -> Figures:
        """Load from the first call to the last, then the figures."""
        load_ = Load(self.daemon.port, self.row.calls)
        await load_.run(self.row.clients, self.row.seconds)
        until = time.time()
        counted = await fetch(self.upstream_port, "/figures")
        notes = list(load_.errors)
        if not self.daemon.running:
            notes.append("the daemon died")
        notes += (self.daemon.directory / "upstream.log").read_text().splitlines()[-_LINES_KEPT:]
        return judged(self.row, counted, load_.refused, load_.failed, notes, until)


async def staged(row: Row, stack: AsyncExitStack) -> Stage:
    """Starts a row's upstream and daemon; both end with the stack. Raises Unsupported."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmqd-bench-")))
    spec = orjson.dumps(row.spec).decode()
    with (directory / "upstream.log").open("wb") as log:
        upstream = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.queue_upstream", spec, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    stack.push_async_callback(_ended, upstream)
    assert upstream.stdout is not None
    port = int(await upstream.stdout.readline())
    settings = f'name = "{row.type}"\nbase_url = "http://127.0.0.1:{port}"\napi_key = "x"\n{row.settings}\n'
    daemon = LlmqdProcess(directory, f"{_STORE}[[upstream]]\n{settings}")
    try:
        load(daemon.config, {})
    except ConfigError as error:
        raise Unsupported("; ".join(fault.partition(": ")[2] for fault in error.faults)) from error
    await daemon.start()
    stack.push_async_callback(_stopped, daemon)
    return Stage(row, port, daemon)


async def _ended(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()


async def _stopped(daemon: LlmqdProcess) -> None:
    if daemon.running:
        await daemon.kill()


async def run(played: Sequence[Row]) -> list[Figures]:
    """Plays rows side by side: all are started first, so that nothing but the load runs while they are measured."""
    gate = asyncio.Semaphore(_STARTING_AT_ONCE)
    async with AsyncExitStack() as stack:

        async def start(row: Row) -> Stage | Figures:
            async with gate:
                try:
                    return await staged(row, stack)
                except Unsupported as error:
                    return Figures(name=row.name, verdict="not supported", target=str(row.target), notes=[str(error)])

        stages = await asyncio.gather(*map(start, played))
        running = [stage for stage in stages if isinstance(stage, Stage)]
        ticker = asyncio.create_task(_progress(len(running), max((row.seconds for row in played), default=0)))
        results = iter(await asyncio.gather(*(stage.play() for stage in running)))
        ticker.cancel()
        return [next(results) if isinstance(stage, Stage) else stage for stage in stages]


async def _progress(count: int, seconds: float) -> None:
    began = time.monotonic()
    while True:
        print(
            f"\r{count} rows, {time.monotonic() - began:.0f} of {seconds:.0f} s ", end="", file=sys.stderr, flush=True
        )
        await asyncio.sleep(5)


def show(results: Sequence[Figures]) -> None:
    """One table, and beneath it what clients were told where they were told something."""
    print(f"\r{'upstream':<34}{'calls':>7}{'429 up':>8}{'429 cl':>8}{'errors':>8}{'used':>8}  verdict (target)")
    for one in results:
        used = "" if one.utilisation is None else f"{one.utilisation:.3f}"
        settled = "" if one.settled is None else f", settled in {one.settled:.1f} s"
        print(
            f"{one.name:<34}{one.calls:>7}{one.upstream_429:>8}{one.client_429:>8}{one.client_errors:>8}{used:>8}"
            f"  {one.verdict}{settled} ({one.target})"
        )
    for one in results:
        for note in one.notes:
            print(f"  {one.name}: {note}")


async def measured(wanted: str, *, long: bool, seconds: float | None) -> list[Figures]:
    """All rows whose names match."""
    results: list[Figures] = []
    for together in (rows(long=long), *([row] for row in alone(long=long))):
        chosen = [row for row in together if fnmatchcase(row.name, wanted)]
        if seconds is not None:
            chosen = [_shortened(row, seconds) for row in chosen]
        if chosen:
            results += await run(chosen)
    return results


def _shortened(row: Row, seconds: float) -> Row:
    return replace(row, seconds=seconds, steady_after=min(row.steady_after, seconds / 3))


def main() -> int:
    """Runs, prints and writes the report; 1 unless every target is met."""
    parser = argparse.ArgumentParser(description="Strict upstreams behind real daemons.")
    parser.add_argument("--long", action="store_true", help="ten minutes a row instead of four")
    parser.add_argument(
        "--rows", default="*", metavar="PATTERN", help="only rows with such names (* stands for any text)"
    )
    parser.add_argument("--seconds", type=float, help="so long a row, to try it out; not what the targets are about")
    args = parser.parse_args()
    results = uvloop.run(measured(args.rows, long=args.long, seconds=args.seconds))
    show(results)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_bytes(orjson.dumps({"long": args.long, "rows": results}, option=orjson.OPT_INDENT_2))
    print(f"written to {REPORT}")
    return 0 if results and all(one.verdict == "met" for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
