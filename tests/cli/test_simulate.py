from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmqd.call import Record
from llmqd.cli import main
from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from llmqd.store.entries import decode, encode_closed
from llmqd.store.position import Position
from llmqd.store.sqlite import SQLite
from tests.store.records import answer, make_record


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.endswith(("_API_KEY", "_TOKEN", "_BASE_URL")) or name in {"PORT", "STATE_DIRECTORY", "DATABASE_URL"}:
            monkeypatch.delenv(name)


@pytest.fixture
async def ledger(tmp_path: Path) -> Path:
    """Sixty calls of two agents in one second, and a list of models, which waits for nothing."""
    backend = SQLite(tmp_path / "llmqd.db")
    await backend.open("journal")
    records: list[Record] = []
    for number in range(60):
        agent = "crawler" if number % 2 else "chat"
        call = make_record(id=f"{number:026}", received_at=1000.0 + number / 60, agent=agent)
        records.append(answer(call, queued_ms=100.0, total_ms=1100.0))
    records.append(answer(make_record(id="z" * 26, received_at=1002.0)))
    await backend.apply([decode(encode_closed(record)) for record in records], Position(1, 10), durable=False)
    await backend.close()
    return tmp_path / "llmqd.db"


def simulated(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["simulate", "--defaults", "--json", *argv]) == DONE
    upstreams: dict[str, Any] = orjson.loads(capsys.readouterr().out)["upstreams"]
    return upstreams


