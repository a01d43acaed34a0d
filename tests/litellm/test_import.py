"""The import against a real PostgreSQL with a table as LiteLLM makes and fills it, and the API's answers afterwards."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from llmqd.config.model import Config
from llmqd.config.store import Store
from llmqd.errors import SourceError
from llmqd.litellm.importing import LATE, Import, Imported
from llmqd.litellm.key import BEGINNING
from llmqd.litellm.spend_logs import SpendLogs
from llmqd.messages.digest import Digests
from llmqd.store.ledger import Ledger
from llmqd.store.names_redaction import NamesRedaction
from llmqd.store.redaction import Redaction
from llmqd.store.transcripts import Transcripts
from tests.litellm.spend_table import LATER, answer, create, insert, row
from tests.postgres import Postgres

NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
CONFIG = Config(store=Store(batch_every=0.01))


@pytest.fixture
async def table(postgres: Postgres) -> AsyncIterator[tuple[asyncpg.Connection, str]]:
    """A new database with the table, and its address."""
    dsn = postgres.database()
    connection = await asyncpg.connect(dsn)
    await create(connection)
    yield connection, dsn
    await connection.close()


@asynccontextmanager
async def importing(directory: Path, config: Config = CONFIG) -> AsyncIterator[tuple[Ledger, Import]]:
    digests = Digests(b"0123456789abcdef", 1000)
    transcripts = Transcripts(config.store, Redaction(), digests)
    names = NamesRedaction(Redaction(), digests)
    async with Ledger(config.store, directory, transcripts=transcripts) as ledger:
        yield ledger, Import(ledger, transcripts, names, digests, config, wall=time.time)


async def imported(dsn: str, ledger: Ledger, one: Import, late: float | None = None) -> Imported:
    async with SpendLogs.connect(dsn) as source:
        after = await (one.place(source) if late is None else one.place(source, late))
        done = await one.run(source, after)
    assert await ledger.settled(30)
    assert ledger.health().set_aside == 0
    return done


def three_calls() -> list[dict[str, Any]]:
    """The fixture of the traceability API's vectors (as LiteLLM really writes it)."""
    at = NOW - timedelta(hours=3)
    return [
        row("r1", at, session_id="s1", end_user="u1", reply="Hi.", messages=[{"role": "user", "content": "Hello"}])
        | {"metadata": {"spend_logs_metadata": {"agent_name": "a"}}},
        row("r2", at + timedelta(minutes=1), session_id="s1", end_user="u1", model="gpt-4o-mini", took=4.0)
        | {"prompt_tokens": 150, "completion_tokens": 50, "total_tokens": 200, "spend": 0.002, "cache_hit": "True"}
        | {"metadata": {"spend_logs_metadata": {"agent_name": "b"}}},
        row("r3", at + timedelta(minutes=2), session_id="s2", status="failure", prompt_tokens=0, completion_tokens=0)
        | {"spend": 0.0, "user": "", "metadata": {"status": "failure", "error_information": {"error_code": "429"}}},
    ]


async def test_what_a_right_product_says_of_the_three_calls(
    table: tuple[asyncpg.Connection, str], tmp_path: Path
) -> None:
    connection, dsn = table
    await insert(connection, three_calls())
    async with importing(tmp_path) as (ledger, one):
        assert str(await imported(dsn, ledger, one)) == "3 calls imported, 0 were there already"
        [s1] = await ledger.session_totals(10, ["s1"])
        assert (s1.request_count, s1.total_tokens, s1.cost_pico) == (2, 300, 3 * 10**9)
        [s2] = await ledger.session_totals(10, ["s2"])
        assert (s2.request_count, s2.error_count) == (0, 1)
        first = await ledger.call(str(await ledger.requests.imported_as("r1")))
        assert first is not None
        assert (first.call.agent, first.call.user, first.call.model) == ("a", "u1", "gpt-4o")
        assert first.outcome.function_calls == 0
        assert first.call.received_at == (NOW - timedelta(hours=3)).replace(tzinfo=UTC).timestamp()
        hit = await ledger.call(str(await ledger.requests.imported_as("r2")))
        assert hit is not None
        assert hit.outcome.usage is not None
        assert hit.outcome.usage.cached == 150
        failed = await ledger.call(str(await ledger.requests.imported_as("r3")))
        assert failed is not None
        assert (failed.outcome.status, failed.outcome.http_status) == ("failed", 429)
        page = await ledger.messages_of_session("s1", 10)
        assert page is not None
        assert [line.message.text for line in page.lines if line.message] == ["Hello", "Hi."]


