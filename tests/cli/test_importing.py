"""`llmqd import litellm` and `llmqd import sqlite`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from llmqd.cli import main
from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from llmqd.config.store import Store
from llmqd.store.ledger import Ledger
from tests.litellm.spend_table import create, insert, row
from tests.postgres import Postgres
from tests.store.records import answer, make_record


@pytest.fixture(autouse=True)
def no_address_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


async def filled(dsn: str, count: int) -> None:
    connection = await asyncpg.connect(dsn)
    await create(connection)
    at = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=3)
    await insert(connection, [row(f"r{number}", at + timedelta(seconds=number)) for number in range(count)])
    await connection.close()


def test_a_table_is_imported_once(
    postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = postgres.database()
    asyncio.run(filled(dsn, 700))
    command = ["import", "litellm", "--defaults", "--state-directory", str(tmp_path)]
    monkeypatch.setenv("LITELLM", dsn)
    assert main([*command, "--dsn", "env:LITELLM"]) == DONE
    assert capsys.readouterr().out.startswith("700 calls imported, 0 were there already, in ")
    monkeypatch.setenv("DATABASE_URL", dsn)
    assert main(command) == DONE
    assert capsys.readouterr().out.startswith("0 calls imported, 0 were there already, in ")


def test_what_is_in_the_way_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", "litellm", "--defaults", "--state-directory", str(tmp_path)]
    assert main(command) == USED_WRONGLY
    assert "--dsn" in capsys.readouterr().err
    assert main([*command, "--dsn", "env:NOT_SET"]) == USED_WRONGLY
    assert "NOT_SET is not set" in capsys.readouterr().err
    assert main([*command, "--dsn", "postgresql://u:secret@127.0.0.1:1/x"]) == FAILED
    said = capsys.readouterr().err
    assert "cannot be reached" in said
    assert "secret" not in said


def test_a_running_daemon_does_it_itself(
    postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn = postgres.database()
    asyncio.run(filled(dsn, 1))

    async def beside() -> int:
        async with Ledger(Store(), tmp_path):
            arguments = ["import", "litellm", "--defaults", "--state-directory", str(tmp_path), "--dsn", dsn]
            return await asyncio.to_thread(main, arguments)

    assert asyncio.run(beside()) == FAILED
    said = capsys.readouterr().err
    assert "in use by another llmqd" in said
    assert "[litellm] dsn" in said


def test_a_ledger_moves_from_sqlite_once(
    postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def filled_ledger() -> None:
        async with Ledger(Store(batch_every=0.01), tmp_path) as ledger:
            for number in range(30):
                ledger.unsent(answer(make_record(f"s{number % 3}")))
            assert await ledger.settled(10)

    asyncio.run(filled_ledger())
    path, file = tmp_path / "llmqd.toml", tmp_path / "llmqd.db"
    path.write_text(f'[store]\nbackend = "postgresql"\ndsn = "{postgres.database()}"\n')
    command = ["import", "sqlite", str(file), "--config", str(path), "--state-directory", str(tmp_path)]
    assert main(command) == DONE
    assert capsys.readouterr().out.startswith("the ledger was taken over, with 30 calls, in ")
    assert main(command) == DONE
    assert capsys.readouterr().out.startswith("30 calls were looked at, and those were added that were not there, in ")
    assert main(["import", "sqlite", str(tmp_path / "none"), *command[3:]]) == FAILED
    assert "there is no ledger at" in capsys.readouterr().err
    path.write_text("")
    assert main(command) == USED_WRONGLY
    assert 'backend = "postgresql"' in capsys.readouterr().err
