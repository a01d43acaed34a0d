"""The machine that the package is installed in, once for all of these tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.deb.machine import Machine

ROOT = Path(__file__).parents[3]
PACKAGE = os.environ.get("LLMQD_DEB", "")
SUITE = os.environ.get("SUITE", "bookworm")
TOOLS = ("debootstrap", "systemd-nspawn", "nsenter")
IN_THE_MACHINE = ("systemd", "systemd-sysv", "dbus", "python3", "ca-certificates", "curl", "libstdc++6", "libgcc-s1")
"""What a Debian server has anyway, and what the package depends on: it is installed without network."""


def pytest_configure(config: pytest.Config) -> None:
    """Tests of the package have a mark of their own."""
    config.addinivalue_line("markers", "deb: installs the package into a booted Debian; `make test-deb` runs them")


def obstacle() -> str | None:
    """Why the tests cannot run here; None where they can."""
    if not PACKAGE:
        return "no package given: `make test-deb` builds one and runs these (root)"
    if os.geteuid() != 0:
        return "booting a Debian needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what cannot run, with the reason."""
    reason = obstacle()
    for item in items:
        if reason and item.get_closest_marker("deb"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def package() -> Path:
    """The package under test."""
    path = Path(PACKAGE).resolve()
    assert path.is_file(), f"LLMQD_DEB={PACKAGE} is no file"
    return path


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A booted Debian without the package. Its root is made once and kept in build/."""
    tar = ROOT / "build" / SUITE / "machine-root.tar"
    tar.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([ROOT / "packaging" / "debian-root", SUITE, tar, *IN_THE_MACHINE], check=True, timeout=900)
    directory = Path(tempfile.mkdtemp(prefix="llmqd-machine-"))
    try:
        with Machine(tar, directory) as booted:
            yield booted
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)


INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get -q -y install"
UPSTREAM = """
[[upstream]]
name = "openai"
base_url = "http://127.0.0.1:9000"
api_key = "credential:openai"
requests_per_minute = 6000
burst = 10
"""
"""A configuration whose provider is the fake one, with a key handed over by systemd."""


@pytest.fixture
def installed(machine: Machine, package: Path) -> Machine:
    """The machine with the package as it is after installation, whatever the test before did."""
    state = machine.run("dpkg-query -W -f '${Status}' llmqd 2>/dev/null", check=False)
    if state != "install ok installed":
        shutil.copy(package, machine.root / "root" / "llmqd.deb")
        machine.run(f"{INSTALL} --allow-downgrades /root/llmqd.deb")
    return machine


@pytest.fixture
def fresh(installed: Machine) -> Iterator[Machine]:
    """The machine with the package just installed: nothing configured, nothing started, no data."""
    original = (installed.root / "etc/llmqd/llmqd.toml").read_text()
    installed.run("systemctl reset-failed llmqd 2>/dev/null", check=False)
    yield installed
    installed.run("systemctl stop llmqd; systemctl reset-failed llmqd 2>/dev/null", check=False)
    installed.run("rm -rf /var/lib/llmqd /etc/llmqd/credentials/* /etc/systemd/system/llmqd.service.d")
    installed.run("systemctl daemon-reload")
    if (installed.root / "etc/llmqd/llmqd.toml").exists():
        installed.write("/etc/llmqd/llmqd.toml", original)


@pytest.fixture(scope="session")
def provider(machine: Machine) -> str:
    """The fake provider, running; the path of its log of Authorization headers."""
    shutil.copy(Path(__file__).with_name("provider.py"), machine.root / "root" / "provider.py")
    machine.run("systemd-run --quiet --unit=provider python3 /root/provider.py 9000 /root/provider.log")
    machine.run("curl -s --retry 50 --retry-connrefused --retry-delay 0 127.0.0.1:9000", check=False)
    return "/root/provider.log"


@pytest.fixture
def running(fresh: Machine, provider: str) -> Machine:
    """The service, started with a key and the fake provider."""
    fresh.write("/etc/llmqd/credentials/openai", "sk-from-systemd\n", mode=0o600)
    fresh.write("/etc/llmqd/llmqd.toml", UPSTREAM)
    fresh.run("systemctl start llmqd")
    return fresh
