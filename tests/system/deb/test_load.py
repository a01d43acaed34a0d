"""Under load nobody notices: reload, restart, upgrade, with and without the socket unit."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.system.deb.conftest import INSTALL
from tests.system.deb.machine import Machine
from tests.system.deb.packages import newer
from tests.system.deb.service import health, ledger, pid, prop

pytestmark = pytest.mark.deb

PORT = 9100
FEW_AT_ONCE = f"""
[[upstream]]
name = "openai"
base_url = "http://127.0.0.1:{PORT}"
api_key = "sk-upstream"
requests_per_minute = 6000
burst = 10
max_concurrent = 12
learn = false
"""


class Load:
    """Fifty clients at work. `report` is there once they have stopped."""

    def __init__(self, machine: Machine, progress: Path) -> None:
        self._machine = machine
        self._progress = progress
        self.report: dict[str, Any] = {}

    def go_on(self, calls: int = 40) -> None:
        """Waits until so many more calls have ended, and then until more wait than run."""
        enough = self._ended() + calls
        self._machine.until(lambda: self._ended() >= enough, within=120)
        self._machine.until(self._crowded, within=30)

    def _ended(self) -> int:
        text = self._progress.read_text() if self._progress.exists() else ""
        return int(text or 0)

    def _crowded(self) -> bool:
        lanes = health(self._machine).get("lanes", [])
        return any(lane["waiting"] > lane["running"] > 0 for lane in lanes)


@contextmanager
def fifty_clients(machine: Machine, directory: Path) -> Iterator[Load]:
    load = Load(machine, directory / "progress")
    process = machine.beside(sys.executable, "-m", "tests.system.deb.load", str(PORT), str(directory / "progress"))
    try:
        yield load
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=180)
        assert process.returncode == 0, output
        load.report = orjson.loads(output.splitlines()[-1])
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()


def judge(machine: Machine, report: dict[str, Any]) -> None:
    """Nobody has noticed anything, and everything stands in the ledger."""
    sys.stdout.write(str({name: len(value) if isinstance(value, list) else value for name, value in report.items()}))
    assert report["failed"] == []
    assert (report["cut"], report["refused"], report["sent_again_after_answer"]) == (0, 0, [])
    recorded = {call_id for (call_id,) in ledger(machine, "SELECT id FROM calls WHERE status = 'done'")}
    assert set(report["answered"]) <= recorded
    assert len(set(report["answered"])) == len(report["answered"])


@pytest.mark.parametrize("socket", [False, True], ids=["the daemon's own port", "llmqd.socket"])
def test_restart_and_upgrade_under_load_are_not_noticed(
    fresh: Machine, package: Path, tmp_path: Path, socket: bool
) -> None:
    fresh.write("/etc/llmqd/llmqd.toml", FEW_AT_ONCE)
    fresh.run("systemctl enable --now llmqd.socket" if socket else "true")
    fresh.run("systemctl start llmqd")
    shutil.copy(newer(package, tmp_path), fresh.root / "root" / "newer.deb")
    with fifty_clients(fresh, tmp_path) as load:
        load.go_on()
        before = pid(fresh)
        fresh.run("systemctl restart llmqd")
        assert pid(fresh) not in (0, before)
        load.go_on()
        before = pid(fresh)
        fresh.run(f"{INSTALL} -o Dpkg::Options::=--force-confold /root/newer.deb")
        assert pid(fresh) not in (0, before)
        load.go_on()
    fresh.run("systemctl stop llmqd.socket llmqd" if socket else "systemctl stop llmqd")
    assert load.report["retried"] > 0, "nobody waited while it was restarted"
    judge(fresh, load.report)
    fresh.run(f"{INSTALL} --allow-downgrades -o Dpkg::Options::=--force-confold /root/llmqd.deb")


def test_reload_changes_a_rate_under_load(fresh: Machine, tmp_path: Path) -> None:
    fresh.write("/etc/llmqd/llmqd.toml", FEW_AT_ONCE)
    fresh.run("systemctl start llmqd")
    before = pid(fresh)
    with fifty_clients(fresh, tmp_path) as load:
        load.go_on()
        fresh.write("/etc/llmqd/llmqd.toml", FEW_AT_ONCE.replace("6000", "1200"))
        fresh.run("systemctl reload llmqd")
        fresh.until(lambda: health(fresh)["lanes"][0]["requests_per_minute"] == 1200)
        load.go_on(20)
    assert (pid(fresh), prop(fresh, "NRestarts")) == (before, "0")
    fresh.run("systemctl stop llmqd")
    assert load.report["retried"] == 0
    judge(fresh, load.report)


def test_kill_under_load_loses_no_record_and_refuses_nobody(fresh: Machine, tmp_path: Path) -> None:
    """What was running at that moment has failed for its caller if it was a stream; SDKs repeat the rest."""
    fresh.write("/etc/llmqd/llmqd.toml", FEW_AT_ONCE)
    fresh.run("systemctl start llmqd")
    with fifty_clients(fresh, tmp_path) as load:
        load.go_on()
        before = pid(fresh)
        fresh.run(f"kill -9 {before}")
        fresh.until(lambda: prop(fresh, "ActiveState") == "active" and pid(fresh) not in (0, before))
        load.go_on()
    fresh.run("systemctl stop llmqd")
    assert load.report["refused"] == 0
    recorded = {call_id for (call_id,) in ledger(fresh, "SELECT id FROM calls WHERE status = 'done'")}
    assert set(load.report["answered"]) <= recorded
    assert ledger(fresh, "SELECT count(*) FROM calls WHERE status = 'running'") == [[0]]
