"""The shipped unit: systemd takes it, it is hardened, and the daemon's libraries work under its restrictions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmqd.config.model import Server
from tests import confined

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "systemd" / "llmqd.service"
INSTANCE = ROOT / "systemd" / "llmqd@.service"
SOCKET = ROOT / "systemd" / "llmqd.socket"
EXPOSURE = 1.5

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def directives(unit: Path = UNIT) -> list[tuple[str, str]]:
    """All settings of a unit in their order."""
    lines = unit.read_text().splitlines()
    return [(name, value) for name, eq, value in (line.partition("=") for line in lines) if eq and name[:1].isupper()]


def setting(name: str) -> str:
    """The value of a setting that stands there once."""
    (value,) = [value for key, value in directives() if key == name]
    return value


@pytest.fixture
def startable(tmp_path: Path) -> Path:
    """The unit with a program that exists here; verify looks for it."""
    copy = tmp_path / "llmqd.service"
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text()))
    return copy


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


@needs_systemd
def test_systemd_finds_no_fault(startable: Path) -> None:
    # The man pages come with the package, so they are not there yet.
    result = analyze("verify", "--man=no", str(startable))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_systemd
def test_verify_would_notice_a_misspelt_directive(startable: Path) -> None:
    startable.write_text(startable.read_text().replace("ProtectHome=", "ProtectHouse="))
    assert "ProtectHouse" in analyze("verify", "--man=no", str(startable)).stderr


@needs_systemd
def test_exposure_is_low(startable: Path) -> None:
    result = analyze("security", "--offline=true", f"--threshold={int(EXPOSURE * 10)}", str(startable))
    assert result.returncode == 0, result.stdout
    found = re.search(r"Overall exposure level for llmqd.service: ([\d.]+)", result.stdout)
    assert found is not None
    assert float(found[1]) <= EXPOSURE


@pytest.mark.parametrize("unit", [UNIT, INSTANCE, SOCKET], ids=lambda unit: unit.name)
def test_every_directive_has_its_reason_above_it(unit: Path) -> None:
    commented = False
    bare = []
    for line in unit.read_text().splitlines():
        if line.startswith("#"):
            commented = True
        elif not line or line.startswith("["):
            commented = False
        elif not commented:
            bare.append(line)
    # A description explains itself, and so does the command.
    assert {line.partition("=")[0] for line in bare} <= {"Description", "Documentation", "WantedBy"}


def test_an_instance_differs_in_nothing_but_its_places() -> None:
    ours = [(name, value) for name, value in directives() if (name, value) not in directives(INSTANCE)]
    theirs = [(name, value) for name, value in directives(INSTANCE) if (name, value) not in directives()]
    assert [name for name, _ in directives()] == [name for name, _ in directives(INSTANCE)]
    assert [name for name, _ in ours] == [
        "Description",
        "ExecStart",
        "StateDirectory",
        "RuntimeDirectory",
        "EnvironmentFile",
    ]
    assert all("%i" in value for _, value in theirs)


@needs_systemd
def test_systemd_finds_no_fault_in_the_socket(startable: Path) -> None:
    shutil.copy(SOCKET, startable.parent)
    result = analyze("verify", "--man=no", str(startable.with_name(SOCKET.name)))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_socket_opens_what_the_daemon_would_open_by_default() -> None:
    (address,) = [value for name, value in directives(SOCKET) if name == "ListenStream"]
    assert [address] == [str(each) for each in Server().addresses]


def test_stop_waits_longer_than_the_daemons_own_grace() -> None:
    assert setting("TimeoutStopSec") == "2min"


def test_a_missing_credentials_directory_has_its_stand_in() -> None:
    """systemd.exec(5): SetCredential= under the same ID is the default where LoadCredential= finds nothing."""
    assert setting("LoadCredential").partition(":")[0] == setting("SetCredential").partition(":")[0]


def test_unit_needs_nothing_newer_than_debian_12() -> None:
    assert setting("Type") == "notify"
    newer = {"ImportCredential", "MemoryZSwapMax", "RestartSteps", "PrivatePIDs", "ProtectControlGroupsEx"}
    assert newer.isdisjoint(name for name, _ in directives())


@needs_systemd
@pytest.mark.skipif(not confined.available(), reason="libseccomp or an architecture it was written for is missing")
def test_the_daemons_libraries_work_under_the_units_restrictions(tmp_path: Path) -> None:
    allowed = confined.system_calls([value for name, value in directives() if name == "SystemCallFilter"])
    result = confined.run([sys.executable, "-c", EXERCISE, str(tmp_path)], allowed=allowed)
    assert (result.returncode, result.stdout) == (0, "all works\n"), result.stderr


@needs_systemd
@pytest.mark.skipif(not confined.available(), reason="libseccomp or an architecture it was written for is missing")
@pytest.mark.parametrize(
    "forbidden",
    [
        "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
        "import os; os.chroot('/')",
        "import os; os.sched_setaffinity(0, {0})",
    ],
)
def test_what_the_unit_forbids_fails_under_the_test_too(forbidden: str) -> None:
    allowed = confined.system_calls([value for name, value in directives() if name == "SystemCallFilter"])
    result = confined.run([sys.executable, "-c", forbidden], allowed=allowed)
    assert "PermissionError" in result.stderr


EXERCISE = """
import asyncio, os, pathlib, resource, ssl, sys, tempfile, mmap
import aiohttp, aiosqlite, brotli, msgspec, orjson, prometheus_client, sdnotify, uvloop, zstandard
from llmqd.sim import build_app
from aiohttp import web

place = pathlib.Path(sys.argv[1])

async def ledger():
    async with aiosqlite.connect(place / "llmqd.db") as db:
        assert (await (await db.execute("PRAGMA journal_mode=WAL")).fetchone())[0] == "wal"
        await db.execute("CREATE TABLE calls (id TEXT PRIMARY KEY) STRICT")
        await db.executemany("INSERT INTO calls VALUES (?)", [(str(n),) for n in range(1000)])
        await db.commit()
        await db.execute("VACUUM")

async def main():
    runner = web.AppRunner(build_app(first_pause=0, pause=0), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await web.UnixSite(runner, str(place / "llmqd.sock")).start()
    os.chmod(place / "llmqd.sock", 0o660)
    port = site._server.sockets[0].getsockname()[1]
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"http://localhost:{port}/v1/chat/completions", json=body) as response:
            assert (await response.text()).endswith("data: [DONE]\\n\\n")
    await ledger()
    await runner.cleanup()

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
ssl.create_default_context()
with tempfile.TemporaryFile() as spool:
    spool.write(b"x" * 5_000_000)
    spool.flush()
    os.fsync(spool.fileno())
    mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ).close()
zstandard.ZstdDecompressor().decompress(zstandard.compress(b"x"))
brotli.decompress(brotli.compress(b"x"))
prometheus_client.generate_latest()
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
    loop.run(main())
print("all works")
"""
