"""The life of the package: what it contains, installation, upgrade, removal, purge."""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llmqd import __version__
from tests.system.deb.conftest import FIRST, GIVEN, INSTALL, ROOT, SUITE
from tests.system.deb.machine import Machine
from tests.system.deb.packages import newer
from tests.system.deb.service import health, pid, prop

pytestmark = pytest.mark.deb


@functools.cache
def contents(package: Path) -> dict[str, str]:
    """Mode, owner and group of every file in the package, by path."""
    listed = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in listed.splitlines():
        mode, owner, _, _, _, path = line.split(maxsplit=5)
        found[path.partition(" -> ")[0].lstrip(".")] = f"{mode} {owner}"
    return found


def control(package: Path, field: str) -> str:
    return subprocess.run(["dpkg-deb", "-f", package, field], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/etc/llmqd/llmqd.toml", "-rw-r-----"),
        ("/etc/default/llmqd", "-rw-------"),
        ("/etc/llmqd/credentials/", "drwx------"),
        ("/usr/bin/llmqd", "lrwxrwxrwx"),
        ("SYSTEM/llmqd.service", "-rw-r--r--"),
        ("SYSTEM/llmqd.socket", "-rw-r--r--"),
        ("SYSTEM/llmqd@.service", "-rw-r--r--"),
        ("/usr/lib/sysusers.d/llmqd.conf", "-rw-r--r--"),
        ("/usr/share/bash-completion/completions/llmqd", "-rw-r--r--"),
        ("/usr/share/doc/llmqd/README.md.gz", "-rw-r--r--"),
        ("/usr/share/doc/llmqd/changelog.gz", "-rw-r--r--"),
        ("/usr/share/doc/llmqd/copyright", "-rw-r--r--"),
        ("/usr/share/man/man1/llmqd.1.gz", "-rw-r--r--"),
        ("/usr/share/man/man5/llmqd.toml.5.gz", "-rw-r--r--"),
    ],
)
def test_what_an_installed_machine_has(package: Path, path: str, mode: str) -> None:
    found = contents(package)
    of_systemd = "/usr/lib" if "/usr/lib/systemd/system/llmqd.service" in found else "/lib"  # trixie has no other
    assert found[path.replace("SYSTEM", f"{of_systemd}/systemd/system")] == f"{mode} root/root"


def test_nothing_in_it_can_be_written_by_others_or_runs_with_more_rights(package: Path) -> None:
    loose = [
        path for path, mode in contents(package).items() if mode[0] in "-d" and (mode[8] == "w" or "s" in mode[:10])
    ]
    assert loose == []


def test_the_version_is_the_programs(package: Path) -> None:
    assert control(package, "Version") == __version__
    assert package.name == f"llmqd_{__version__}_amd64.deb"


@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian is not installed")
def test_lintian_has_nothing_to_say(package: Path) -> None:
    said = subprocess.run(["lintian", "--allow-root", package], capture_output=True, text=True, timeout=300)
    assert (said.returncode, said.stdout) == (0, "")


def test_both_configuration_files_are_conffiles(installed: Machine) -> None:
    listed = installed.run("dpkg-query -W -f '${Conffiles}' llmqd").split()
    assert {"/etc/llmqd/llmqd.toml", "/etc/default/llmqd"} <= set(listed)


def test_installation_needs_no_network_and_waits_for_the_administrator(machine: Machine, package: Path) -> None:
    machine.run("apt-get -q -y purge llmqd", check=False)
    shutil.copy(package, machine.root / "root" / "llmqd.deb")
    assert machine.run("ip -brief address 2>/dev/null || ls /sys/class/net") in ("lo", "lo\n")
    machine.run(f"{INSTALL} /root/llmqd.deb")
    assert machine.run("systemctl is-enabled llmqd") == "enabled"
    assert prop(machine, "ActiveState") == "inactive"
    assert machine.run("stat -c '%U:%G %a' /etc/llmqd/llmqd.toml") == "root:llmqd 640"
    assert machine.run("getent passwd llmqd").endswith(":/var/lib/llmqd:/usr/sbin/nologin")


def test_the_command_runs_on_its_own_libraries(installed: Machine) -> None:
    assert installed.run("cd / && llmqd version") == f"llmqd {__version__}"
    assert installed.run("cd / && llmqd check").startswith("OK: /etc/llmqd/llmqd.toml")
    where = installed.run("/usr/lib/llmqd/bin/python -c 'import aiohttp; print(aiohttp.__file__)'")
    assert where.startswith("/usr/lib/llmqd/lib/")


