from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from llmqd.config.model import Store
from llmqd.store.ledger import Ledger

ROUNDS = 10


def record_and_be_killed(directory: Path, acknowledged: int) -> list[str]:
    """Everything that the process said before SIGKILL struck, after at least so many lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.recording_process", str(directory)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process.stdout as output:
        said = b""
        while said.count(b"\n") < acknowledged and (piece := os.read(output.fileno(), 65536)):
            said += piece
        process.kill()
        said += output.read()
    process.wait()
    return said.decode().splitlines()


async def test_whatever_was_acknowledged_before_kill_9_is_there_after_it(tmp_path: Path) -> None:
    opened: set[str] = set()
    closed: set[str] = set()
    for _ in range(ROUNDS):
        lines = record_and_be_killed(tmp_path, random.randint(1, 6000))
        assert lines
        opened |= {line[2:] for line in lines if line.startswith("o ") and len(line) == 28}
        closed |= {line[2:] for line in lines if line.startswith("c ") and len(line) == 28}
    async with Ledger(Store(batch_every=0.01), tmp_path) as ledger:
        assert await ledger.settled(30)
        for call_id in closed:
            record = await ledger.call(call_id)
            assert record is not None
            assert record.outcome.status == "done"
            assert record.outcome.usage is not None
            assert record.outcome.usage.total == 30
        left = opened - closed
        assert len(left) >= ROUNDS
        for call_id in left:
            record = await ledger.call(call_id)
            assert record is not None
            # The last one before each kill may have closed without having been able to say so.
            assert record.outcome.status in {"interrupted", "done"}
        counts = await ledger.count_by_status()
        assert set(counts) == {"done", "interrupted"}
        assert counts["done"] - len(closed) <= ROUNDS
        [totals] = await ledger.session_totals(10)
        assert (totals.request_count, totals.error_count) == (counts["done"], counts["interrupted"])
        assert totals.total_tokens == 30 * counts["done"]
