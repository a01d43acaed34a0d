"""PostgreSQL ends and comes again under a daemon that is at work: no client notices, no record is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fake_upstream import FakeUpstream
from tests.fake_upstream import openai_answers as openai
from tests.postgres import server
from tests.under_test import call, running, upstream_toml

CHAT = "/v1/session/s{}/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hello number %d"}]}'
MORE = "learn = false\n"
QUESTIONS = (
    *(f"/api/v1/analytics/{name}?days=1" for name in ("overview", "agents", "models", "usage-trends")),
    *(f"/api/v1/analytics/cost-breakdown?by={by}" for by in ("model", "agent", "user", "key", "upstream", "session")),
    *(f"/api/v1/export?what={what}&format=csv" for what in ("requests", "sessions", "usage")),
    *(f"/api/v1/sessions/s1/{name}" for name in ("messages", "summary")),
    "/api/v1/sessions?agent_name=nobody", "/api/v1/sessions?text=hello", "/api/v1/requests?status=failed",
    "/api/v1/requests?model=gpt-4o&tag=x", "/api/v1/keys", "/sessions/status",
)  # fmt: skip
JSON = {"Content-Type": "application/json"}


async def test_postgresql_ends_under_load_and_comes_again(tmp_path: Path) -> None:
    with server() as own:
        async with (
            FakeUpstream(openai.chat()) as upstream,
            running(
                tmp_path,
                upstream_toml("openai", upstream.url, MORE),
                store="postgresql",
                dsn=own.database(),
            ) as daemon,
        ):
            statuses: list[int] = []
            stop = asyncio.Event()

            async def client(number: int) -> None:
                while not stop.is_set():
                    response = await call(daemon.port, "POST", CHAT.format(number), BODY % len(statuses), JSON)
                    statuses.append(response.status)

            async with asyncio.TaskGroup() as clients:
                for number in range(4):
                    clients.create_task(client(number))
                await daemon.until(lambda: len(statuses) >= 50)
                await asyncio.to_thread(own.kill)
                before = len(statuses)
                await daemon.until(lambda: len(statuses) >= before + 200, within=30)
                await daemon.until(lambda: not daemon.ledger.health().ok, within=30)
                health = await call(daemon.port, "GET", "/health")
                assert health.status == 200
                assert b"PostgreSQL" in health.body
                answered = await call(daemon.port, "GET", "/api/v1/sessions")
                assert answered.status == 503
                await asyncio.to_thread(own.start)
                before = len(statuses)
                await daemon.until(lambda: len(statuses) >= before + 50, within=30)
                stop.set()
            assert set(statuses) == {200}
            assert await daemon.ledger.settled(60)
            assert await daemon.ledger.count_by_status() == {"done": len(statuses)}
            totals = await daemon.ledger.session_totals(10)
            assert sum(each.request_count for each in totals) == len(statuses)
            await daemon.until(lambda: daemon.ledger.health().ok)
            for question in QUESTIONS:
                assert (await call(daemon.port, "GET", question)).status == 200, question
            assert (daemon.ledger.health().lost, daemon.ledger.health().set_aside) == (0, 0)


async def test_a_daemon_that_starts_while_postgresql_is_away_serves_calls(tmp_path: Path) -> None:
    with server() as own:
        dsn = own.database()
        own.kill()
        async with (
            FakeUpstream(openai.chat()) as upstream,
            running(tmp_path, upstream_toml("openai", upstream.url, MORE), store="postgresql", dsn=dsn) as daemon,
        ):
            assert (await call(daemon.port, "POST", CHAT.format(1), BODY % 1, JSON)).status == 200
            await daemon.until(lambda: not daemon.ledger.health().ok)
            await asyncio.to_thread(own.start)
            assert await daemon.ledger.settled(60)
            assert await daemon.ledger.count_by_status() == {"done": 1}
