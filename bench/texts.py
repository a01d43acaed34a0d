"""`make bench-texts`: what keeping every text costs: bytes on disk, time on the way of a call, records a second.

First conversations of 20 turns are recorded as fast as the database takes them (`--calls`, 1,000,000 unless said), and
the database is weighed against the bodies that went by. Then records that were made beforehand are written at a steady
rate for a minute, and what waits, what is lost and what memory is held are looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pickle
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.conversations import Recording, Traffic, fill
from bench.processes import resident
from bench.queue.measures import Measure, quantile
from llmqd.call import Record
from llmqd.config.store import Store
from llmqd.store.ledger import Ledger
from llmqd.store.transcripts import Transcripts

SHARE = 8
RATE, SECONDS = 2000, 60.0
_TICK = 0.01
_FLAT = 1.10


async def weigh(directory: Path, calls: int) -> list[Measure]:
    """Fills a database; its size beside that of the bodies, and the time that each call took on the way."""
    recording = Recording(directory, Store(max_size=0))
    async with recording.ledger:
        seconds = await fill(recording, calls)
        lost = recording.ledger.health().lost
    size = (directory / "llmqd.db").stat().st_size
    return [
        Measure("calls recorded", f"{recording.calls:,} at {recording.calls / seconds:,.0f}/s, {lost} lost", "0 lost"),
        Measure("bodies that went by", f"{recording.raw_bytes / 1e6:,.1f} MB"),
        Measure(
            "database",
            f"{size / 1e6:,.1f} MB, 1/{recording.raw_bytes / size:.1f} of the bodies",
            f"at most 1/{SHARE}",
            size * SHARE <= recording.raw_bytes,
        ),
        Measure("texts, on the way of a call", f"{recording.text_seconds / recording.calls * 1e6:.0f} us"),
        Measure("detection, on the way of a call", f"{recording.detection_seconds / recording.calls * 1e6:.0f} us"),
    ]


class _Heard:
    """Only writes down what it is told, for a ledger to hear later."""

    def __init__(self, path: Path, transcripts: Transcripts) -> None:
        self._file = path.open("wb")
        self._transcripts = transcripts

    def opened(self, record: Record) -> None:
        """Told again at its end."""

    def closed(self, record: Record) -> None:
        """The whole record."""
        if record.transcript is not None:
            self._transcripts.kept(record.transcript)
        pickle.dump(record, self._file)

    def finish(self) -> None:
        """No more."""
        self._file.close()


def prepare(path: Path, calls: int) -> None:
    """So many records of conversations, in a file: making them takes longer than keeping them."""
    recording = Recording(path.parent)
    heard = _Heard(path, recording.transcripts)
    recording.into(heard)
    for turn in Traffic(seed=3).turns(calls):
        recording.record(turn)
    heard.finish()


def prepared(path: Path) -> Iterator[Record]:
    """The records of such a file."""
    with path.open("rb") as file:
        while True:
            try:
                yield pickle.load(file)
            except EOFError:
                return


async def sustain(directory: Path, records: Iterator[Record], rate: int, seconds: float) -> list[Measure]:
    """Writes records at a steady rate: opened and closed, as calls are."""
    memory: list[float] = []
    behind: list[int] = []
    written = 0
    async with Ledger(Store(max_size=0), directory) as ledger:
        began = time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            for _ in range(int(elapsed * rate) - written):
                record = next(records)
                ledger.opened(record)
                ledger.closed(record)
                written += 1
            if len(memory) < elapsed:
                memory.append(resident(os.getpid()) / 1e6)
                behind.append(ledger.health().behind // 2)
            await asyncio.sleep(_TICK)
        took = time.perf_counter() - began
        at_end = time.perf_counter()
        await ledger.settled(300)
        drained = time.perf_counter() - at_end
        health = ledger.health()
        counted = sum((await ledger.count_by_status()).values())
    later = memory[len(memory) // 3 :] or memory
    return [
        Measure("written", f"{written:,} records in {took:.0f} s, {written / took:,.0f}/s", f"{rate:,}/s"),
        Measure(
            "lost or set aside",
            f"{health.lost + health.set_aside} of them, {counted:,} in the database",
            "0",
            health.lost + health.set_aside == 0 and counted == written,
        ),
        Measure(
            "waiting for the database",
            f"p50 {quantile(behind, 0.5):,.0f}, most {max(behind):,} records; empty {drained:.2f} s after the end",
            "within 2 s",
            drained <= 2,
        ),
        Measure(
            "memory",
            f"{later[0]:.0f} MB after a third, {max(later):.0f} MB at most after that",
            "flat",
            max(later) <= later[0] * _FLAT,
        ),
    ]


def show(title: str, measures: list[Measure]) -> None:
    """A table of them."""
    print(f"\n{title}")
    for one in measures:
        mark = {None: "", True: "met", False: "MISSED"}[one.met]
        print(f"  {one.name:<34}{one.value:<64}{one.target:<16}{mark}")


def main() -> None:
    """Both parts, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmqd-bench-") as directory:
        show(f"{arguments.calls:,} calls", asyncio.run(weigh(Path(directory, "weigh"), arguments.calls)))
        heard = Path(directory, "records")
        prepare(heard, int(arguments.rate * arguments.seconds) + arguments.rate)
        sustained = sustain(Path(directory, "sustain"), prepared(heard), arguments.rate, arguments.seconds)
        show(f"{arguments.rate:,} records a second for {arguments.seconds:.0f} s", asyncio.run(sustained))


if __name__ == "__main__":
    main()
