from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llmqd.interpreter import FreeMemory

PIECES, SIZE = 20_000, 4096


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def full_of_holes() -> list[bytes]:
    """Pieces of memory between which nearly all is free again."""
    pieces = [b"x" * SIZE for _ in range(PIECES)]
    return pieces[::100]


@pytest.mark.skipif(not FreeMemory().able, reason="this C library keeps what is free")
async def test_what_is_free_is_given_back_though_it_lies_between_what_is_not() -> None:
    kept = full_of_holes()
    held = resident()
    async with FreeMemory(every=0.01, worth=1 << 20) as memory:
        assert memory.size() > PIECES * SIZE * 3 / 4
        async with asyncio.timeout(10):
            while resident() > held - PIECES * SIZE / 2:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
    assert len(kept) == PIECES // 100


@pytest.mark.skipif(not FreeMemory().able, reason="this C library keeps what is free")
def test_little_is_left_alone() -> None:
    kept = full_of_holes()
    held = resident()
    FreeMemory(worth=1 << 62).give_back()
    assert resident() > held - PIECES * SIZE / 4
    assert kept