def test_a_ledger_is_replayed_under_other_limits(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = simulated(capsys, "--db", str(ledger))["openai"]
    assert slow["calls"] == slow["granted"] == 60
    assert slow["limits"] == [{"requests_per_minute": 60.0}]
    assert slow["wait_seconds"]["5"]["longest"] == pytest.approx(58.2, rel=0.02)
    quick = simulated(capsys, "--db", str(ledger), "--set", "openai.requests_per_minute=600")["openai"]
    assert quick["wait_seconds"]["5"]["longest"] == pytest.approx(4.95, rel=0.03)
    several = simulated(capsys, "--db", str(ledger), "--set", "open*.requests_per_minute=600", "--set", "openai.keys=2")
    assert several["openai"]["keys"] == 2
    assert several["openai"]["wait_seconds"]["5"]["longest"] == pytest.approx(2, rel=0.1)


def test_a_ledger_is_replayed_with_other_priorities(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waits = simulated(capsys, "--db", str(ledger), "--priority", "agent:craw*=batch")["openai"]["wait_seconds"]
    assert waits["5"]["count"] == waits["9"]["count"] == 30
    assert waits["5"]["longest"] < 31 < waits["9"]["longest"]


def test_the_queues_own_bounds_can_be_changed(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bounded = simulated(capsys, "--db", str(ledger), "--set", "queue.max_wait=10s")["openai"]
    assert bounded["refused"] == {"deadline_exceeded": 60 - bounded["granted"]}
    assert bounded["wait_seconds"]["5"]["longest"] <= 10
    full = simulated(capsys, "--db", str(ledger), "--set", "queue.max_waiting=5")["openai"]
    assert full["refused"]["queue_full"] > 50


def test_the_configured_ledger_and_limits_are_the_default(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ledger.parent / "llmqd.toml"
    config.write_text(
        f'[server]\nstate_directory = "{ledger.parent}"\n'
        '[[upstream]]\nname = "openai"\napi_key = "k"\nmax_concurrent = 3\nrequests_per_minute = 0\n'
    )
    assert main(["simulate", "--config", str(config), "--json"]) == DONE
    openai = orjson.loads(capsys.readouterr().out)["upstreams"]["openai"]
    assert openai["limits"] == [{"max_concurrent": 3.0}]
    assert openai["utilisation"]["max_concurrent"] == pytest.approx(1, abs=0.06)


def test_twice_the_load_fills_twice_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--synthetic", "rate=300,for=20m", "--set", "*.requests_per_minute=600")
    [plain], [dense] = (simulated(capsys, *options, "--load", load).values() for load in ("1", "2"))
    assert plain["calls"] == dense["calls"]
    assert plain["utilisation"]["requests_per_minute"] == pytest.approx(0.5, abs=0.03)
    assert dense["utilisation"]["requests_per_minute"] == pytest.approx(1, abs=0.06)


def test_patterns_are_laid_over_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    pattern = "rate=60,for=10m,upstream=a"
    both = simulated(capsys, "--synthetic", pattern, "--synthetic", pattern + ",priority=batch")["a"]["wait_seconds"]
    assert both["5"]["count"] == pytest.approx(600, rel=0.15)
    assert both["9"]["count"] == pytest.approx(600, rel=0.15)


def test_people_get_a_table(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--defaults", "--db", str(ledger), "--set", "queue.max_wait=10s"]) == DONE
    out = capsys.readouterr().out
    for pattern in (
        r"^60 calls played in [\d.]+ s$",
        r"^openai: 1 key, requests_per_minute 60$",
        r"^  calls 60 in 11 s; granted 1\d; refused \d\d deadline_exceeded$",
        r"^  most waiting at once \d+; used requests_per_minute [\d.]+%$",
        r"^  5 normal +1\d +[\d.]+ s",
    ):
        assert re.search(pattern, out, re.MULTILINE), (pattern, out)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--set", "openai.requests_per_minute"], "must be UPSTREAM.SETTING=VALUE"),
        (["--set", "requests_per_minute=5"], "must be UPSTREAM.SETTING=VALUE"),
        (["--set", "openai.request_per_minute=5"], "did you mean requests_per_minute?"),
        (["--set", "openai.requests_per_minute=many"], "must be a number"),
        (["--set", "openai.keys=0"], "keys must be a whole number from 1"),
        (["--set", "openai.keys=2.5"], "keys must be a whole number from 1"),
        (["--set", "queue.requests_per_minute=5"], "cannot be changed here"),
        (["--set", "queue.max_wait=soon"], "duration"),
        (["--priority", "crawler=batch"], "must be WHO:NAME=PRIORITY"),
        (["--priority", "tag:x=batch"], "WHO one of agent, user, model"),
        (["--priority", "agent:x=urgent"], "'urgent' is not a priority"),
        (["--synthetic", "tokens=5"], "rate is missing"),
        (["--load", "0"], "--load 0: must be above 0"),
        (["--since", "yesterday"], "must be a duration"),
        (["--db", "x", "--synthetic", "rate=1"], "not allowed with argument"),
    ],
)
def test_wrong_use_is_said_with_exit_code_2(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--defaults", *argv]) == USED_WRONGLY
    assert said in capsys.readouterr().err


def test_a_ledger_that_is_not_there_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--defaults", "--db", str(tmp_path / "none.db")]) == FAILED
    assert "there is no ledger at" in capsys.readouterr().err


def test_a_change_that_meets_no_call_is_warned_of(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ledger.parent / "llmqd.toml"
    config.write_text('[[upstream]]\nname = "azure"\nbase_url = "http://127.0.0.1:9"\napi_key = "k"\n')
    assert main(["simulate", "--config", str(config), "--db", str(ledger), "--set", "azure.keys=2"]) == DONE
    assert "--set azure.keys=2 changes nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("calls", "where", "hint"),
    [
        ("ledger", "opneai", "did you mean openai?"),
        ("ledger", "nobody*", "there are "),
        ("rate=60,upstream=mine", "openai", "there are mine"),
    ],
)
def test_a_change_of_an_upstream_that_is_not_there_is_an_error(
    ledger: Path, calls: str, where: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ledger.parent / "llmqd.toml"
    config.write_text("")
    source = ["--db", str(ledger)] if calls == "ledger" else ["--synthetic", calls]
    argv = ["simulate", "--config", str(config), *source, "--set", f"{where}.keys=2"]
    assert main(argv) == USED_WRONGLY
    said = capsys.readouterr().err
    assert f"--set {where}.keys=2: there is no upstream {where}" in said
    assert hint in said


def test_old_calls_can_be_left_out(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulated(capsys, "--db", str(ledger), "--since", "7d") == {}


def test_the_help_shows_how_a_pattern_looks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--help"]) == DONE
    assert "rate=600,tokens=1000" in "".join(capsys.readouterr().out.split())
