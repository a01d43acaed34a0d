"""`python -m tests.faults`: the fault suite by hand, with its table."""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
from pathlib import Path

import uvloop

from tests.faults.inject import available
from tests.faults.suite import run, table


def main() -> int:
    """1 where a call failed that need not have, a record was lost, or something did not heal."""
    parser = argparse.ArgumentParser(prog="make test-faults", description=__doc__)
    parser.add_argument("--long", action="store_true", help="for 30 minutes, each fault for 10 seconds at a time")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="only faults whose name fits")
    parser.add_argument("--load", type=float, default=200.0, metavar="N", help="calls a second (default: 200)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    if not available():
        print("there is no gcc: faults of clock, name resolution and disk that need it are left out")
    with tempfile.TemporaryDirectory(prefix="llmqd-faults-") as directory:
        hold, seconds = (10.0, 1800.0) if args.long else (1.0, 0.0)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            costs = runner.run(run(Path(directory), rate=args.load, hold=hold, seconds=seconds, only=args.only))
    print(table(costs))
    return int(any(cost.wrong or cost.lost or cost.failed for cost in costs))


if __name__ == "__main__":
    raise SystemExit(main())
