"""The index of words has the words of the texts that are there, and of no others."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

from llmqd.config.store import Store
from llmqd.store.ledger import Ledger
from llmqd.store.session_questions import SessionFilters
from tests.store.conversing import Scribe, Talk

DAY = 86_400.0


def indexed(directory: Path) -> set[str]:
    """All words that the index has."""
    connection = sqlite3.connect(directory / "llmqd.db")
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, words, row)")
        return {term for (term,) in connection.execute("SELECT term FROM temp.vocabulary")}
    finally:
        connection.close()


async def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within ten seconds")


async def found(ledger: Ledger, text: str) -> int:
    return len((await ledger.sessions.search_text(SessionFilters(), text, 100)).sessions)


async def test_words_go_with_their_texts(tmp_path: Path) -> None:
    now = 1.7e9
    scribe = Scribe(settings := Store(retention=0.0, texts_retention=10 * DAY), wall=lambda: now)
    async with Ledger(settings, tmp_path, transcripts=scribe.transcripts, wall=lambda: now) as ledger:
        old = Talk(scribe, ledger)
        old.say("ancient question", "ancient answer")
        assert await ledger.settled(5)
        now += 9 * DAY
        new = Talk(scribe, ledger)
        new.say("recent question", "recent answer")
        assert await ledger.settled(5)
        assert indexed(tmp_path) == {"ancient", "recent", "question", "answer"}
        assert await found(ledger, "ancient") == 1
        now += 2 * DAY
        Talk(scribe, ledger).say("more", "words")
        assert await ledger.settled(5)
        await until(lambda: "ancient" not in indexed(tmp_path))
        assert indexed(tmp_path) == {"recent", "question", "answer", "more", "words"}
        assert await found(ledger, "question") == 1


async def test_a_text_said_again_is_there_once(tmp_path: Path) -> None:
    now = 1.7e9
    scribe = Scribe(Store(retention=0.0), wall=lambda: now)
    async with Ledger(scribe.settings, tmp_path, transcripts=scribe.transcripts, wall=lambda: now) as ledger:
        for _ in range(3):
            Talk(scribe, ledger).say("the same", "again")
            assert await ledger.settled(5)
            now += 3 * DAY
        assert await found(ledger, "same") == 3
    connection = sqlite3.connect(tmp_path / "llmqd.db")
    counts = connection.execute("SELECT count(*) FROM words WHERE words MATCH 'same'").fetchone()
    rows = connection.execute("SELECT count(*) FROM texts").fetchone()
    connection.close()
    assert (*counts, *rows) == (1, 2)


async def test_texts_that_were_there_before_are_taken_in(tmp_path: Path) -> None:
    scribe = Scribe()
    async with Ledger(Store(), tmp_path, transcripts=scribe.transcripts) as ledger:
        for number in range(200):
            Talk(scribe, ledger).say(f"question {number}", f"answer {number}")
        assert await ledger.settled(10)
    # As an older version has left it.
    connection = sqlite3.connect(tmp_path / "llmqd.db")
    connection.executescript(
        "DROP TABLE words_terms; DROP TABLE words; DROP INDEX nodes_by_text;"
        " ALTER TABLE calls DROP COLUMN tried; PRAGMA user_version = 10;"
    )
    connection.close()
    async with Ledger(Store(), tmp_path, transcripts=scribe.transcripts) as ledger:
        Talk(scribe, ledger).say("something new", "at once")
        assert await ledger.settled(10)
        assert await found(ledger, "new") == 1
        await until(lambda: "7" in indexed(tmp_path) and "0" in indexed(tmp_path))
        assert await found(ledger, "question") == 100
        assert await found(ledger, "question 137") == 1
        Talk(scribe, ledger).say("question 137", "another answer")
        assert await ledger.settled(10)
        assert await found(ledger, "question 137") == 2


async def test_redacted_words_are_not_in_it(tmp_path: Path) -> None:
    scribe = Scribe()
    secret = "sk-proj-a1b2c3d4e5f6a7b8c9d0"
    async with Ledger(Store(), tmp_path, transcripts=scribe.transcripts) as ledger:
        Talk(scribe, ledger).say(f"my key is {secret}", "thanks")
        assert await ledger.settled(5)
        assert await found(ledger, "key") == 1
    assert not indexed(tmp_path) & set(re.findall("[a-z0-9]+", secret[3:]))
