"""What a traceability API over another proxy's table got wrong, on the same calls: one session with two agents and two
models, and one call that failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.web.api.asking import asking
from tests.web.api.test_analytics import DAY, two_agents_and_a_failure


async def summary(tmp_path: Path) -> dict[str, Any]:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        found: dict[str, Any] = await asked.json("/sessions/s1/summary")
        return found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("total_messages", 2),
        ("total_tokens", 300),
        ("total_cost", 0.003),
        ("total_response_time", 6.0),
        ("cache_hit_rate", 50.0),
        ("models_used", ["gpt-4o", "gpt-4o-mini"]),
        ("function_calls_count", 0),
        ("error_count", 0),
    ],
)
async def test_a_session_counts_all_its_calls_whichever_agent_made_them(
    tmp_path: Path, field: str, value: object
) -> None:
    assert (await summary(tmp_path))[field] == value


async def test_a_session_is_listed_once(tmp_path: Path) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        found = await asked.json("/sessions/search", {})
        assert sorted(session["session_id"] for session in found["sessions"]) == ["s1", "s2"]
        assert found["total"] == 2


@pytest.mark.parametrize(
    "path",
    [
        f"analytics/agents?{DAY}",
        f"analytics/usage-trends?{DAY}",
        f"analytics/usage-trends?{DAY}&granularity=hour",
        f"analytics/cost-breakdown?{DAY}",
        f"analytics/cost-breakdown?{DAY}&by=agent",
        f"analytics/cost-breakdown?{DAY}&by=user",
        f"analytics/overview?{DAY}",
        f"analytics/models?{DAY}",
    ],
)
async def test_every_question_has_an_answer(tmp_path: Path, path: str) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        assert await asked.json(f"/{path}")


@pytest.mark.parametrize("path", ["sessions/x/messages", "sessions/x/summary", "requests/x", "requests/x/messages"])
async def test_what_is_unknown_is_404(tmp_path: Path, path: str) -> None:
    async with asking(tmp_path) as asked:
        assert (await asked.refused(f"/{path}", status=404))["code"] == "not_found"


@pytest.mark.parametrize("limit", [-1, 0, 1001])
async def test_a_limit_out_of_range_is_named(tmp_path: Path, limit: int) -> None:
    async with asking(tmp_path) as asked:
        assert (await asked.refused(f"/sessions/search?limit={limit}", {}))["param"] == "limit"


async def test_a_cost_of_nothing_is_a_bound_too(tmp_path: Path) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        found = await asked.json("/sessions/search", {"max_cost": 0})
        assert [session["session_id"] for session in found["sessions"]] == ["s2"]
        found = await asked.json("/sessions/search", {"min_cost": 0.003})
        assert [session["session_id"] for session in found["sessions"]] == ["s1"]


async def test_failed_calls_drag_no_average(tmp_path: Path) -> None:
    async with asking(tmp_path, *two_agents_and_a_failure()) as asked:
        found = await asked.json(f"/analytics/overview?{DAY}")
        assert (found["avg_response_time"], found["error_count"]) == (3.0, 1)
