"""README.md and docs/install.md do what they say: their commands are run in the machine in their order."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.system.deb.machine import Machine
from tests.system.deb.service import call, health, prop

pytestmark = pytest.mark.deb

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "install.md"
README = ROOT / "README.md"
AS_ROOT_ALREADY = 'sudo() { "$@"; }\n'


def scripts() -> list[str]:
    """The page's commands that are for the machine; `make` is for the one that builds."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", PAGE.read_text())
    return [block for block in blocks if "make " not in block]


def test_every_command_of_the_page_works(machine: Machine, package: Path) -> None:
    machine.run("apt-get -q -y purge llmqd", check=False)
    shutil.copy(package, machine.root / "root")
    *life, remove, purge = scripts()
    for script in life:
        looks = "llmqd doctor" in script  # it finds that nothing can be reached: the machine has no network
        told = machine.run(f"cd /root\nset -e\n{AS_ROOT_ALREADY}{script}", typed="sk-typed\n", check=not looks)
        assert not looks or {line.split()[0] for line in told.splitlines() if line[:1].isalpha()} >= {"ok", "FAULT"}
    machine.run("systemctl disable --now llmqd@team llmqd.socket; rm /etc/llmqd/team.toml")
    assert prop(machine, "ActiveState") == "active"
    assert health(machine)["status"] == "ok"
    assert health(machine)["lanes"][0]["requests_per_minute"] == 500
    assert machine.run("cat /etc/llmqd/credentials/openai; stat -c %a /etc/llmqd/credentials/openai").split() == [
        "sk-typed",
        "600",
    ]
    machine.run(f"{AS_ROOT_ALREADY}{remove}")
    machine.run("test -s /var/lib/llmqd/llmqd.db -a -s /etc/llmqd/llmqd.toml -a -s /etc/llmqd/credentials/openai")
    machine.run(f"{AS_ROOT_ALREADY}{purge}")
    assert machine.run("ls -d /var/lib/llmqd /etc/llmqd 2>&1", check=False).count("No such file") == 2


def test_the_four_commands_of_the_readme_install_it(machine: Machine, package: Path, provider: str) -> None:
    machine.run("apt-get -q -y purge llmqd", check=False)
    shutil.copy(package, machine.root / "root")
    (block,) = re.findall(r"(?ms)^```sh\n(.*?)^```$", README.read_text())
    install, key, start, look = block.splitlines()
    machine.run(f"cd /root; {AS_ROOT_ALREADY}{install}\n{key}")
    machine.run("echo OPENAI_BASE_URL=http://127.0.0.1:9000/v1 >>/etc/default/llmqd")  # the machine has no network
    machine.run(f"{AS_ROOT_ALREADY}{start}")
    assert '"status":"ok"' in machine.run(look)
    call(machine)
    assert machine.run(f"tail -n 1 {provider}") == "Bearer sk-..."
    machine.run("systemctl stop llmqd; apt-get -q -y purge llmqd")
