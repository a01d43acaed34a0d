from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from llmqd.config.store import Store
from llmqd.store.ledger import Ledger
from tests.store.conversing import words

ROUNDS = 4


def talk_and_be_killed(directory: Path, name: str, turns: int) -> list[str]:
    """Every turn that the process said aloud before SIGKILL struck, after at least so many."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.conversing_process", str(directory), name],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process.stdout as output:
        said = b""
        while said.count(b"\n") < turns and (piece := os.read(output.fileno(), 65536)):
            said += piece
        process.kill()
        said += output.read()
    process.wait()
    return [line for line in said.decode().splitlines(keepends=True) if line.endswith("\n")]


async def test_whatever_was_said_before_kill_9_is_there_after_it(tmp_path: Path) -> None:
    heard = []
    for number in range(ROUNDS):
        heard += talk_and_be_killed(tmp_path, str(number), random.randint(1, 1500))
    async with Ledger(Store(batch_every=0.01), tmp_path) as ledger:
        assert await ledger.settled(30)
        assert len(heard) >= ROUNDS
        for line in random.sample(heard, min(len(heard), 400)):
            call, turn, name = line.split()
            said = await ledger.messages_of_call(call)
            assert said is not None
            expected = [
                f"{who} {number} of {name}" for number in range(int(turn) + 1) for who in ("question", "answer")
            ]
            assert words(said.messages) == expected[:-1]
            assert said.answer is not None
            assert words([said.answer]) == expected[-1:]
            assert said.missing == 0
