"""`make bench-queue`: strict upstreams of every kind behind real daemons, and what waiting costs and promises."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import orjson
import uvloop

from bench.queue.crowd import crowd, vanishing
from bench.queue.eta import predicted
from bench.queue.figures import Figures
from bench.queue.measures import Measure
from bench.queue.noise import listening
from bench.queue.oracle import best
from bench.queue.prompt import hopeless, idle
from bench.queue.pure import pure
from bench.queue.rows import Row, Wave, waves
from bench.queue.stage import Stage, Unsupported, bare_rate, staged
from bench.queue.steady import steady

REPORT = Path("build/bench-queue.json")
_STARTING_AT_ONCE = 4
_MEASURED = {
    "steady": steady,
    "eta": predicted,
    "hopeless": hopeless,
    "idle": idle,
    "crowd": crowd,
    "vanish": vanishing,
}


async def play(wave: Wave) -> list[Figures]:
    """Plays the rows of a wave side by side: all are started first, so that nothing but the load runs meanwhile."""
    gate = asyncio.Semaphore(_STARTING_AT_ONCE)
    async with AsyncExitStack() as stack:

        async def start(row: Row) -> Stage | Figures:
            async with gate:
                try:
                    return await stack.enter_async_context(staged(row.spec, row.settings, row.type))
                except Unsupported as error:
                    return Figures(name=row.name, verdict="not supported", target=str(row.target), notes=[str(error)])

        async def result(row: Row, stage: Stage | Figures) -> Figures:
            return await stage.play(row) if isinstance(stage, Stage) else stage

        stages = await asyncio.gather(*map(start, wave.rows))
        with _ticking(f"{wave.name}: {len(wave.rows)} rows", max(row.seconds for row in wave.rows)):
            async with listening() as noise:
                results = await asyncio.gather(*map(result, wave.rows, stages))
    print(f"wave {wave.name}: {len(wave.rows)} rows, {noise}", flush=True)
    return [replace(one, best=best(row)) for row, one in zip(wave.rows, results, strict=True)]


@contextlib.contextmanager
def _ticking(what: str, seconds: float | None = None) -> Iterator[None]:
    """Shows how time passes, where somebody looks."""

    async def tick() -> None:
        began = time.monotonic()
        whole = "" if seconds is None else f" of {seconds:.0f}"
        while True:
            print(f"\r\033[K{what}, {time.monotonic() - began:.0f}{whole} s", end="", file=sys.stderr, flush=True)
            await asyncio.sleep(5)

    task = asyncio.create_task(tick()) if sys.stderr.isatty() else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            print("\r\033[K", end="", file=sys.stderr, flush=True)


async def measured(wanted: str) -> AsyncIterator[list[Measure]]:
    """The other figures whose names match, one after the other; each is named after what it looks at."""
    if fnmatchcase("pure", wanted):
        yield await pure()
    for name, measure in _MEASURED.items():
        if fnmatchcase(name, wanted):
            with _ticking(name):
                async with listening() as noise:
                    results = await measure()
            print(f"{name}: {noise}", flush=True)
            yield results


def show(results: Sequence[Figures]) -> None:
    """One table, and beneath it what clients were told where they were told something."""
    if not results:
        return
    columns = "".join(f"{name:>8}" for name in ("429 up", "429 cl", "errors", "used", "best"))
    print(f"\n{'upstream':<34}{'calls':>7}{columns}  verdict (target)")
    for one in results:
        settled = "" if one.settled is None else f", settled in {one.settled:.1f} s"
        rate = "" if one.per_minute is None or "/min" not in one.target else f", {one.per_minute:,.0f}/min"
        print(
            f"{one.name:<34}{one.calls:>7}{one.upstream_429:>8}{one.client_429:>8}{one.client_errors:>8}"
            f"{_share(one.utilisation):>8}{_share(one.best):>8}  {one.verdict}{settled}{rate} ({one.target})"
        )
    for one in results:
        for note in one.notes:
            print(f"  {one.name}: {note}")


def show_measures(results: Sequence[Measure]) -> None:
    """The second table."""
    if results:
        print(f"\n{'figure':<64}{'measured':<50}verdict (target)")
    for one in results:
        verdict = "" if one.met is None else "met " if one.met else "missed "
        print(f"{one.name:<64}{one.value:<50}{verdict}{f'({one.target})' if one.target else ''}")


def _share(part: float | None) -> str:
    return "" if part is None else f"{part:.3f}"


def conclude(figures: Sequence[Figures], measures: Sequence[Measure]) -> bool:
    """Prints the verdict of all; whether every target is met."""
    verdicts = [(one.name, one.verdict == "met") for one in figures]
    verdicts += [(one.name, one.met) for one in measures if one.met is not None]
    missed = [name for name, met in verdicts if not met]
    if not verdicts:
        print("\nnothing was played: no row and no figure has such a name")
    elif missed:
        print(f"\n{len(missed)} of {len(verdicts)} targets missed: {'; '.join(missed)}")
    else:
        print(f"\nall {len(verdicts)} targets met")
    return bool(verdicts) and not missed


def _shortened(row: Row, seconds: float) -> Row:
    after = min(row.steady_after, seconds / 3)
    change = None if row.spec.change is None else (after, row.spec.change[1])
    spec = replace(row.spec, change=change)
    return replace(row, spec=spec, steady_after=after, minutes=max(seconds - after, 1.0) / 60)


async def everything(wanted: str, *, long: bool, seconds: float | None) -> tuple[list[Figures], list[Measure]]:
    """All rows and figures whose names match. The report is written after each, so that a run that is cut has one."""
    figures: list[Figures] = []
    others: list[Measure] = []
    for wave in waves(long=long):
        chosen = [row for row in wave.rows if fnmatchcase(row.name, wanted)]
        if seconds is not None:
            chosen = [_shortened(row, seconds) for row in chosen]
        if chosen:
            figures += await play(Wave(wave.name, chosen))
        others += [
            Measure(f"{row.name}: the bare forwarder in its place", f"{await bare_rate(row):,.0f}/min on this machine")
            for row in chosen
            if row.target.per_minute is not None
        ]
        report(figures, others, long=long)
    async for measures in measured(wanted):
        others += measures
        report(figures, others, long=long)
    return figures, others


def report(figures: Sequence[Figures], measures: Sequence[Measure], *, long: bool) -> None:
    """Writes all that is known so far."""
    REPORT.parent.mkdir(exist_ok=True)
    known = {"long": long, "rows": figures, "figures": measures}
    REPORT.write_bytes(orjson.dumps(known, option=orjson.OPT_INDENT_2))


def main() -> int:
    """Runs, prints and writes the report; 1 unless every target is met."""
    parser = argparse.ArgumentParser(description="Strict upstreams behind real daemons, and what waiting costs.")
    parser.add_argument("--long", action="store_true", help="ten minutes a row instead of two to four")
    parser.add_argument(
        "--rows",
        default="*",
        metavar="PATTERN",
        help=f"only rows with such names, * stands for any text; pure, {', '.join(_MEASURED)} are the other figures",
    )
    parser.add_argument("--seconds", type=float, help="so long a row, to try it out; not what the targets are about")
    args = parser.parse_args()
    began = time.monotonic()
    figures, measures = uvloop.run(everything(args.rows, long=args.long, seconds=args.seconds))
    show(figures)
    show_measures(measures)
    met = conclude(figures, measures)
    print(f"{time.monotonic() - began:.0f} s; written to {REPORT}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
