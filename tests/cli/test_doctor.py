"""llmqd doctor, asked about real daemons."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from llmqd.cli import main
from llmqd.cli.codes import DONE, FAILED, USED_WRONGLY
from tests.fake_upstream import FakeUpstream
from tests.under_test import DaemonUnderTest, call, running, upstream_toml

Capture = pytest.CaptureFixture[str]


async def doctor(tmp_path: Path, daemon: DaemonUnderTest, *words: str) -> int:
    where = ["--config", str(tmp_path / "llmqd.toml"), "--url", daemon.url]
    return await asyncio.to_thread(main, ["doctor", *where, *words])


async def test_a_sound_installation(tmp_path: Path, capsys: Capture) -> None:
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, upstream_toml("openai", upstream.url), store="sqlite") as daemon,
    ):
        (tmp_path / "llmqd.toml").chmod(0o600)
        await call(daemon.port, "POST", "/v1/chat/completions", b'{"model":"gpt-4o","messages":[]}')
        assert await daemon.ledger.settled(5)
        code = await doctor(tmp_path, daemon)
        out = capsys.readouterr().out
        assert code == DONE, out
    for about in ("configuration", "permissions", "disk", "database", "journal", "keys", "daemon", "upstream openai"):
        assert f"ok      {about}: " in out
    assert "FAULT" not in out
    assert "sk-upstream" not in out


async def test_what_is_wrong_is_said_with_what_to_do(tmp_path: Path, capsys: Capture) -> None:
    toml = upstream_toml("openai", "http://no-such-host.invalid")
    async with running(tmp_path, toml, store="sqlite") as daemon:
        (tmp_path / "llmqd.toml").chmod(0o644)
        (tmp_path / "state" / "llmqd.db").chmod(0o644)
        assert await doctor(tmp_path, daemon, "--json") == FAILED
        answer = orjson.loads(capsys.readouterr().out)
    faults = {each["about"]: each["advice"] for each in answer["findings"] if each["level"] == "fault"}
    assert answer["faults"] == len(faults) == 3
    assert "chmod o-r" in faults["configuration"]
    assert faults["permissions"] == f"chmod o-rwx {tmp_path}/state/llmqd.db"
    assert "DNS" in faults["upstream openai"]


async def test_upstreams_are_not_asked_unless_wanted(tmp_path: Path, capsys: Capture) -> None:
    async with running(tmp_path, upstream_toml("openai", "http://no-such-host.invalid")) as daemon:
        (tmp_path / "llmqd.toml").chmod(0o600)
        code = await doctor(tmp_path, daemon, "--no-upstreams")
        out = capsys.readouterr().out
        assert code == DONE, out
    assert "upstream openai" not in out


def test_a_configuration_that_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "llmqd.toml").write_text("[server]\nlissen = 1\n")
    assert main(["doctor", "--config", str(tmp_path / "llmqd.toml")]) == FAILED
    out = capsys.readouterr().out
    assert "lissen" in out
    assert "2 faults" in out


def test_no_daemon_runs(tmp_path: Path, capsys: Capture) -> None:
    words = ["doctor", "--defaults", "--state-directory", str(tmp_path), "--url", "http://127.0.0.1:1"]
    assert main(words) == FAILED
    assert "FAULT   daemon: no llmqd daemon answers at http://127.0.0.1:1" in capsys.readouterr().out


def test_wrong_words_are_told_apart() -> None:
    assert main(["doctor", "--patience"]) == USED_WRONGLY
