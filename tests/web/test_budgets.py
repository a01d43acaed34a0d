"""Budgets over the wire: refusals, priorities, alerts, figures, and what a restart remembers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmqd.auth.key import KeyBudget
from llmqd.auth.key_file import KeyFile
from llmqd.config.budgets import Budget, parse_allowance
from llmqd.events import Alert, Gap, Wanted
from tests.fake_upstream import FakeUpstream
from tests.fake_upstream import openai_answers as openai
from tests.under_test import DaemonUnderTest, RawClient, RawResponse, call, running, upstream_toml
from tests.web.test_door import ADMIN, KEYS, bearer, create

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"hi"}]}'
JSON = {"Content-Type": "application/json"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
COST = Decimal("0.00000915")
"""Of one answer of the fake upstream: 15 tokens in at 0.15 USD a million, 4 cached at 0.075, 11 out at 0.6."""


@asynccontextmanager
async def budgeted(
    tmp_path: Path, toml: str, *, store: str = "memory", more: str = ""
) -> AsyncIterator[tuple[DaemonUnderTest, FakeUpstream]]:
    async with FakeUpstream() as upstream:
        config = upstream_toml("openai", upstream.url, more) + toml
        async with running(tmp_path, config, store=store) as daemon:
            yield daemon, upstream


async def ask(daemon: DaemonUnderTest, **headers: str) -> RawResponse:
    sent = JSON | {f"X-LLMQD-{name.replace('_', '-')}": value for name, value in headers.items()}
    return await call(daemon.port, "POST", CHAT, BODY, sent)


async def budgets(daemon: DaemonUnderTest, query: str = "", headers: dict[str, str] | None = None) -> Any:
    answer = await call(daemon.port, "GET", f"/api/v1/budgets{query}", b"", headers or {})
    assert answer.status == 200, answer.body
    return orjson.loads(answer.body)


def error(answer: RawResponse) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(answer.body)["error"]
    return found


async def test_a_refusal_says_what_how_much_and_when_it_begins_anew(tmp_path: Path) -> None:
    toml = '[[budget]]\nname = "two"\nlimit = "2 calls/hour"\nzone = "Asia/Kolkata"\n'
    async with budgeted(tmp_path, toml) as (daemon, upstream):
        assert [(await ask(daemon)).status for _ in range(3)] == [200, 200, 429]
        refused = await ask(daemon)
        assert len(upstream.requests) == 2
        found = error(refused)
        assert (found["code"], found["type"]) == ("budget_exceeded", "rate_limit_error")
        assert found["message"].startswith("the budget 'two' is used up: 2 calls of 2 calls this hour are spent")
        assert "it begins anew at 2" in found["message"]
        assert "+05:30" in found["message"]
        assert 0 < int(refused.header("Retry-After") or 0) <= 3600
        assert int(refused.header("retry-after-ms") or 0) <= 3_600_000
        assert refused.header("x-should-retry") in ("false", "true")
        record = await daemon.record(refused.header("X-LLMQD-Request-Id") or "")
        assert (record.outcome.status, record.outcome.error) == ("refused", "budget_exceeded")
        metrics = await call(daemon.port, "GET", "/metrics")
        assert b'llmqd_refusals_total{code="budget_exceeded"} 2.0' in metrics.body
        assert b'llmqd_budget_spent{budget="two",by="all",unit="calls",value=""} 2.0' in metrics.body


async def test_the_other_dialects_say_it_in_their_own_words(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        toml = upstream_toml("anthropic", upstream.url) + '[[budget]]\nlimit = "1 calls/day"\n'
        async with running(tmp_path, toml) as daemon:
            body = b'{"model":"claude-haiku-4-5","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'
            headers = JSON | {"anthropic-version": "2023-06-01"}
            answers = [await call(daemon.port, "POST", "/v1/messages", body, headers) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    found = orjson.loads(answers[1].body)
    assert (found["type"], found["error"]["type"], found["error"]["code"]) == (
        "error", "rate_limit_error", "budget_exceeded",
    )  # fmt: skip


async def test_money_is_what_the_call_has_really_cost(tmp_path: Path) -> None:
    async with budgeted(tmp_path, '[[budget]]\nlimit = "1/month"\n') as (daemon, _):
        await ask(daemon)
        await ask(daemon)
        page = await budgets(daemon)
    [one] = page["budgets"]
    assert (one["name"], one["by"], one["value"]) == ("all 1 USD/month", "all", None)
    assert (one["unit"], one["state"]) == ("usd", "ok")
    assert Decimal(str(one["spent"])) == 2 * COST
    assert one["reserved"] == 0
    assert Decimal(str(one["remaining"])) == 1 - 2 * COST
    assert page["complete"] is True


@pytest.mark.parametrize(("by", "header"), [("user", "User"), ("agent", "Agent"), ("session", "Session")])
async def test_each_user_agent_and_session_has_its_own(tmp_path: Path, by: str, header: str) -> None:
    toml = f'[[budget]]\nby = "{by}"\nnames = ["team-*"]\nlimit = "1 calls/day"\n'
    async with budgeted(tmp_path, toml) as (daemon, _):
        answers = [(await ask(daemon, **{header: name})).status for name in ("team-a", "team-a", "team-b", "x", "x")]
        assert answers == [200, 429, 200, 200, 200]
        page = await budgets(daemon, f"?by={by}&state=exceeded&limit=1")
        assert (page["total"], len(page["budgets"])) == (2, 1)
        assert (await budgets(daemon, "?value=team-b"))["total"] == 1


async def test_from_four_fifths_on_there_is_an_alert_and_calls_have_a_lower_priority(tmp_path: Path) -> None:
    toml = '[[budget]]\nlimit = "5 calls/life"\ndemote_to = "batch"\n'
    async with budgeted(tmp_path, toml) as (daemon, _):
        heard = daemon.events.subscribe(lambda: None, Wanted(types=frozenset({"alert"})))
        ids = [(await ask(daemon, Priority="high")).header("X-LLMQD-Request-Id") or "" for _ in range(5)]
        refused = await ask(daemon)
        await ask(daemon)
        assert error(refused)["message"].endswith("it never begins anew; it can be raised")
        assert (refused.header("Retry-After"), refused.header("x-should-retry")) == (None, "false")
        priorities = [(await daemon.record(one)).call.priority for one in ids]
        assert priorities == [1, 1, 1, 1, 9]
        alerts = [each.event for each in heard.take() if not isinstance(each, Gap)]
        told = [one for one in alerts if isinstance(one, Alert) and one.name.startswith("budget")]
        assert [one.name for one in told] == ["budget_low", "budget_exceeded"]
        assert told[0].message == (
            "80 % of the budget 'all 5 calls/life': 4 calls of 5 calls in all are spent;"
            " it never begins anew; it can be raised"
        )


async def test_a_price_that_nobody_knows_is_refused_or_allowed(tmp_path: Path) -> None:
    body = BODY.replace(b"gpt-4o-mini", b"my-own-model")
    for unpriced, status in (("refuse", 429), ("allow", 200)):
        toml = f'[[budget]]\nlimit = "1/day"\nunpriced = "{unpriced}"\n'
        async with budgeted(tmp_path, toml) as (daemon, upstream):
            upstream.play(openai.chat("my-own-model"))
            answer = await call(daemon.port, "POST", CHAT, body, JSON)
            assert answer.status == status
            if status == 429:
                assert "set a [[price]]" in error(answer)["message"]
                assert answer.header("x-should-retry") == "false"
                upstream.script = None


@pytest.mark.parametrize("path", ["/v1/batches", "/anthropic/v1/messages/batches", "/v1/realtime?model=gpt-realtime"])
async def test_what_no_answer_tells_the_cost_of_is_refused(tmp_path: Path, path: str) -> None:
    method, headers = ("GET", UPGRADE) if "realtime" in path else ("POST", JSON)
    for toml, status in (
        ('limit = "1/day"', 429),
        ('limit = "1/day"\nunpriced = "allow"', 0),
        ('limit = "9 calls/day"', 0),
    ):
        async with FakeUpstream(tolerant=True) as upstream:
            config = upstream_toml("openai", upstream.url) + upstream_toml("anthropic", upstream.url)
            async with running(tmp_path, config + f"[[budget]]\n{toml}\n") as daemon:
                async with RawClient.to(daemon.port) as client:
                    await client.send(method, path, b"" if method == "GET" else b"{}", headers)
                    answer = await client.head()
                assert (answer.status == 429) == (status == 429)
                assert bool(upstream.requests) == (status == 0)


async def test_lists_of_models_are_free(tmp_path: Path) -> None:
    async with budgeted(tmp_path, '[[budget]]\nlimit = "1 calls/day"\n') as (daemon, _):
        assert [(await call(daemon.port, "GET", "/v1/models")).status for _ in range(3)] == [200] * 3
        assert (await ask(daemon)).status == 200


async def test_the_budget_of_a_key_is_its_own_and_it_sees_no_other(tmp_path: Path) -> None:
    token = create(tmp_path, "app", budgets=(KeyBudget(limit="1 calls/day"), KeyBudget(limit="5/day")))
    other = create(tmp_path, "other")
    async with budgeted(tmp_path, KEYS + '[[budget]]\nlimit = "100/day"\n') as (daemon, _):
        answers = [await call(daemon.port, "POST", CHAT, BODY, bearer(each)) for each in (token, token, other)]
        assert [answer.status for answer in answers] == [200, 429, 200]
        assert {(one["by"], one["value"]) for one in (await budgets(daemon, "", bearer(ADMIN)))["budgets"]} == {
            ("all", None), ("key", "app"),
        }  # fmt: skip
        mine = (await budgets(daemon, "", bearer(token)))["budgets"]
        assert (mine[0]["name"], mine[0]["spent"]) == ("1 calls/day", 1)
        assert len(mine) == 2
        assert (await budgets(daemon, "", bearer(other)))["budgets"] == []


async def test_a_key_whose_budget_is_raised_goes_on_at_once_with_what_it_has_spent(tmp_path: Path) -> None:
    token = create(tmp_path, "app", budgets=(KeyBudget(limit="1 calls/day"),))
    async with budgeted(tmp_path, KEYS) as (daemon, _):

        async def status() -> int:
            return (await call(daemon.port, "POST", CHAT, BODY, JSON | bearer(token))).status

        assert [await status(), await status()] == [200, 429]
        with KeyFile(tmp_path / "state").changing() as keys:
            keys["app"] = replace(keys["app"], budgets=(KeyBudget(limit="2 calls/day"),))
        assert [await status(), await status()] == [200, 429]


async def test_calls_at_once_wait_for_each_other_rather_than_overspend(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with FakeUpstream(lambda _: openai.chat("gpt-4o-mini").but(before=[go])) as upstream:
        toml = upstream_toml("openai", upstream.url) + '[[budget]]\nlimit = "150 tokens/day"\n'
        async with running(tmp_path, toml) as daemon:
            asking = [asyncio.create_task(ask(daemon)) for _ in range(6)]
            await daemon.until(lambda: daemon.budgets.waiting + len(upstream.requests) == 6)
            assert daemon.budgets.waiting
            assert len(upstream.requests) < 5
            impatient = await ask(daemon, No_Queue="1")
            assert (impatient.status, error(impatient)["code"]) == (429, "queue_full")
            late = await ask(daemon, Deadline="0.01")
            assert (late.status, error(late)["code"]) == (429, "deadline_exceeded")
            go.set()
            statuses = [(await one).status for one in asking]
            [meter] = daemon.budgets.present()
    # 30 tokens each, so that six would be too many.
    assert {*statuses} == {200, 429}
    assert meter.spent == 30 * statuses.count(200) <= 150
    assert (meter.likely, meter.most) == (0, 0)


async def test_whoever_leaves_while_it_waits_gives_up_its_place(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with FakeUpstream(lambda _: openai.chat("gpt-4o-mini").but(before=[go])) as upstream:
        toml = upstream_toml("openai", upstream.url) + '[[budget]]\nlimit = "1 calls/day"\n'
        async with running(tmp_path, toml) as daemon:
            first = asyncio.create_task(ask(daemon))
            await daemon.until(lambda: len(upstream.requests) == 1)
            async with RawClient.to(daemon.port) as client:
                await client.send("POST", CHAT, BODY, JSON)
                await daemon.until(lambda: daemon.budgets.waiting == 1)
            await daemon.until(lambda: daemon.budgets.waiting == 0)
            go.set()
            assert (await first).status == 200
            assert [meter.likely for meter in daemon.budgets.present()] == [0]


async def test_a_call_that_never_reached_its_upstream_costs_nothing(tmp_path: Path) -> None:
    toml = upstream_toml("openai", "http://127.0.0.1:9", "retries = 0") + '[[budget]]\nlimit = "1 calls/day"\n'
    async with running(tmp_path, toml) as daemon:
        assert [(await ask(daemon)).status for _ in range(2)] == [502, 502]


async def test_a_restart_remembers_what_was_spent(tmp_path: Path) -> None:
    toml = '[[budget]]\nlimit = "3 calls/month"\n[[budget]]\nby = "user"\nlimit = "2 calls/life"\n'
    async with budgeted(tmp_path, toml, store="sqlite") as (daemon, _):
        assert [(await ask(daemon, User="ann")).status for _ in range(2)] == [200, 200]
    async with budgeted(tmp_path, toml, store="sqlite") as (daemon, _):
        assert (await ask(daemon, User="ann")).status == 429
        assert [(await ask(daemon, User="bob")).status for _ in range(2)] == [200, 429]
    async with budgeted(tmp_path, toml, store="sqlite") as (daemon, _):
        found = {(one["by"], one["value"]): one["spent"] for one in (await budgets(daemon))["budgets"]}
    assert found == {("all", None): 3, ("user", "ann"): 2, ("user", "bob"): 1}


async def test_a_budget_that_is_new_counts_what_was_spent_before_it(tmp_path: Path) -> None:
    async with budgeted(tmp_path, "", store="sqlite") as (daemon, _):
        assert [(await ask(daemon)).status for _ in range(2)] == [200, 200]
        config = daemon.in_force.config
        daemon.reload(lambda: replace(config, budgets=(Budget(limit=parse_allowance("3 calls/day")),)))
        assert [(await ask(daemon)).status for _ in range(2)] == [200, 429]


async def test_a_ledger_that_is_away_at_the_start_is_believed_later_and_nothing_counts_twice(tmp_path: Path) -> None:
    toml = '[[budget]]\nlimit = "9 calls/day"\n'
    async with budgeted(tmp_path, toml, store="sqlite") as (daemon, _):
        assert [(await ask(daemon)).status for _ in range(3)] == [200] * 3
    with closing(sqlite3.connect(tmp_path / "state" / "llmqd.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        async with budgeted(tmp_path, toml, store="sqlite") as (daemon, _):
            assert [(await ask(daemon)).status for _ in range(2)] == [200] * 2
            assert (await budgets(daemon))["complete"] is False
            health = orjson.loads((await call(daemon.port, "GET", "/health")).body)
            assert any("budgets" in fault for fault in health["faults"])
            other.execute("ROLLBACK")
            await daemon.until(lambda: not daemon.budgets.book.unknown, within=20)
            assert [meter.spent for meter in daemon.budgets.present()] == [5]
            assert (await ask(daemon)).status == 200
            assert [meter.spent for meter in daemon.budgets.present()] == [6]


async def test_merged_sessions_share_a_budget(tmp_path: Path) -> None:
    toml = '[[budget]]\nby = "session"\nlimit = "3 calls/day"\n'
    async with budgeted(tmp_path, toml, store="sqlite") as (daemon, _):
        for session in ("one", "one", "two"):
            assert (await ask(daemon, Session=session)).status == 200
        body = orjson.dumps({"sessions": ["two"]})
        merged = await call(daemon.port, "POST", "/api/v1/sessions/one/merge", body, JSON)
        assert merged.status == 200, merged.body
        await daemon.until(lambda: not daemon.budgets.book.unknown)
        assert (await ask(daemon, Session="one")).status == 429
