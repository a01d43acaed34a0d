"""Which sessions there are: every filter, pages that neither skip nor repeat, costs of a window."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqd.store import session_questions
from llmqd.store.cursor import BadCursor, read, written
from llmqd.store.session_questions import SessionFilters, SessionQuestions
from llmqd.store.sqlite import SQLite
from llmqd.store.window import Window
from llmqd.usage import Cost
from tests.store.databases import database
from tests.store.usage_records import MIDNIGHT, ended_call, told

pytestmark = pytest.mark.usefixtures("each_database")

DAY = 86_400


async def ids(backend: SQLite, **filters: Any) -> list[str]:
    page = await SessionQuestions(backend.ask).search(SessionFilters(**filters), 100)
    assert page.total == len(page.sessions)
    return [session.session_id for session in page.sessions]


async def three_sessions(backend: SQLite) -> None:
    await told(
        backend,
        ended_call(MIDNIGHT, "old", model="m1", agent="a", user="u", tags=("x",), cost=Cost(10), total_ms=1000.0),
        ended_call(MIDNIGHT + 100, "old", model="m2", agent="b", user="u", cost=Cost(20), total_ms=1000.0),
        ended_call(MIDNIGHT + 50, "mid", model="m1", agent="a", user="v", cost=Cost(0), http_status=429, total_ms=1.0),
        ended_call(MIDNIGHT + 200, "new", model="m3", cost=None, status="cut", tags=("x", "y"), total_ms=1000.0),
    )


@pytest.mark.parametrize("few", [0, 2000], ids=["many", "few"])
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["new", "mid", "old"]),
        ({"agent": "a"}, ["mid", "old"]),
        ({"agent": "b"}, ["old"]),
        ({"agent": ""}, []),
        ({"user": "v"}, ["mid"]),
        ({"model": "m1"}, ["mid", "old"]),
        ({"model": "m1", "user": "u"}, ["old"]),
        ({"model": "m1", "user": "u", "tag": "y"}, []),
        ({"tag": "x"}, ["new", "old"]),
        ({"status": "cut"}, ["new"]),
        ({"since": MIDNIGHT + 60.0}, ["new", "old"]),
        ({"until": MIDNIGHT + 60.0}, ["mid", "old"]),
        ({"since": MIDNIGHT + 90.0, "until": MIDNIGHT + 150.0}, ["old"]),
        ({"min_cost": 0}, ["mid", "old"]),
        ({"min_cost": 30}, ["old"]),
        ({"min_cost": 31}, []),
        ({"max_cost": 0}, ["mid"]),
        ({"max_cost": 30, "agent": "a"}, ["mid", "old"]),
    ],
)
async def test_each_filter(
    monkeypatch: pytest.MonkeyPatch, few: int, filters: dict[str, Any], expected: list[str]
) -> None:
    monkeypatch.setattr(session_questions, "_FEW", few)
    async with database() as backend:
        await three_sessions(backend)
        assert await ids(backend, **filters) == expected


@pytest.mark.parametrize(("limit", "is_sorted"), [(1, False), (9, True)])
async def test_what_many_have_each_and_few_have_both_is_met_in_time_where_that_is_the_shorter_way(
    monkeypatch: pytest.MonkeyPatch, limit: int, is_sorted: bool
) -> None:
    monkeypatch.setattr(session_questions, "_FEW", 12)
    async with database() as backend:
        await told(
            backend,
            *[
                ended_call(
                    MIDNIGHT + number, f"s{number:02}", agent="ab"[number % 2], model="mno"[number % 3], id=f"c{number}"
                )
                for number in range(60)
            ],
        )
        asked: list[str] = []

        async def ask(statement: str, *values: Any) -> Any:
            asked.append(statement)
            return await backend.ask(statement, *values)

        page = await SessionQuestions(ask).search(SessionFilters(agent="a", model="m"), limit)
        assert [session.session_id for session in page.sessions] == [f"s{at:02}" for at in range(54, 0, -6)][:limit]
        assert page.total == 10
        assert any("+s.first_seen" in statement for statement in asked) is is_sorted


async def test_one_session_is_one_row_with_all_its_models_and_tags() -> None:
    async with database() as backend:
        await three_sessions(backend)
        session = await SessionQuestions(backend.ask).session("old")
        assert session is not None
        assert (session.request_count, session.cost_pico, session.total_ms) == (2, 30, 2000)
        assert (session.models, session.tags, session.agent) == (("m1", "m2"), ("x",), "a")
        assert (session.first_seen, session.last_seen) == (MIDNIGHT, MIDNIGHT + 101)
        assert await SessionQuestions(backend.ask).session("none") is None


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=60),
    st.integers(1, 9),
    st.sampled_from([0, 2000]),
    st.sampled_from([None, "even"]),
)
async def test_pages_neither_skip_nor_repeat_while_sessions_are_added_and_go_on(
    begins: list[int], limit: int, few: int, agent: str | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_questions, "_FEW", few)
        async with database() as backend:
            questions = SessionQuestions(backend.ask)
            filters = SessionFilters(agent=agent)
            sessions = [(f"s{number:03}", begin) for number, begin in enumerate(begins)]
            await told(
                backend,
                *[
                    ended_call(MIDNIGHT + begin, name, agent="odd" if begin % 2 else "even", id=f"first{name}")
                    for name, begin in sessions
                ],
            )
            expected = [
                name
                for name, begin in sorted(sessions, key=lambda each: (each[1], each[0]), reverse=True)
                if agent is None or begin % 2 == 0
            ]
            seen: list[str] = []
            after = None
            for turn in range(100):
                page = await questions.search(filters, limit, after=after)
                seen += [session.session_id for session in page.sessions]
                if page.next is None:
                    break
                after = read(written(page.next))
                await told(
                    backend,
                    ended_call(MIDNIGHT + 1000 + turn, f"later{turn}", agent="even", id=f"later{turn}"),
                    ended_call(MIDNIGHT + 2000 + turn, sessions[0][0], agent="even", id=f"again{turn}"),
                )
            assert [name for name in seen if name in expected] == expected
            assert len(seen) == len(set(seen))


async def test_offset_passes_over_sessions() -> None:
    async with database() as backend:
        await told(backend, *[ended_call(MIDNIGHT + n, f"s{n}") for n in range(5)])
        page = await SessionQuestions(backend.ask).search(SessionFilters(), 2, offset=2)
        assert ([session.session_id for session in page.sessions], page.total) == (["s2", "s1"], 5)


@given(st.text(max_size=40))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    try:
        place = read(text)
    except BadCursor:
        return
    assert written(place)


@given(st.floats(0, 4e9), st.text(max_size=30))
def test_a_cursor_comes_back_as_it_went(at: float, name: str) -> None:
    if name.encode("utf-8", "ignore").decode() == name:
        assert read(written((at, name))) == (at, name)


@pytest.mark.parametrize("recent", [0, 20_000], ids=["by cost", "by time"])
@pytest.mark.parametrize("spare", [0, 50])
async def test_the_dearest_sessions_count_what_they_spent_within_the_window(
    monkeypatch: pytest.MonkeyPatch, recent: int, spare: int
) -> None:
    monkeypatch.setattr(session_questions, "_RECENT", recent)
    monkeypatch.setattr(session_questions, "_SPARE", spare)
    async with database() as backend:
        await told(
            backend,
            ended_call(MIDNIGHT - DAY, "long", cost=Cost(1000), prompt=5),
            ended_call(MIDNIGHT + 10, "long", cost=Cost(5), prompt=7, completion=1),
            ended_call(MIDNIGHT + 2 * DAY, "long", cost=Cost(500)),
            ended_call(MIDNIGHT + 10, "inside", cost=Cost(100)),
            ended_call(MIDNIGHT + 20, "small", cost=Cost(1)),
            ended_call(MIDNIGHT - DAY, "before", cost=Cost(10_000)),
            ended_call(MIDNIGHT - DAY, "around", cost=Cost(3)),
            ended_call(MIDNIGHT + 2 * DAY, "around", cost=Cost(3)),
        )
        questions, window = SessionQuestions(backend.ask), Window(MIDNIGHT, MIDNIGHT + DAY)
        found = await questions.dearest(window, 10)
        assert [(session.session_id, session.cost_pico) for session in found] == [
            ("inside", 100), ("long", 5), ("small", 1),
        ]  # fmt: skip
        assert (found[1].request_count, found[1].prompt_tokens, found[1].total_tokens) == (1, 7, 8)
        assert [session.session_id for session in await questions.dearest(window, 1)] == ["inside"]