async def test_a_second_import_adds_only_what_came_since(table: tuple[asyncpg.Connection, str], tmp_path: Path) -> None:
    connection, dsn = table
    await insert(connection, three_calls())
    async with importing(tmp_path) as (ledger, one):
        await imported(dsn, ledger, one)
    late = row("late", NOW - timedelta(hours=4), session_id="s1")
    await insert(connection, [late, row("new", NOW, session_id="s1")])
    async with importing(tmp_path) as (ledger, one):
        again = await imported(dsn, ledger, one)
        assert (again.added, again.known) == (2, 3)
        assert (await ledger.count_by_status()) == {"done": 4, "failed": 1}
        [s1] = await ledger.session_totals(10, ["s1"])
        assert s1.request_count == 4
        assert (await imported(dsn, ledger, one, LATE)).added == 0


async def test_many_rows_of_one_moment_are_paged_through(table: tuple[asyncpg.Connection, str], tmp_path: Path) -> None:
    connection, dsn = table
    await insert(connection, [row(f"r{number:04}", NOW - timedelta(days=2)) for number in range(1203)])
    steps: list[int] = []
    async with importing(tmp_path) as (ledger, one):
        async with SpendLogs.connect(dsn) as source:
            assert await source.count(BEGINNING) == 1203
            done = await one.run(source, BEGINNING, progress=steps.append)
        assert (done.added, done.known, sum(steps)) == (1203, 0, 1203)
        assert await ledger.count_by_status() == {"done": 1203}


