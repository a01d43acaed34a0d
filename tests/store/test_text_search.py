"""Sessions are found by words that were said in them, and a search that is long goes on where it ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmqd.config.store import Store
from llmqd.store import session_questions, text_search
from llmqd.store.ledger import Ledger
from llmqd.store.session_questions import SessionFilters
from llmqd.store.words import query, spoken_words
from tests.store.conversing import Scribe, Talk
from tests.store.databases import stored

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    scribe = Scribe()
    async with Ledger(stored(), tmp_path, transcripts=scribe.transcripts) as opened:
        for number in range(12):
            talk = Talk(scribe, opened, [{"role": "system", "content": "Hidden instructions"}])
            talk.say(f"Tell me of the Straße number {number}", f"It is {'BLUE' if number % 2 else 'red'} paint")
            talk.say("And of its length?", f"Kilometre {number} exactly", agent="guide")
        assert await opened.settled(10)
        yield opened


async def found(ledger: Ledger, text: str, limit: int = 100, agent: str | None = None) -> list[str]:
    page = await ledger.sessions.search_text(SessionFilters(agent=agent), text, limit)
    assert page.total == len(page.sessions)
    return [session.session_id for session in page.sessions]


@pytest.mark.parametrize("spelled_out", [0, 50])
@pytest.mark.parametrize("few", [1, 5, 1500])
@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("blue", 6),
        ("STRASSE", 12),
        ("paint red", 6),
        ("blue kilometre", 0),
        ("kilometre 7", 1),
        ("metre", 0),
        ("kilo*", 12),
        ("kilo", 0),
        ("exact* 7", 1),
        ("le*", 12),
        ("r* p*", 6),
        ("z*", 0),
        ("*", 0),
        ("its length?", 12),
        ("length!", 0),
        ("hidden", 0),
        ("nowhere", 0),
    ],
)
async def test_all_words_must_stand_in_one_message(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, text: str, count: int, few: int, spelled_out: int
) -> None:
    monkeypatch.setattr(text_search, "_SPELLED_OUT", spelled_out)
    monkeypatch.setattr(session_questions, "FEW", few)
    monkeypatch.setattr(session_questions, "_LOOKED_AT_FIRST", 2)
    assert len(await found(ledger, text)) == count


async def test_beginnings_are_spelled_out_where_few_words_begin_so(tmp_path: Path) -> None:
    scribe = Scribe()
    async with Ledger(Store(), tmp_path, transcripts=scribe.transcripts) as ledger:
        Talk(scribe, ledger, []).say("Metaclass, metaclasses and Überbau", "metal; metacarpus " * 3)
        assert await ledger.settled(10)
        search = ledger.sessions._texts
        assert (await search.spelled_out(query("metac*"))).match == '("metacarpus" OR "metaclass" OR "metaclasses")'
        assert (await search.spelled_out(query("über* nothing*"))).match == '("uberbau") AND "nothing"*'


async def test_other_filters_hold_as_well(ledger: Ledger) -> None:
    assert len(await found(ledger, "blue", agent="guide")) == 6
    assert await found(ledger, "blue", agent="nobody") == []


@pytest.mark.parametrize("patience", [0.0, 10.0], ids=["gives up at once", "patient"])
@pytest.mark.parametrize(("few", "wanted"), [(1, "red"), (1500, "red"), (1, "length?"), (1500, "length?"), (1, "!?")])
async def test_following_next_leads_to_all_of_them_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, patience: float, few: int, wanted: str
) -> None:
    monkeypatch.setattr(session_questions, "_READ_AT_ONCE", 2)
    monkeypatch.setattr(session_questions, "_LOOKED_AT_FIRST", 1)
    monkeypatch.setattr(session_questions, "FEW", few)
    total = (await ledger.sessions.search_text(SessionFilters(), wanted, 100)).total
    seen: list[str] = []
    after = None
    for _ in range(50):
        page = await ledger.sessions.search_text(SessionFilters(), wanted, 4, after=after, within=patience)
        assert len(page.sessions) <= 4
        seen += [session.session_id for session in page.sessions]
        after = page.next
        if after is None:
            break
    assert len(seen) == len(set(seen)) == total == {"red": 6, "length?": 12, "!?": 0}[wanted]


async def test_pages_may_end_within_what_many_have_said_in_the_same_words(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_questions, "_LOOKED_AT_FIRST", 1)
    monkeypatch.setattr(session_questions, "FEW", 2)
    seen: list[str] = []
    after = None
    for _ in range(20):
        page = await ledger.sessions.search_text(SessionFilters(), "of", 2, after=after)
        seen += [session.session_id for session in page.sessions]
        after = page.next
        if after is None:
            break
    assert len(seen) == len(set(seen)) == 12


async def test_the_latest_that_was_said_comes_first(ledger: Ledger) -> None:
    page = await ledger.sessions.search_text(SessionFilters(), "kilometre", 3)
    numbers = [await ledger.messages_of_session(session.session_id, 10) for session in page.sessions]
    said = [lines.lines[-1].message.text for lines in numbers if lines and lines.lines[-1].message]
    assert said == [f"Kilometre {number} exactly" for number in (11, 10, 9)]
    assert page.total == 12


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_is_no_message_says_nothing(value: object) -> None:
    try:
        data = orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return
    assert spoken_words(data) is None
    assert not query("word").said_in(data[:-1])
