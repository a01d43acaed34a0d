"""The machine that the package is installed in, once for all of these tests."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmqd import __version__
from tests.system.deb.machine import Machine

ROOT = Path(__file__).parents[3]
GIVEN = os.environ.get("LLMQD_DEB", "")
"""The package under test; where none is named, it is built."""
SUITE = os.environ.get("SUITE", "bookworm")
TOOLS = ("debootstrap", "systemd-nspawn", "nsenter")
IN_THE_MACHINE = ("systemd", "systemd-sysv", "dbus", "python3", "ca-certificates", "curl", "libstdc++6", "libgcc-s1")
"""What a Debian server has anyway, and what the package depends on: it is installed without network."""
BUILT = ROOT / "build" / SUITE / f"llmqd_{__version__}_amd64.deb"
FIRST = ROOT / "build" / "first.sha256"
"""Of the package as it was built first; it is built twice, and the second one is under test."""
PATIENCE = 30 * 60
"""Seconds that the making of the package and of its machine may take, beside all other tests."""

NO_ROOT = 75
"""What debian-root exits with where debootstrap cannot do its work, for example without a mirror."""

_BUILD = pytest.StashKey[subprocess.Popen[bytes]]()
_OBSTACLE = pytest.StashKey[str]()


def obstacle() -> str | None:
    """Why the tests cannot run here; None where they can."""
    if os.geteuid() != 0:
        return "booting a Debian needs root"
    if platform.machine() != "x86_64":
        return f"the package is for amd64, this machine is {platform.machine()}"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def pytest_configure(config: pytest.Config) -> None:
    """Tests of the package have a mark of their own."""
    config.addinivalue_line("markers", "deb: installs the package into a booted Debian (root)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts them behind all others, as their package is being made meanwhile; skips what cannot run, with the reason."""
    reason = obstacle()
    for item in items:
        if item.get_closest_marker("deb"):
            item.add_marker(pytest.mark.skip(reason=reason) if reason else pytest.mark.timeout(PATIENCE + 300))
    items.sort(key=lambda item: item.get_closest_marker("deb") is not None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begins to make the package and the roots, beside the other tests."""
    wanted = any(item.get_closest_marker("deb") for item in session.items)
    if not wanted or obstacle() or session.config.option.collectonly:
        return
    build = (
        f"packaging/build-deb {SUITE} && sha256sum {BUILT} >{FIRST} && packaging/build-deb {SUITE} &&"
        if not GIVEN
        else ""
    )
    roots = f"packaging/debian-root {SUITE} machine {' '.join(IN_THE_MACHINE)}"  # the last line that is said
    session.config.stash[_BUILD] = subprocess.Popen(
        ["nice", "-n", "10", "sh", "-c", f"{build} {roots}"],
        cwd=ROOT,
        env=os.environ | {"PIP_PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing of it outlives the tests."""
    build = config.stash.get(_BUILD, None)
    if build is not None and build.poll() is None:
        os.killpg(build.pid, signal.SIGTERM)
        build.communicate()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says at the end, where nobody overlooks it, that the package was not tried."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "system/deb" in report.nodeid]
    reason = terminalreporter.config.stash.get(_OBSTACLE, obstacle())
    if skipped and reason:
        terminalreporter.section("the Debian package was not tried out", yellow=True)
        terminalreporter.line(f"{len(skipped)} tests of it were skipped: {reason}")


@pytest.fixture(scope="session")
def built(pytestconfig: pytest.Config) -> str:
    """Waits until package and roots are made; where the machine's root is."""
    build = pytestconfig.stash[_BUILD]
    said, _ = build.communicate(timeout=PATIENCE)
    output = said.decode()
    if build.returncode == NO_ROOT:
        pytestconfig.stash[_OBSTACLE] = output.strip().rpartition("\n")[2]
        pytest.skip(pytestconfig.stash[_OBSTACLE])
    assert build.returncode == 0, output
    return output.splitlines()[-1]


@pytest.fixture(scope="session")
def package(built: str) -> Path:
    """The package under test."""
    path = Path(GIVEN) if GIVEN else BUILT
    assert path.is_file(), f"there is no {path}"
    return path.resolve()


@pytest.fixture(scope="session")
def machine(built: str) -> Iterator[Machine]:
    """A booted Debian without the package."""
    directory = Path(tempfile.mkdtemp(prefix="llmqd-machine-"))
    try:
        with Machine(Path(built), directory) as booted:
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
    state = machine.run("dpkg-query -W -f '${Status} ${Version}' llmqd 2>/dev/null", check=False)
    if state != f"install ok installed {__version__}":
        shutil.copy(package, machine.root / "root" / "llmqd.deb")
        machine.run(f"{INSTALL} --allow-downgrades -o Dpkg::Options::=--force-confnew /root/llmqd.deb")
    return machine


@pytest.fixture
def fresh(installed: Machine) -> Iterator[Machine]:
    """The machine with the package just installed: nothing configured, nothing started, no data."""
    original = (installed.root / "etc/llmqd/llmqd.toml").read_text()
    installed.run("systemctl reset-failed llmqd 2>/dev/null", check=False)
    yield installed
    installed.run("systemctl disable --now llmqd.socket 2>/dev/null", check=False)
    installed.run("systemctl stop llmqd 'llmqd@*'; systemctl reset-failed llmqd 2>/dev/null", check=False)
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