def test_every_library_is_the_one_that_the_lock_names(installed: Machine) -> None:
    lock = (ROOT / "build" / SUITE / "requirements.lock").read_text()
    pinned = {name.replace("_", "-"): version for name, version in re.findall(r"(?m)^([\w-]+)==(\S+)", lock)}
    listing = "from importlib.metadata import distributions as d; print(*(f'{i.name}=={i.version}' for i in d()))"
    present = dict(item.split("==") for item in installed.run(f'/usr/lib/llmqd/bin/python -c "{listing}"').split())
    assert present.pop("llmqd") == __version__
    assert {name.lower().replace("_", "-"): version for name, version in present.items()} == pinned


def test_bash_completes_commands_options_and_files(installed: Machine) -> None:
    installed.write(
        "/root/complete.bash",
        "source /usr/share/bash-completion/completions/llmqd\n"
        'function=$(complete -p llmqd | sed "s/.*-F \\([^ ]*\\).*/\\1/")\n'
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); $function llmqd; printf "%s\\n" "${COMPREPLY[@]}"\n',
    )

    def complete(*words: str) -> list[str]:
        quoted = " ".join(f"'{word}'" for word in words)
        return installed.run(f"bash /root/complete.bash llmqd {quoted}").split()

    assert {"serve", "check", "init", "version"} <= set(complete(""))
    assert complete("ser") == ["serve"]
    assert "--state-directory" in complete("serve", "--st")
    assert complete("check", "--config", "/etc/llmqd/llmqd.t") == ["/etc/llmqd/llmqd.toml"]


def test_upgrade_restarts_what_runs_and_keeps_the_administrators_file(
    running: Machine, package: Path, tmp_path: Path
) -> None:
    before, changed = pid(running), (running.root / "etc/llmqd/llmqd.toml").read_text()
    shutil.copy(newer(package, tmp_path), running.root / "root" / "newer.deb")
    running.run(f"{INSTALL} -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold /root/newer.deb")
    assert running.run("dpkg-query -W -f '${Version}' llmqd") == f"{__version__}+next"
    assert prop(running, "ActiveState") == "active"
    assert pid(running) not in (0, before)
    assert (running.root / "etc/llmqd/llmqd.toml").read_text() == changed
    assert running.run("stat -c '%U:%G %a' /etc/llmqd/llmqd.toml") == "root:llmqd 640"
    assert health(running)["status"] == "ok"
    running.run(f"{INSTALL} --allow-downgrades -o Dpkg::Options::=--force-confold /root/llmqd.deb")


def test_upgrade_leaves_a_stopped_service_stopped(fresh: Machine, package: Path, tmp_path: Path) -> None:
    shutil.copy(newer(package, tmp_path), fresh.root / "root" / "newer.deb")
    fresh.run(f"{INSTALL} -o Dpkg::Options::=--force-confold /root/newer.deb")
    assert prop(fresh, "ActiveState") == "inactive"
    fresh.run(f"{INSTALL} --allow-downgrades -o Dpkg::Options::=--force-confnew /root/llmqd.deb")


def test_removal_stops_it_and_keeps_data_configuration_and_keys(running: Machine) -> None:
    running.run("apt-get -q -y remove llmqd")
    assert pid(running) == 0
    assert running.run("ls /usr/lib/llmqd /usr/bin/llmqd 2>&1", check=False).count("No such file") == 2
    running.run("test -s /var/lib/llmqd/llmqd.db -a -s /etc/llmqd/llmqd.toml -a -s /etc/llmqd/credentials/openai")


def test_purge_removes_everything_but_the_user(running: Machine) -> None:
    running.run("touch /etc/llmqd/llmqd.toml.dpkg-old")
    running.run("apt-get -q -y purge llmqd")
    # The home of root is the tests' own place.
    assert running.run("find / -xdev -name '*llmqd*' ! -path '/root/*'") == ""
    running.run("getent passwd llmqd")


def test_two_builds_make_the_same_bytes(package: Path) -> None:
    """Both were made beside the other tests, as that takes minutes."""
    if GIVEN:
        pytest.skip("the package under test was made elsewhere")
    first, _, _ = FIRST.read_text().partition(" ")
    assert hashlib.sha256(package.read_bytes()).hexdigest() == first