async def test_an_import_that_was_stopped_goes_on_where_it_was(
    table: tuple[asyncpg.Connection, str], tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    connection, dsn = table
    at = NOW - timedelta(days=200)
    await insert(connection, [row(f"r{number:04}", at + timedelta(seconds=number)) for number in range(1100)])
    dealt_with = 0

    def stop(count: int) -> None:
        nonlocal dealt_with
        dealt_with += count
        if dealt_with > 700:
            raise Stopped

    async with importing(tmp_path) as (ledger, one), SpendLogs.connect(dsn) as source:
        with pytest.raises(Stopped):
            await one.run(source, BEGINNING, progress=stop)
    async with importing(tmp_path) as (ledger, one), SpendLogs.connect(dsn) as source:
        place = await one.place(source)
        assert "r0700" < place.request_id < "r0760"  # older than what can be late: nothing is gone through again
        await one.run(source, place)
        rows = await ledger._backend.ask("SELECT sum(calls) AS calls FROM usage WHERE by = 'all' AND step = 86400")
        assert rows[0]["calls"] == 1100


async def test_an_old_version_lacks_columns(postgres: Postgres, tmp_path: Path) -> None:
    dsn = postgres.database()
    connection = await asyncpg.connect(dsn)
    await create(connection, without=[*LATER, "proxy_server_request"])
    rows = [row("a", NOW, reply="Two.")]
    lacking = {*LATER, "proxy_server_request"}
    await insert(connection, [{name: value for name, value in one.items() if name not in lacking} for one in rows])
    await connection.close()
    async with importing(tmp_path) as (ledger, one):
        assert (await imported(dsn, ledger, one)).added == 1
        record = await ledger.call(str(await ledger.requests.imported_as("a")))
        assert record is not None
        assert record.call.session.id is None


async def test_calls_whose_session_litellm_made_up_are_put_together_by_what_was_said(
    table: tuple[asyncpg.Connection, str], tmp_path: Path
) -> None:
    connection, dsn = table
    first = [{"role": "user", "content": "How far is the moon?"}]
    second = [*first, {"role": "assistant", "content": "384,400 km."}, {"role": "user", "content": "And the sun?"}]
    at = NOW - timedelta(minutes=5)
    begun = row("a", at, messages=first, reply="384,400 km.")
    other = row("b", at + timedelta(seconds=5), messages=[{"role": "user", "content": "Hi"}], reply="Hello.")
    on = row("c", at + timedelta(seconds=9), messages=second, reply="149,600,000 km.")
    given = row("d", at + timedelta(seconds=20), messages=second, reply="Far.", session_id="client-chose-it")
    await insert(connection, [begun, other, on, given])
    async with importing(tmp_path) as (ledger, one):
        await imported(dsn, ledger, one)
        totals = {session.session_id: session.request_count for session in await ledger.session_totals(10)}
        assert totals == {begun["session_id"]: 2, other["session_id"]: 1, "client-chose-it": 1}
        page = await ledger.messages_of_session(begun["session_id"], 10)
        assert page is not None
        said = [line.message.text for line in page.lines if line.message]
        assert said == ["How far is the moon?", "384,400 km.", "And the sun?", "149,600,000 km."]


async def test_tool_calls_are_counted_from_structure_and_odd_rows_do_no_harm(
    table: tuple[asyncpg.Connection, str], tmp_path: Path
) -> None:
    connection, dsn = table
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    cut = "x" * 700 + "... (litellm_truncated skipped 5000 chars) ..." + "y" * 1300
    with_tool = row("t", NOW, session_id="tools") | {"response": answer("", tool_calls=[call])}
    truncated = row("cut", NOW, session_id="cut", messages=[{"role": "user", "content": cut}], reply="tool_call?")
    strange = row("odd", NOW, session_id="odd") | {
        "metadata": "[]", "request_tags": {"a": 1}, "response": "nothing", "proxy_server_request": [1], "spend": -1.0,
        "messages": [{"role": "user", "content": "spoken"}], "call_type": "_arealtime", "model": "",
        "completion_tokens": 2**31 - 1, "session_id": None, "custom_llm_provider": None,
    }  # fmt: skip
    await insert(connection, [with_tool, truncated, strange])
    async with importing(tmp_path) as (ledger, one):
        done = await imported(dsn, ledger, one)
        assert (done.added, done.unreadable) == (3, 0)
        record = await ledger.call(str(await ledger.requests.imported_as("t")))
        assert record is not None
        assert record.outcome.function_calls == 1
        record = await ledger.call(str(await ledger.requests.imported_as("cut")))
        assert record is not None
        assert record.outcome.function_calls == 0
        page = await ledger.messages_of_session("cut", 10)
        assert page is not None
        assert page.lines[0].message is not None
        assert page.lines[0].message.text == cut


async def test_texts_that_are_too_old_to_be_kept_are_not_taken(
    table: tuple[asyncpg.Connection, str], tmp_path: Path
) -> None:
    connection, dsn = table
    said = [{"role": "user", "content": "Long ago"}]
    old = row("old", NOW - timedelta(days=40), session_id="s", messages=said, reply="Yes.")
    await insert(connection, [old])
    config = Config(store=Store(batch_every=0.01, texts_retention=30 * 86400.0))
    async with importing(tmp_path, config) as (ledger, one):
        await imported(dsn, ledger, one)
        assert await ledger.messages_of_session("s", 10) is None
        assert [one.request_count for one in await ledger.session_totals(5)] == [1]


async def test_what_is_no_database_of_litellm_is_said(postgres: Postgres) -> None:
    for dsn, said in (
        (postgres.database(), 'no table "LiteLLM_SpendLogs"'),
        (postgres.dsn("absent"), "absent"),
        ("mysql://x/y", "postgresql://"),
        ("postgresql://127.0.0.1:1/x", "cannot be reached"),
    ):
        with pytest.raises(SourceError, match=said):
            async with SpendLogs.connect(dsn):
                pass


async def test_an_address_as_prisma_takes_it(table: tuple[asyncpg.Connection, str]) -> None:
    connection, dsn = table
    await insert(connection, [row("r", NOW)])
    async with SpendLogs.connect(f"{dsn}&schema=public&connection_limit=10&pgbouncer=true") as source:
        assert await source.count(BEGINNING) == 1
