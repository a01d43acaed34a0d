"""What was used, over real connections."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from llmqd.call import Record
from llmqd.usage import Cost, Usage
from tests.store.usage_records import MIDNIGHT, ended_call
from tests.web.api.asking import asking, pick

DAY = "from=2027-01-16&to=2027-01-16"


def two_agents_and_a_failure() -> list[Record]:
    """Two agents and two models in one session, a cached answer, and a call of another that failed."""
    return [
        ended_call(
            MIDNIGHT, "s1", user="u1", model="gpt-4o", agent="a", total_ms=2000.0, prompt=60, completion=40,
            cost=Cost(10**9),
        ),
        ended_call(
            MIDNIGHT + 10, "s1", user="u1", model="gpt-4o-mini", agent="b", total_ms=4000.0, cost=Cost(2 * 10**9),
            usage=Usage(input=150, output=50, cached=100, source="exact"),
        ),
        ended_call(
            MIDNIGHT + 20, "s2", user="", model="gpt-4o", status="failed", http_status=500, usage=None, cost=None,
            total_ms=0.0,
        ),
    ]  # fmt: skip


async def test_overview(tmp_path: Path) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        found = await asked.json(f"/analytics/overview?{DAY}")
        assert pick(found, "total_requests", "error_count", "error_rate", "unique_sessions", "unique_users") == [
            3, 1, 33.33, 2, 1,
        ]  # fmt: skip
        assert pick(found, "total_tokens", "total_cost", "avg_response_time", "cache_hits", "cache_hit_rate") == [
            300, 0.003, 3.0, 1, 50.0,
        ]  # fmt: skip
        assert pick(found, "function_calls", "total_function_calls") == [0, 0]
        assert found["response_time"]["p50"] == pytest.approx(2.0, rel=0.05)
        assert found["response_time"]["p99"] == pytest.approx(4.0, rel=0.05)
        assert pick(found, "from", "to") == ["2027-01-16T00:00:00.000Z", "2027-01-17T00:00:00.000Z"]


async def test_sessions_are_counted_from_the_beginning_of_time_too(tmp_path: Path) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        found = await asked.json("/analytics/overview?from=1970-01-01&to=2028-01-01")
        assert pick(found, "total_requests", "unique_sessions") == [3, 2]


async def test_an_empty_window_has_zeros_and_nulls(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        found = await asked.json("/analytics/overview")
        assert pick(found, "total_requests", "total_cost", "error_rate", "cache_hit_rate", "unique_sessions") == [0] * 5
        assert pick(found, "avg_response_time", "min_response_time", "avg_queued_time") == [None] * 3
        assert found["time_to_first_token"] == {"p50": None, "p95": None, "p99": None}
        for path in ("agents", "models", "cost-breakdown", "cost-breakdown?by=session"):
            assert await asked.json(f"/analytics/{path}") == []


async def test_agents(tmp_path: Path) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        found = await asked.json(f"/analytics/agents?{DAY}")
        names = ("agent_name", "total_interactions", "unique_sessions", "cache_hit_rate")
        assert [pick(row, *names) for row in found] == [
            ["b", 1, 1, 100.0], ["a", 1, 1, 0.0], [None, 1, 1, 0.0],
        ]  # fmt: skip
        assert len(await asked.json(f"/analytics/agents?{DAY}&limit=1")) == 1


async def test_models(tmp_path: Path) -> None:
    nameless = ended_call(MIDNIGHT, model=None, usage=None, cost=None)
    async with asking(tmp_path, *two_agents_and_a_failure(), nameless) as asked:
        found = await asked.json(f"/analytics/models?{DAY}")
        fields = ("model", "provider", "total_requests", "error_count", "min_response_time", "max_response_time")
        assert [pick(row, *fields) for row in found] == [
            ["gpt-4o", "openai", 2, 1, 2.0, 2.0], ["gpt-4o-mini", "openai", 1, 0, 4.0, 4.0],
        ]  # fmt: skip


async def test_trends_fill_the_gaps(tmp_path: Path) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure(), ended_call(MIDNIGHT + 2 * 86_400, "s1")) as asked:
        days = await asked.json("/analytics/usage-trends?from=2027-01-15&to=2027-01-18")
        assert [pick(row, "time_period", "total_requests", "unique_sessions") for row in days] == [
            ["2027-01-15", 0, 0], ["2027-01-16", 3, 2], ["2027-01-17", 0, 0], ["2027-01-18", 1, 1],
        ]  # fmt: skip
        hours = await asked.json(
            "/analytics/usage-trends?from=2027-01-15T23:30:00Z&to=2027-01-16T01:00:00Z&granularity=hour"
        )
        assert [pick(row, "time_period", "total_requests") for row in hours] == [
            ["2027-01-15 23:00:00", 0], ["2027-01-16 00:00:00", 3],
        ]  # fmt: skip
        lines = await asked.json("/analytics/usage-trends?from=2027-01-16&to=2027-01-18&by=model&limit=2")
        assert [pick(row, "category", "total_requests", "unique_sessions") for row in lines] == [
            *[["gpt-4o-mini", count, None] for count in (1, 0, 1)],
            *[["gpt-4o", count, None] for count in (2, 0, 0)],
        ]


async def test_cost_breakdown_adds_up(tmp_path: Path) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        for by, expected in (
            ("model", [["gpt-4o-mini", 0.002, 66.67], ["gpt-4o", 0.001, 33.33]]),
            ("agent", [["b", 0.002, 66.67], ["a", 0.001, 33.33], [None, 0, 0.0]]),
            ("user", [["u1", 0.003, 100.0], [None, 0, 0.0]]),
            ("upstream", [["openai", 0.003, 100.0]]),
            ("key", [[None, 0.003, 100.0]]),
            ("session", [["s1", 0.003, 100.0], ["s2", 0, 0.0]]),
        ):
            found = await asked.json(f"/analytics/cost-breakdown?{DAY}&by={by}")
            assert [pick(row, "category", "total_cost", "cost_percentage") for row in found] == expected
            assert await asked.json(f"/analytics/cost-breakdown?{DAY}&group_by={by}") == found
        [user, _] = await asked.json(f"/analytics/cost-breakdown?{DAY}&by=user")
        assert user["avg_cost_per_request"] == 0.0015


async def test_a_price_that_is_not_known_is_null_and_not_nothing(tmp_path: Path) -> None:
    async with asking(tmp_path, ended_call(MIDNIGHT, model="odd", cost=None)) as asked:
        [row] = await asked.json(f"/analytics/cost-breakdown?{DAY}")
        assert pick(row, "total_cost", "avg_cost_per_request", "unknown_cost_count", "cost_percentage") == [
            None,
            None,
            1,
            0.0,
        ]
        assert (await asked.json(f"/analytics/overview?{DAY}"))["total_cost"] is None


async def test_money_has_all_its_digits(tmp_path: Path) -> None:
    async with asking(tmp_path, ended_call(MIDNIGHT, cost=Cost(1_234_567_890_123))) as asked:
        response = await asked.response(f"/api/v1/analytics/overview?{DAY}")
        assert b'"total_cost":1.234567890123,' in response.body


async def test_the_window_is_the_last_thirty_days_unless_something_else_is_said(tmp_path: Path) -> None:
    now = time.time()
    calls = [ended_call(now - days * 86_400 + 5) for days in (0.001, 6, 29, 31)]
    async with asking(tmp_path, *calls) as asked:
        for query, count in (("", 3), ("?days=1", 1), ("?days=7", 2), ("?days=365", 4)):
            assert (await asked.json(f"/analytics/overview{query}"))["total_requests"] == count


async def test_times_with_a_zone_are_converted(tmp_path: Path) -> None:
    async with asking(tmp_path, ended_call(MIDNIGHT + 1800)) as asked:
        inside = "/analytics/overview?from=2027-01-16T02:00:00%2B02:00&to=2027-01-16T03:00:00%2B02:00"
        outside = "/analytics/overview?from=2027-01-16T02:00:00Z&to=2027-01-16T03:00:00Z"
        assert [(await asked.json(path))["total_requests"] for path in (inside, outside)] == [1, 0]


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("overview?days=0", "days"),
        ("overview?days=abc", "days"),
        ("overview?days=7&from=2027-01-01", "days"),
        ("overview?from=yesterday", "from"),
        ("overview?from=2027-01-02&to=2027-01-01", "from"),
        ("overview?day=7", "day"),
        ("usage-trends?granularity=week", "granularity"),
        ("usage-trends?granularity=hour&days=3660", "granularity"),
        ("usage-trends?by=session", "by"),
        ("cost-breakdown?by=colour", "by"),
        ("cost-breakdown?group_by=", "group_by"),
        ("agents?limit=0", "limit"),
        ("models?limit=1001", "limit"),
    ],
)
async def test_a_bad_parameter_is_named(tmp_path: Path, path: str, param: str) -> None:
    async with asking(tmp_path) as asked:
        error = await asked.refused(f"/analytics/{path}")
        assert (error["param"], error["code"], error["type"]) == (param, "bad_field", "invalid_request_error")
        assert error["message"].startswith(f"{param}: ")


async def test_other_methods_are_refused_and_head_is_not(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        refused = await asked.response("/api/v1/analytics/overview", {}, "POST")
        assert (refused.status, refused.header("allow")) == (405, "GET, HEAD")
        assert (await asked.response("/api/v1/analytics/overview", method="HEAD")).status == 200
