"""Several daemons on one port, as docs/cluster.md says: `llmqd@1` and `llmqd@2` with a Redis, seen from outside."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.deb.machine import Machine
from tests.system.deb.service import URL, ledger, pid
from tests.system.deb.test_install_page import AS_ROOT_ALREADY
from tests.system.deb.test_load import FEW_AT_ONCE, fifty_clients

pytestmark = pytest.mark.deb

PAGE = Path(__file__).parents[3] / "docs" / "cluster.md"
CLUSTER = '[cluster]\nredis = "redis://127.0.0.1:6379/0"\nmembers = 2\n'
DONE = "SELECT id FROM calls WHERE status = 'done'"
UNITS = ("llmqd@1", "llmqd@2")


def recipe() -> tuple[dict[str, str], str]:
    """The files of the page's section, by their paths, and its commands, but for what is about Redis."""
    section = PAGE.read_text().partition("## One machine, many cores\n")[2].partition("\n## ")[0]
    files = dict(re.findall(r"(?ms)^`(/[^`\n]+)`:\n\n```ini\n(.*?)^```$", section))
    (commands,) = re.findall(r"(?ms)^```sh\n(.*?)^```$", section)
    return files, "".join(line for line in commands.splitlines(keepends=True) if "redis" not in line)


@pytest.fixture
def several(fresh: Machine) -> Iterator[Machine]:
    """The machine with two daemons on the one port; Redis is this machine's, in the network of the other one."""
    redis = shutil.which("redis-server")
    if redis is None:
        pytest.skip("there is no Redis here: apt-get install redis-server")
    running = fresh.beside(redis, "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    files, commands = recipe()
    for path, text in files.items():
        fresh.write(path, text)
    fresh.write("/etc/llmqd/llmqd.toml", CLUSTER + FEW_AT_ONCE)
    try:
        fresh.run(f"set -e\n{AS_ROOT_ALREADY}{commands}")
        yield fresh
    finally:
        fresh.run("systemctl disable --now llmqd-cluster.target llmqd@1.socket llmqd@2.socket", check=False)
        fresh.run(f"systemctl stop llmqd@1 llmqd@2; rm -f /etc/llmqd/[12].toml {' '.join(map(repr, files))}")
        running.kill()
        running.communicate()


def queue(machine: Machine) -> dict[str, Any]:
    """What /queue says, whoever answers."""
    answer: dict[str, Any] = json.loads(machine.run(f"curl -s --fail {URL}/queue"))
    return answer


def waiting_by_member(machine: Machine) -> set[str]:
    """The daemons that calls wait in."""
    return {each["member"] for each in queue(machine)["waiting"]}


def test_two_daemons_have_one_port_and_a_stop_of_one_loses_nothing(several: Machine, tmp_path: Path) -> None:
    several.until(lambda: len(queue(several).get("members", [])) == 2)
    with fifty_clients(several, tmp_path) as load:
        load.go_on()
        several.until(lambda: len(waiting_by_member(several)) == 2)
        before = [pid(several, unit) for unit in UNITS]
        assert 0 not in before
        several.run("systemctl stop llmqd@1")
        load.go_on()
        several.run("systemctl restart llmqd@2")
        several.until(lambda: len(queue(several).get("members", [])) == 2)
        load.go_on()
        after = [pid(several, unit) for unit in UNITS]
        assert set(before).isdisjoint({*after, 0})
        several.until(lambda: len(waiting_by_member(several)) == 2)
    several.run("systemctl stop llmqd@1.socket llmqd@2.socket llmqd@1 llmqd@2")
    report = load.report
    assert report["failed"] == []
    assert (report["cut"], report["refused"], report["sent_again_after_answer"]) == (0, 0, [])
    databases = [f"/var/lib/llmqd/instances/{number}/llmqd.db" for number in (1, 2)]
    shares = [{each for (each,) in ledger(several, DONE, database)} for database in databases]
    assert all(shares)
    assert set(report["answered"]) <= shares[0] | shares[1]
    assert len(set(report["answered"])) == len(report["answered"])
