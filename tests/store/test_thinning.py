"""What is left of journal entries when there is no room for what was said."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from llmqd.config.store import Store
from llmqd.store.entries import Closed, decode, encode_closed, encode_run
from llmqd.store.ledger import Ledger
from llmqd.store.thinning import without_texts
from tests.store.conversing import Scribe, words
from tests.store.records import answer, make_record


def test_texts_go_and_everything_else_stays() -> None:
    record = Scribe().record({"messages": [{"role": "user", "content": "Hello there"}]}, ["Good day"], session="s")
    whole = encode_closed(record)
    less, gone = without_texts(whole)
    assert gone == 2
    assert b"Hello" in whole
    assert b"Hello" not in less
    before, after = decode(whole), decode(less)
    assert isinstance(before, Closed)
    assert isinstance(after, Closed)
    assert before.spoken is not None
    assert after.spoken is not None
    assert (after.row, after.seen, after.tally, after.spent) == (before.row, before.seen, before.tally, before.spent)
    assert (after.spoken.nodes, after.spoken.marks) == (before.spoken.nodes, before.spoken.marks)
    assert after.spoken.texts == {}
    assert without_texts(less) == (less, 0)


@pytest.mark.parametrize(
    "payload", [encode_run("r"), encode_closed(answer(make_record("s"))), b'{"said":', b'["said"]', b'{"said":{}}']
)
def test_what_says_nothing_is_left_alone(payload: bytes) -> None:
    assert without_texts(payload) == (payload, 0)


async def test_past_its_cap_the_journal_gives_up_the_oldest_texts_and_no_count(tmp_path: Path) -> None:
    scribe = Scribe()
    settings = Store(batch_every=0.01, journal_segment=65_536, journal_max=300_000)
    async with Ledger(settings, tmp_path, transcripts=scribe.transcripts) as ledger:
        assert await ledger.settled(10)
        other = sqlite3.connect(tmp_path / "llmqd.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        records = []
        for number in range(400):
            text = f"what number {number} has to say " + f"{number:05} " * 200
            records.append(scribe.keep(ledger, {"messages": [{"role": "user", "content": text}]}, f"answer {number}"))
            if number == 200:
                async with asyncio.timeout(30):
                    while not ledger.health().given_up:  # noqa: ASYNC110 (it has no events for tests)
                        await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            while ledger.health().journal_bytes > 800_000:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not ledger.health().ok
        other.close()
        assert await ledger.settled(30)
        assert await ledger.count_by_status() == {"done": 400}
        health = ledger.health()
        assert (health.ok, health.lost, health.set_aside) == (True, 0, 0)
        first, last = [await ledger.messages_of_call(record.call.id) for record in (records[0], records[-1])]
        assert first is not None
        assert last is not None
        assert words(first.messages) == [None] or str(words(first.messages)[0]).startswith("what number 0 ")
        assert str(words(last.messages)[0]).startswith("what number 399 ")
        gone = [
            said
            for record in records
            if (said := await ledger.messages_of_call(record.call.id)) and words(said.messages) == [None]
        ]
        assert 50 < len(gone) < 400
