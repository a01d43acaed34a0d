"""Sessions over real connections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmqd.usage import Cost
from llmqd.web.api.sessions import Correcting, Sessions
from tests.fake_upstream import FakeUpstream
from tests.store.usage_records import MIDNIGHT, ended_call
from tests.under_test import call, running, upstream_toml
from tests.web.api.asking import asking, pick
from tests.web.api.test_analytics import two_agents_and_a_failure


async def test_a_session_is_one_row_with_the_figures_of_all_its_calls(tmp_path: Path) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        summary = await asked.json("/sessions/s1/summary")
        assert pick(summary, "total_messages", "total_tokens", "total_cost", "cache_hit_rate") == [2, 300, 0.003, 50.0]
        assert pick(summary, "models_used", "function_calls_count", "avg_response_time", "total_response_time") == [
            ["gpt-4o", "gpt-4o-mini"], 0, 3.0, 6.0,
        ]  # fmt: skip
        assert pick(summary, "session_start", "session_end", "total_duration_seconds") == [
            "2027-01-16T00:00:00.000Z", "2027-01-16T00:00:14.000Z", 14.0,
        ]  # fmt: skip
        assert pick(summary, "request_count", "error_count", "prompt_tokens", "completion_tokens", "source") == [
            2, 0, 210, 90, "header",
        ]  # fmt: skip
        assert pick(summary, "user_id", "agent_name", "conversation_name") == ["u1", "a", None]
        listed = await asked.json("/sessions")
        assert [session["session_id"] for session in listed["sessions"]] == ["s2", "s1"]
        assert listed["sessions"][1] == summary
        assert pick(listed, "total", "limit", "offset", "next") == [2, 50, 0, None]


async def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    async with asking(tmp_path, ended_call(MIDNIGHT, "s", cost=None, http_status=500)) as asked:
        summary = await asked.json("/sessions/s/summary")
        assert pick(summary, "total_cost", "avg_response_time", "user_id", "agent_name") == [None] * 4
        assert pick(summary, "cache_hit_rate", "total_messages", "error_count", "unknown_cost_count") == [0.0, 0, 1, 1]


async def test_an_unknown_session_is_404(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        for path, body in (
            ("summary", None),
            ("messages", None),
            ("merge", {"sessions": ["x"]}),
            ("split", {"request_id": "x"}),
        ):
            error = await asked.refused(f"/sessions/none/{path}", body, 404)
            assert error["code"] == "not_found"
            assert "'none'" in error["message"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["s2", "s1"]),
        ({"agent_name": "b"}, ["s1"]),
        ({"user_id": "u1", "model": "gpt-4o"}, ["s1"]),
        ({"model": "gpt-4o"}, ["s2", "s1"]),
        ({"status": "failed"}, ["s2"]),
        ({"min_cost": 0.003}, ["s1"]),
        ({"min_cost": 0.0031}, []),
        ({"max_cost": 0}, ["s2"]),
        ({"start_date": "2027-01-16T02:00:15+02:00"}, ["s2"]),
        ({"end_date": "2027-01-16T00:00:05"}, ["s1"]),
        ({"end_date": "2027-01-16"}, ["s2", "s1"]),
        ({"end_date": "2027-01-15"}, []),
        ({"agent_name": None, "tag": "t"}, []),
    ],
)
async def test_filters_mean_the_same_in_the_body_and_in_the_query(
    tmp_path: Path, filters: dict[str, Any], expected: list[str]
) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        found = await asked.json("/sessions/search", filters)
        assert ([session["session_id"] for session in found["sessions"]], found["total"]) == (expected, len(expected))
        query = "&".join(
            f"{name}={str(value).replace('+', '%2B')}" for name, value in filters.items() if value is not None
        )
        assert await asked.json(f"/sessions?{query}") == found


async def test_pages_by_cursor_and_by_offset(tmp_path: Path) -> None:
    async with asking(tmp_path, *[ended_call(MIDNIGHT + n, f"s{n}") for n in range(5)]) as asked:
        first = await asked.json("/sessions/search?limit=2", {})
        second = await asked.json(f"/sessions/search?limit=2&cursor={first['next']}", {})
        third = await asked.json(f"/sessions?limit=2&cursor={second['next']}")
        names = [[session["session_id"] for session in page["sessions"]] for page in (first, second, third)]
        assert names == [["s4", "s3"], ["s2", "s1"], ["s0"]]
        assert (first["total"], third["next"]) == (5, None)
        shifted = await asked.json("/sessions?limit=2&offset=2")
        assert shifted["sessions"] == second["sessions"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/sessions?limit=-1", None, "limit"),
        ("/sessions?limit=1001", None, "limit"),
        ("/sessions?offset=-1", None, "offset"),
        ("/sessions?cursor=nonsense", None, "cursor"),
        ("/sessions?offset=1&cursor=WzEsImEiXQ", None, "offset"),
        ("/sessions?status=odd", None, "status"),
        ("/sessions?min_cost=inf", None, "min_cost"),
        ("/sessions?min_cost=nan", None, "min_cost"),
        ("/sessions?agent=a", None, "agent"),
        ("/sessions/search", {"start_date": "12/01/2026"}, "start_date"),
        ("/sessions/search", {"min_cost": "much"}, "min_cost"),
        ("/sessions/search", {"modell": "x"}, "modell"),
        ("/sessions/s1/messages?cursor=nonsense", None, "cursor"),
        ("/sessions/s1/merge", {}, "sessions"),
        ("/sessions/s1/merge", {"sessions": ["s1"]}, "sessions"),
        ("/sessions/s1/split", {"request_id": "none"}, "request_id"),
    ],
)
async def test_a_bad_field_is_named(tmp_path: Path, path: str, body: object, param: str) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        error = await asked.refused(path, body)
        assert param in error["message"]
        assert error["param"] == param or "missing" in error["message"]


async def test_where_a_field_is_one_of_a_few_words_all_are_named(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        error = await asked.refused("/sessions?status=odd")
        assert "there are: running, done, cut, failed" in error["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b'"x"'])
async def test_a_body_that_is_no_object_is_refused(tmp_path: Path, body: bytes) -> None:
    async with asking(tmp_path) as asked:
        response = await call(asked.daemon.port, "POST", "/api/v1/sessions/search", body)
        assert (response.status, orjson.loads(response.body)["error"]["code"]) == (400, "bad_body")


async def test_a_search_without_a_body_finds_all(tmp_path: Path) -> None:
    async with asking(tmp_path, ended_call(MIDNIGHT, "s")) as asked:
        response = await call(asked.daemon.port, "POST", "/api/v1/sessions/search")
        assert (response.status, orjson.loads(response.body)["total"]) == (200, 1)


async def test_a_call_shows_in_its_session_as_soon_as_the_client_has_its_answer(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
        answered = await call(daemon.port, "POST", "/v1/session/seven/chat/completions", body)
        assert answered.status == 200
        shown = await call(daemon.port, "GET", "/api/v1/sessions/seven/summary")
        summary = orjson.loads(shown.body)
        assert pick(summary, "request_count", "source", "models_used") == [1, "path", ["gpt-4o-mini"]]
        assert summary["total_cost"] > 0


async def test_ids_of_any_characters_can_be_asked_for(tmp_path: Path) -> None:
    async with asking(tmp_path, ended_call(MIDNIGHT, "a/b ü?", cost=Cost(1))) as asked:
        assert (await asked.json("/sessions/a%2Fb%20%C3%BC%3F/summary"))["session_id"] == "a/b ü?"


class Corrector(Correcting):
    """Remembers what was to be corrected."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    async def merge(self, session_id: str, others: Sequence[str]) -> None:
        self.done.append((session_id, list(others)))

    async def split(self, session_id: str, request_id: str, since: float) -> str:
        self.done.append((session_id, request_id))
        return "new"


async def test_sessions_are_merged_and_split_by_who_knows_how(tmp_path: Path) -> None:
    from llmqd.web.api import inputs
    from llmqd.web.api.endpoint import Asked

    records = two_agents_and_a_failure()
    async with asking(tmp_path, *records) as asked:
        corrector = Corrector()
        sessions = Sessions(asked.daemon.ledger, corrector)
        path = {"session_id": "s1"}
        merged = await sessions.merge_sessions(Asked(path, inputs.Nothing(), inputs.Merge(sessions=["s2", "s1", "s2"])))
        assert (merged.session_id, merged.merged) == ("s1", ["s2"])
        divided = await sessions.split_session(
            Asked(path, inputs.Nothing(), inputs.Split(request_id=records[1].call.id))
        )
        assert divided.new_session_id == "new"
        assert corrector.done == [("s1", ["s2"]), ("s1", records[1].call.id)]
