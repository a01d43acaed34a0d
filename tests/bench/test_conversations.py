"""The conversations with which benches fill a ledger."""

from __future__ import annotations

from pathlib import Path

from bench.conversations import TURNS, Recording, fill
from llmqd.config.store import Store


async def test_each_conversation_is_one_session_however_thinly_they_are_spread(tmp_path: Path) -> None:
    recording = Recording(tmp_path, Store(max_size=0, retention=0.0), bulk=True)
    async with recording.ledger:
        await fill(recording, 5 * TURNS, days=30.0)
        totals = await recording.ledger.session_totals(1000)
    assert [one.request_count for one in totals] == [TURNS] * 5
