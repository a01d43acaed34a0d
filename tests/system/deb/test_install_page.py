"""docs/install.md does what it says: its commands are run in the machine in their order."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.system.deb.machine import Machine
from tests.system.deb.service import health, prop

pytestmark = pytest.mark.deb

PAGE = Path(__file__).parents[3] / "docs" / "install.md"
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
        machine.run(f"cd /root\nset -e\n{AS_ROOT_ALREADY}{script}", typed="sk-typed\n")
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
