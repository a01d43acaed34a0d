"""The life of an installation: databases of other versions, the way back, several instances, what remains at last."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from pathlib import Path

import aiosqlite
import pytest

from llmqd import __version__
from llmqd.store.migrating import migrate
from llmqd.store.schema import MIGRATIONS
from tests.system.deb.conftest import INSTALL, UPSTREAM
from tests.system.deb.machine import Machine
from tests.system.deb.packages import newer
from tests.system.deb.service import URL, call, health, ledger, messages, prop

pytestmark = pytest.mark.deb

DATABASE = "var/lib/llmqd/llmqd.db"
OF_DPKG = ("/var/lib/dpkg/", "/var/lib/apt/", "/var/cache/", "/var/log/", "/root/", "/var/tmp/", "/var/lib/systemd/")
"""Where the tools themselves write."""
OF_USERS = ("/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-")
"""Copies that are made when a user is added; the user stays after a purge."""


def database_of(file: Path, schema: int) -> None:
    """A database as a version with this schema has left it, with one call in it."""

    async def make() -> None:
        async with aiosqlite.connect(file) as connection:
            await migrate(connection, file, MIGRATIONS[:schema])

    asyncio.run(make())
    with sqlite3.connect(file) as database:
        columns = database.execute("SELECT name, type FROM pragma_table_info('calls') WHERE \"notnull\"").fetchall()
        known = {"id": "01OLD", "received_at": time.time(), "status": "done", "http_status": 200}
        values = {name: "" if kind == "TEXT" else 0 for name, kind in columns} | known
        marks = ", ".join("?" * len(values))
        database.execute(f"INSERT INTO calls ({', '.join(values)}) VALUES ({marks})", [*values.values()])
    database.close()


def newer_database(file: Path) -> None:
    """A database as a version of the far future has left it."""
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA user_version = 99")
        database.execute("CREATE TABLE calls (id)")
    database.close()


@pytest.mark.parametrize("schema", [1, len(MIGRATIONS) - 1])
def test_an_upgrade_takes_the_database_of_an_older_version_along(fresh: Machine, tmp_path: Path, schema: int) -> None:
    database_of(tmp_path / "llmqd.db", schema)
    place = fresh.root / DATABASE
    place.parent.mkdir(exist_ok=True)
    shutil.copy(tmp_path / "llmqd.db", place)
    fresh.run("chown -R llmqd:llmqd /var/lib/llmqd; systemctl start llmqd")
    fresh.until(lambda: ledger(fresh, "PRAGMA user_version") == [[len(MIGRATIONS)]])
    assert ledger(fresh, "SELECT id, status FROM calls") == [["01OLD", "done"]]


def test_the_way_back_from_a_newer_schema_is_refused_and_the_newer_one_goes_on(
    running: Machine, package: Path, tmp_path: Path
) -> None:
    shutil.copy(newer(package, tmp_path), running.root / "root" / "newer.deb")
    running.run(f"{INSTALL} -o Dpkg::Options::=--force-confold /root/newer.deb")
    place = running.root / "var/lib/llmqd/instances/team"
    place.mkdir(parents=True)
    newer_database(place / "llmqd.db")
    said = running.fails(f"{INSTALL} --allow-downgrades -o Dpkg::Options::=--force-confold /root/llmqd.deb")
    assert "/var/lib/llmqd/instances/team/llmqd.db has schema 99, and it knows schemas up to" in said
    assert "Keep the newer llmqd" in said
    assert running.run("dpkg-query -W -f '${Version} ${Status}' llmqd") == f"{__version__}+next install ok installed"
    assert prop(running, "ActiveState") == "active"
    assert health(running)["status"] == "ok"
    shutil.rmtree(place)
    running.run(f"{INSTALL} --allow-downgrades -o Dpkg::Options::=--force-confold /root/llmqd.deb")
    assert health(running)["status"] == "ok"


def test_a_daemon_refuses_a_newer_database_with_a_clear_word(fresh: Machine) -> None:
    place = fresh.root / DATABASE
    place.parent.mkdir(exist_ok=True)
    newer_database(place)
    fresh.run("chown -R llmqd:llmqd /var/lib/llmqd")
    fresh.fails("systemctl start llmqd")
    said = fresh.run("journalctl --sync; journalctl --quiet --no-pager -u llmqd -o cat -n 20")
    assert "has schema version 99" in said
    assert "install the newer llmqd again" in said
    assert "Traceback" not in said


def test_two_instances_run_beside_each_other_and_are_upgraded_together(
    running: Machine, package: Path, tmp_path: Path
) -> None:
    team = '[server]\nlisten = ["127.0.0.1:8081"]\n' + UPSTREAM
    running.write("/etc/llmqd/team.toml", team)
    running.run("chown root:llmqd /etc/llmqd/team.toml; chmod 640 /etc/llmqd/team.toml; systemctl start llmqd@team")
    assert '"status":"ok"' in running.run("curl -s http://127.0.0.1:8081/health")
    call(running)
    running.until(lambda: ledger(running, "SELECT count(*) FROM calls") == [[1]])
    assert running.run("stat -c '%U %a' /var/lib/llmqd/instances/team/llmqd.db") == "llmqd 600"
    numbers = running.run("systemctl show --value -p MainPID llmqd llmqd@team").split()
    shutil.copy(newer(package, tmp_path), running.root / "root" / "newer.deb")
    running.run(f"{INSTALL} -o Dpkg::Options::=--force-confold /root/newer.deb")
    after = running.run("systemctl show --value -p MainPID llmqd llmqd@team").split()
    assert set(numbers).isdisjoint(after)
    assert "0" not in after
    assert '"status":"ok"' in running.run("curl -s http://127.0.0.1:8081/health")
    running.run(f"{INSTALL} --allow-downgrades -o Dpkg::Options::=--force-confold /root/llmqd.deb")
    running.run("systemctl stop llmqd@team; rm /etc/llmqd/team.toml")


def test_the_first_connection_starts_the_service(fresh: Machine) -> None:
    fresh.run("systemctl start llmqd.socket")
    assert prop(fresh, "ActiveState") == "inactive"
    assert health(fresh)["status"] == "degraded"
    assert prop(fresh, "ActiveState") == "active"
    fresh.run("systemctl stop llmqd")
    assert health(fresh)["status"] == "degraded"
    fresh.run("systemctl stop llmqd.socket llmqd")
    assert health(fresh) == {}


def test_an_enabled_socket_opens_the_port_when_the_service_is_started(fresh: Machine) -> None:
    fresh.run("systemctl enable llmqd.socket; systemctl start llmqd")
    assert fresh.run("systemctl is-active llmqd.socket") == "active"
    assert health(fresh)["status"] == "degraded"


def test_a_stop_closes_the_daemons_own_port(fresh: Machine) -> None:
    fresh.run("systemctl start llmqd; systemctl stop llmqd")
    assert health(fresh) == {}
    fresh.run("systemd-run --quiet --unit=taker python3 -m http.server --bind 127.0.0.1 8080")
    fresh.until(lambda: fresh.run(f"curl -s -o /dev/null -w '%{{http_code}}' {URL}", check=False) == "200")
    fresh.run("systemctl stop taker")


def test_a_session_is_found_in_the_journal(running: Machine) -> None:
    running.run(
        'curl -s --fail -H \'Content-Type: application/json\' -d \'{"model": "m", "messages": []}\' '
        f"{URL}/v1/session/abc/chat/completions"
    )
    running.until(lambda: bool(messages(running, "LLMQD_SESSION=abc")))
    (entry,) = messages(running, "LLMQD_SESSION=abc")
    assert (entry["LLMQD_MODEL"], entry["LLMQD_STATUS"], entry["_SYSTEMD_UNIT"]) == ("m", "done", "llmqd.service")


def files(machine: Machine) -> set[str]:
    """Everything that lies there, but for what the tools themselves keep."""
    found = machine.run("find / -xdev -not -path '/proc/*' -not -path '/run/*' -not -path '/tmp/*'").splitlines()
    return {path for path in found if not path.startswith(OF_DPKG) and path not in OF_USERS}


def test_install_upgrade_remove_and_purge_leave_no_file(machine: Machine, package: Path, tmp_path: Path) -> None:
    machine.run("systemctl stop llmqd.socket llmqd 2>/dev/null; apt-get -q -y purge llmqd", check=False)
    before = files(machine)
    shutil.copy(package, machine.root / "root" / "llmqd.deb")
    shutil.copy(newer(package, tmp_path), machine.root / "root" / "newer.deb")
    machine.run(f"{INSTALL} /root/llmqd.deb; systemctl enable llmqd.socket; systemctl start llmqd")
    assert health(machine)["status"] == "degraded"
    machine.run(f"{INSTALL} /root/newer.deb")
    assert health(machine)["status"] == "degraded"
    machine.run("apt-get -q -y remove llmqd")
    assert health(machine) == {}
    machine.run("test -s /var/lib/llmqd/llmqd.db -a -s /etc/llmqd/llmqd.toml")
    machine.run("apt-get -q -y purge llmqd")
    assert files(machine) - before == set()
    assert before - files(machine) == set()
    assert machine.run("getent passwd llmqd").startswith("llmqd:")
