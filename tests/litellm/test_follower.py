"""The daemon follows a LiteLLM database, and its API answers for those calls too."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from llmqd.config.load import load
from tests.litellm.spend_table import create, insert, row
from tests.postgres import Postgres
from tests.under_test import DaemonUnderTest, running, upstream_toml
from tests.web.api.asking import Asked


def config(dsn: str) -> str:
    return upstream_toml("openai", "http://127.0.0.1:9") + f'\n[litellm]\ndsn = "{dsn}"\nevery = "1s"\n'


async def counted(daemon: DaemonUnderTest, calls: int, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while sum((await daemon.ledger.count_by_status()).values()) != calls:
        assert time.monotonic() < deadline, daemon.ledger
        await asyncio.sleep(0.05)


def rows() -> list[dict[str, Any]]:
    at = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=30)
    said = {"agent_name": "writer"}
    return [
        row("r1", at, session_id="s1", end_user="u1", messages=[{"role": "user", "content": "Hello"}], reply="Hi.")
        | {"metadata": {"spend_logs_metadata": said}},
        row("r2", at + timedelta(seconds=5), session_id="s1", end_user="u1", model="gpt-4o-mini", cache_hit="True")
        | {"spend": 0.002, "prompt_tokens": 150, "completion_tokens": 50, "metadata": {"spend_logs_metadata": said}},
        row("r3", at + timedelta(seconds=9), session_id="s2", status="failure", spend=0.0)
        | {"prompt_tokens": 0, "completion_tokens": 0},
    ]


async def test_every_endpoint_answers_for_calls_of_litellm(postgres: Postgres, tmp_path: Path) -> None:
    dsn = postgres.database()
    connection = await asyncpg.connect(dsn)
    await create(connection)
    await insert(connection, rows())
    async with running(tmp_path, config(dsn), store="sqlite") as daemon:
        await counted(daemon, 3)
        asked = Asked(daemon)
        overview = await asked.json("/analytics/overview?days=1")
        assert (overview["total_requests"], overview["unique_sessions"], overview["total_tokens"]) == (3, 2, 300)
        assert (await asked.json("/analytics/agents"))[0]["agent_name"] == "writer"
        assert {one["model"] for one in await asked.json("/analytics/models")} == {"gpt-4o", "gpt-4o-mini"}
        assert sum(one["total_requests"] for one in await asked.json("/analytics/usage-trends")) == 3
        costs = await asked.json("/analytics/cost-breakdown?group_by=agent")
        assert costs[0]["category"] == "writer"
        found = await asked.json("/sessions/search", {"agent_name": "writer"})
        assert [one["session_id"] for one in found["sessions"]] == ["s1"]
        summary = await asked.json("/sessions/s1/summary")
        assert (summary["total_messages"], summary["total_tokens"], summary["total_cost"]) == (2, 300, 0.003)
        assert (summary["cache_hit_rate"], summary["function_calls_count"]) == (50.0, 0)
        assert summary["models_used"] == ["gpt-4o", "gpt-4o-mini"]
        assert len(await asked.json("/sessions/s1/messages")) >= 2
        assert (await asked.json("/requests/r1"))["session_id"] == "s1"
        assert "Hello" in str(await asked.json("/requests/r1/messages"))
        await asked.json("/requests/r9", status=404)
        # What comes later, and late, comes in too.
        late = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=5)
        await insert(connection, [row("r4", late, session_id="s1")])
        await counted(daemon, 4)
    await connection.close()


async def test_a_database_that_is_away_is_said_and_found_when_it_is_back(postgres: Postgres, tmp_path: Path) -> None:
    dsn = postgres.database()
    async with running(tmp_path, config(dsn)) as daemon:
        await daemon.until(lambda: daemon.following.error is not None, 20)
        assert "LiteLLM_SpendLogs" in str(daemon.following.error)
        connection = await asyncpg.connect(dsn)
        await create(connection)
        await insert(connection, rows())
        await connection.close()
        await counted(daemon, 3)
        await daemon.until(lambda: daemon.following.error is None, 20)


async def test_a_reload_names_another_database(postgres: Postgres, tmp_path: Path) -> None:
    dsn = postgres.database()
    connection = await asyncpg.connect(dsn)
    await create(connection)
    await insert(connection, rows())
    await connection.close()
    async with running(tmp_path, upstream_toml("openai", "http://127.0.0.1:9")) as daemon:
        path = tmp_path / "llmqd.toml"
        path.write_text(path.read_text() + f'\n[litellm]\ndsn = "{dsn}"\n')
        daemon.reload(lambda: load(path, {}))
        await counted(daemon, 3)
