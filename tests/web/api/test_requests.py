"""Single calls over real connections."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from llmqd.call import Attempt
from llmqd.usage import Cost, Usage
from tests.fake_upstream import FakeUpstream
from tests.store.usage_records import MIDNIGHT, ended_call
from tests.under_test import call, running, upstream_toml
from tests.web.api.asking import asking, pick


async def test_everything_that_is_known_of_a_call(tmp_path: Path) -> None:
    record = ended_call(
        MIDNIGHT, "s", agent="a", user="u", conversation="c", tags=("t", "k:v"), client="k", stream=True, priority=3,
        queued_ms=250.0, first_byte_ms=750.0, total_ms=2000.0, function_calls=1,
        usage=Usage(input=100, output=20, cached=60, reasoning=5, source="exact"),
        cost=Cost(total=10**9, input=10**8, output=9 * 10**8),
    )  # fmt: skip
    async with asking(tmp_path, record) as asked:
        shown = await asked.json(f"/requests/{record.call.id}")
        assert pick(shown, "request_id", "session_id", "agent_name", "user_id") == [record.call.id, "s", "a", "u"]
        assert pick(shown, "conversation_name", "request_tags", "key") == ["c", ["t", "k:v"], "k"]
        assert pick(shown, "queued_time", "time_to_first_token", "total_time", "attempts", "priority") == [
            0.25, 0.75, 2.0, 1, 3,
        ]  # fmt: skip
        assert pick(shown, "request_start", "completion_start", "request_end") == [
            f"2027-01-16T00:00:0{at}Z" for at in ("0.000", "0.750", "2.000")
        ]
        assert pick(shown, "status", "http_status", "cost", "cache_hit", "function_calls", "usage_source") == [
            "done", 200, 0.001, True, 1, "exact",
        ]  # fmt: skip
        assert shown["costs"] == {"input": 0.0001, "output": 0.0009, "cache_read": 0, "cache_write": 0}
        assert pick(shown["tokens"], "input", "output", "cached", "reasoning") == [100, 20, 60, 5]
        [listed] = (await asked.json("/requests"))["requests"]
        assert listed == shown


async def test_what_the_parts_of_a_cost_are_is_null_where_only_the_whole_is_known(tmp_path: Path) -> None:
    record = ended_call(MIDNIGHT, "s", usage=Usage(input=100, output=20, source="exact"), cost=Cost(total=10**9))
    async with asking(tmp_path, record) as asked:
        shown = await asked.json(f"/requests/{record.call.id}")
        assert pick(shown, "cost", "costs") == [0.001, None]


async def test_a_call_shows_the_key_by_which_it_is_found(tmp_path: Path) -> None:
    record = ended_call(MIDNIGHT, "s", client="127.0.0.1", key="team-a")
    async with asking(tmp_path, record) as asked:
        assert (await asked.json(f"/requests/{record.call.id}"))["key"] == "team-a"
        [found] = (await asked.json("/requests?key=team-a"))["requests"]
        assert found["request_id"] == record.call.id


async def test_the_attempts_of_a_call_and_why_they_were_not_the_last(tmp_path: Path) -> None:
    tried = (
        Attempt("openai", "openai/a", "wait", 'HTTP 429: "slow", please', 250.0, 300.0, 429),
        Attempt("groq", "groq", "permanent", "full", None, 301.0),
    )
    record = ended_call(MIDNIGHT, "s", attempts=2, tried=tried)
    async with asking(tmp_path, record) as asked:
        shown = await asked.json(f"/requests/{record.call.id}")
        assert shown["attempts"] == 2
        assert shown["failed_attempts"] == [
            {
                "provider": "openai", "lane": "openai/a", "begin": 0.25, "end": 0.3, "http_status": 429,
                "verdict": "wait", "reason": 'HTTP 429: "slow", please',
            },
            {
                "provider": "groq", "lane": "groq", "begin": None, "end": 0.301, "http_status": None,
                "verdict": "permanent", "reason": "full",
            },
        ]  # fmt: skip


async def test_a_call_without_usage_or_price_has_nulls(tmp_path: Path) -> None:
    record = ended_call(MIDNIGHT, None, usage=None, cost=None, status="refused", http_status=429)
    async with asking(tmp_path, record) as asked:
        shown = await asked.json(f"/requests/{record.call.id}")
        assert pick(shown, "cost", "costs", "tokens", "prompt_tokens", "session_id") == [None] * 5


async def test_an_unknown_call_is_404(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        for path in ("/requests/none", "/requests/none/messages", "/requests/%C3%BC"):
            assert (await asked.refused(path, status=404))["code"] == "not_found"


async def test_filters_and_pages(tmp_path: Path) -> None:
    calls = [ended_call(MIDNIGHT + n, f"s{n % 2}", model=f"m{n % 3}", agent="a" if n else None) for n in range(6)]
    async with asking(tmp_path, *calls) as asked:
        ids = [record.call.id for record in reversed(calls)]
        for query, expected in (
            ("", ids),
            ("session_id=s1", ids[::2]),
            ("model=m0", [ids[2], ids[5]]),
            ("agent_name=a", ids[:5]),
            ("upstream=none", []),
            ("start_date=2027-01-16T00:00:04Z", ids[:2]),
            ("min_cost=1", []),
            ("max_cost=1000000", ids),
        ):
            found = await asked.json(f"/requests?{query}")
            assert [each["request_id"] for each in found["requests"]] == expected
        first = await asked.json("/requests?limit=4")
        second = await asked.json(f"/requests?limit=4&cursor={first['next']}")
        assert [each["request_id"] for page in (first, second) for each in page["requests"]] == ids
        assert second["next"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "status=odd", "cursor=%20", "cursor=", "end_date=x", "max_cost=-1", "odd=1"]
)
async def test_a_bad_filter_is_named(tmp_path: Path, query: str) -> None:
    async with asking(tmp_path) as asked:
        assert (await asked.refused(f"/requests?{query}"))["param"] == query.partition("=")[0]


async def test_a_call_is_found_by_the_id_that_its_client_got(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream, running(tmp_path, upstream_toml("openai", upstream.url)) as daemon:
        body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
        answered = await call(daemon.port, "POST", "/v1/chat/completions", body)
        request_id = answered.header("x-llmqd-request-id")
        shown = await call(daemon.port, "GET", f"/api/v1/requests/{request_id}")
        assert (shown.status, orjson.loads(shown.body)["status"]) == (200, "done")
        said = await call(daemon.port, "GET", f"/api/v1/requests/{request_id}/messages")
        assert (said.status, orjson.loads(said.body)["request_id"]) == (200, request_id)


async def test_while_the_ledger_cannot_answer_that_is_said_and_when_to_come_back(tmp_path: Path) -> None:
    async with asking(tmp_path, store="sqlite") as asked:
        database = asked.daemon.ledger._backend
        await database.close()
        (tmp_path / "state" / "llmqd.db").unlink()
        for path in ("/api/v1/requests", "/api/v1/analytics/overview", "/api/v1/sessions"):
            response = await asked.response(path)
            assert (response.status, response.header("retry-after")) == (503, "1")
            error = orjson.loads(response.body)["error"]
            assert (error["code"], error["type"]) == ("ledger_unavailable", "server_error")
