"""What the ledger knows of budgets: by quarter of an hour, of all time, through merges, splits and deaths."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmqd.budgets.charge import Amount
from llmqd.call import Call, Outcome, Record, SessionRef, new_call_id
from llmqd.store.entries import Regrouped
from llmqd.store.ledger import Ledger
from llmqd.usage import Cost, Usage
from tests.calls import a_call
from tests.store.databases import stored

pytestmark = pytest.mark.usefixtures("each_database")

NOW = 1_790_000_100.0
QUARTER = NOW - NOW % 900
FOREVER = float("inf")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with Ledger(stored(), tmp_path, wall=lambda: NOW) as found:
        yield found


def a_record(at: float = NOW, *, tokens: int = 30, pico: int = 7, session: str | None = None, **more: object) -> Record:
    source = "none" if session is None else "header"
    call = a_call(id=new_call_id(at), received_at=at, session=SessionRef(session, source), **more)  # type: ignore[arg-type]
    outcome = Outcome("done", 200, None, "openai", 1, queued_ms=1.0, usage=Usage(input=tokens, source="exact"))
    outcome.cost = Cost(pico)
    return Record(call, outcome)


def keep(ledger: Ledger, record: Record) -> Call:
    ledger.opened(record)
    ledger.closed(record)
    return record.call


async def spent(ledger: Ledger, by: str, since: float = QUARTER, until: float = FOREVER) -> dict[str, Amount]:
    assert await ledger.settled(5)
    found = await ledger.spending(by, since, until, 100)
    assert found.position == ledger.end
    return dict(found.rows)


async def test_each_call_counts_for_all_for_whom_it_was(ledger: Ledger) -> None:
    keep(ledger, a_record(key="app", user="ann", agent="coder", session="s1"))
    keep(ledger, a_record(key="app", tokens=5, pico=1))
    assert await spent(ledger, "all", until=QUARTER + 900) == {"": Amount(2, 35, 8)}
    assert await spent(ledger, "key", until=QUARTER + 900) == {"app": Amount(2, 35, 8)}
    for by, value in (("user", "ann"), ("agent", "coder"), ("session", "s1")):
        assert await spent(ledger, by, until=QUARTER + 900) == {value: Amount(1, 30, 7)}


async def test_a_time_begins_and_ends_at_quarters_of_an_hour(ledger: Ledger) -> None:
    for at in (QUARTER - 0.1, QUARTER, QUARTER + 899.9, QUARTER + 900):
        keep(ledger, a_record(at, tokens=1))
    assert await spent(ledger, "all", QUARTER, QUARTER + 900) == {"": Amount(2, 2, 14)}
    assert await spent(ledger, "all", QUARTER, QUARTER + 1800) == {"": Amount(3, 3, 21)}
    assert await spent(ledger, "all") == {"": Amount(4, 4, 28)}


async def test_quarters_go_after_a_month_and_all_time_stays(ledger: Ledger) -> None:
    keep(ledger, a_record(NOW - 40 * 86_400))
    keep(ledger, a_record(NOW))
    assert await spent(ledger, "all", 1, QUARTER + 900) == {"": Amount(1, 30, 7)}
    assert await spent(ledger, "all") == {"": Amount(2, 60, 14)}


async def test_only_those_who_called_last_are_told(ledger: Ledger) -> None:
    for number in range(5):
        keep(ledger, a_record(NOW + number, user=f"u{number}"))
    assert await ledger.settled(5)
    found = await ledger.spending("user", QUARTER, QUARTER + 900, 2)
    assert [value for value, _ in found.rows] == ["u4", "u3"]


async def test_what_was_never_sent_or_imported_counts_nowhere(ledger: Ledger) -> None:
    ledger.unsent(Record(a_call(key="app"), Outcome("refused", 429, "budget_exceeded", "openai")))
    imported = a_record(key="app")
    imported.outcome.lane = "litellm"
    ledger.imported(imported)
    assert await spent(ledger, "key") == {}


async def test_calls_under_which_the_daemon_died_count_as_expected_and_once(tmp_path: Path) -> None:
    running = a_record(key="app", session="s1", reserved_tokens=500, reserved_pico=90)
    running.outcome = Outcome(lane="openai", queued_ms=2.0)
    for _ in range(3):
        async with Ledger(stored(), tmp_path, wall=lambda: NOW) as ledger:
            assert await ledger.settled(5)
            known = await spent(ledger, "key")
            ledger.opened(running)
    assert known == {"app": Amount(1, 500, 90)}
    async with Ledger(stored(), tmp_path, wall=lambda: NOW) as ledger:
        assert await spent(ledger, "session", until=QUARTER + 900) == {"s1": Amount(1, 500, 90)}


async def test_merged_sessions_have_spent_together(ledger: Ledger) -> None:
    keep(ledger, a_record(session="one"))
    keep(ledger, a_record(session="two"))
    keep(ledger, a_record(QUARTER - 1, session="two"))
    assert await ledger.settled(5)
    ledger.regrouped(Regrouped(("two",), "one", NOW))
    assert await spent(ledger, "session") == {"one": Amount(3, 90, 21)}
    assert await spent(ledger, "session", until=QUARTER + 900) == {"one": Amount(2, 60, 14)}
    keep(ledger, a_record(session="two"))
    assert await spent(ledger, "session") == {"one": Amount(4, 120, 28)}


async def test_a_session_that_is_split_takes_along_what_its_calls_spent(ledger: Ledger) -> None:
    keep(ledger, a_record(NOW, session="old"))
    first = keep(ledger, a_record(NOW + 1, session="old", tokens=50))
    keep(ledger, a_record(NOW + 2, session="old", tokens=60))
    assert await ledger.settled(5)
    ledger.regrouped(Regrouped(("old",), "new", NOW + 3, first.id, new_call_id(NOW + 3)[:10]))
    assert await spent(ledger, "session") == {"old": Amount(1, 30, 7), "new": Amount(2, 110, 14)}
    assert await spent(ledger, "all") == {"": Amount(3, 140, 21)}
