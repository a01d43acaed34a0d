"""A Debian of its own with a real systemd: a debootstrapped root, booted by systemd-nspawn, without network."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

BOOT_WITHIN = 60.0
ENVIRONMENT = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LANG=C.UTF-8")


class Machine:
    """Booted on entering, halted on leaving. `root` is its file system, seen from here.

    Commands run as root in all of its namespaces. It has a loopback interface and no other, so nothing that works in it
    needs the network.
    """

    def __init__(self, tar: Path, directory: Path) -> None:
        self.root = directory / "root"
        self._console = directory / "console"
        self._tar = tar
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Self:
        self.root.mkdir()
        subprocess.run(["tar", "-xpf", self._tar, "-C", self.root], check=True)
        try:
            self._boot()
        except BaseException:
            self._halt()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._halt()

    def run(self, command: str, *, check: bool = True, within: float = 120.0, typed: str = "") -> str:
        """Runs a shell command and gives its output, both streams. Fails where the command does, unless told not to.

        `typed` is what it reads.
        """
        result = subprocess.run(
            ["nsenter", f"--target={self._leader}", "--all", *ENVIRONMENT, "sh", "-c", command],
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=within,
        )
        assert not check or result.returncode == 0, f"$ {command}\nexit code {result.returncode}\n{result.stdout}"
        return result.stdout.strip()

    def beside(self, *command: str) -> subprocess.Popen[str]:
        """Starts a program of this machine in the other one's network, for what needs libraries of this one."""
        return subprocess.Popen(
            ["nsenter", f"--target={self._leader}", "--net", *command],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def fails(self, command: str) -> str:
        """Runs a shell command that has to fail, and gives its output."""
        marker = "failed with code"
        output = self.run(f"{{ {command} ; }} || echo {marker} $?", check=False)
        assert marker in output, f"$ {command}\nwas expected to fail\n{output}"
        return output

    def until(self, what: Callable[[], bool], within: float = 20.0) -> float:
        """Waits until something is true and gives the seconds it took."""
        began = time.monotonic()
        while not what():
            assert time.monotonic() - began < within, f"not within {within:g} s"
            time.sleep(0.05)
        return time.monotonic() - began

    def write(self, path: str, text: str, mode: int | None = None) -> None:
        """Writes a file in it; an existing one keeps its owner, and its mode unless one is given.

        Not below /run and /tmp, which are file systems of the machine's own.
        """
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if mode is not None:
            file.chmod(mode)

    def _boot(self) -> None:
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                [
                    "systemd-nspawn",
                    "--boot",
                    "--quiet",
                    "--register=no",
                    "--keep-unit",
                    "--private-network",
                    "--link-journal=no",
                    "--console=pipe",
                    f"--machine=llmqd-test-{os.getpid()}",
                    f"--directory={self.root}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self.until(self._has_leader, BOOT_WITHIN)
        self.until(lambda: self.run("systemctl is-system-running", check=False) == "running", BOOT_WITHIN)

    def _has_leader(self) -> bool:
        """The process that is number 1 in there."""
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, f"systemd-nspawn ended:\n{self._console.read_text(errors='replace')}"
        pid = self._nspawn.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            status = Path(f"/proc/{child}/status").read_text().splitlines()
            numbers = next(line.split() for line in status if line.startswith("NSpid:"))
            if numbers[-1] == "1" and Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                self._leader = int(child)
        return self._leader != 0

    def _halt(self) -> None:
        if self._nspawn is None:
            return
        # nspawn passes it on as a request to power off (systemd-nspawn(1), --kill-signal=).
        self._nspawn.send_signal(signal.SIGTERM)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
