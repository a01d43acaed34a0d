"""A container without an engine: the root of an OCI archive, its command run by systemd-nspawn as the archive says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Image:
    """An OCI archive, unpacked. `config` is what it says of how it is run."""

    def __init__(self, archive: Path, directory: Path) -> None:
        self.root = directory / "root"
        self.root.mkdir()
        (directory / "oci").mkdir()
        subprocess.run(["tar", "-xf", archive, "-C", directory / "oci"], check=True)
        index = json.loads((directory / "oci" / "index.json").read_text())
        manifest = self._blob(directory, index["manifests"][0]["digest"])
        self.config: dict[str, Any] = self._blob(directory, manifest["config"]["digest"])["config"]
        for layer in manifest["layers"]:
            blob = directory / "oci" / "blobs" / layer["digest"].replace(":", "/")
            subprocess.run(["tar", "-xpf", blob, "-C", self.root], check=True)

    @staticmethod
    def _blob(directory: Path, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((directory / "oci" / "blobs" / digest.replace(":", "/")).read_text())
        return found


class Container:
    """The image's own command, running, with a network of its own. A context manager: leaving it ends it."""

    def __init__(self, image: Image, console: Path) -> None:
        self._image = image
        self._console = console
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def _command(self, *command: str) -> list[str]:
        config = self._image.config
        return [
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--link-journal=no",
            "--console=pipe",
            "--kill-signal=SIGTERM",
            f"--machine=llmqd-image-{os.getpid()}",
            f"--directory={self._image.root}",
            f"--user={config['User']}",
            *(f"--setenv={variable}" for variable in config["Env"]),
            *command,
        ]

    def once(self, *command: str) -> Any:
        """Runs another command in it and gives the JSON that it prints."""
        done = subprocess.run(self._command(*command), stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def __enter__(self) -> Self:
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                self._command(*self._image.config["Entrypoint"], *self._image.config["Cmd"]),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        deadline = time.monotonic() + 60
        while "ready on" not in self.said():
            assert self._nspawn.poll() is None, f"it has ended:\n{self.said()}"
            assert time.monotonic() < deadline, f"not ready:\n{self.said()}"
            time.sleep(0.05)
        self._leader = self._first_process()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._nspawn is not None
        if self._nspawn.poll() is None:
            self._nspawn.kill()
        self._nspawn.wait()

    def said(self) -> str:
        """What it has written so far."""
        return self._console.read_text(errors="replace")

    def beside(self, *command: str) -> list[str]:
        """The command line that runs a program of this machine in its network."""
        return ["nsenter", f"--target={self._leader}", "--net", *command]

    def stop(self) -> int:
        """What an engine does: the stop signal for the first process, then wait for the exit code."""
        assert self._nspawn is not None
        os.kill(self._leader, signal.Signals[self._image.config["StopSignal"]])
        return self._nspawn.wait(60)

    def _first_process(self) -> int:
        assert self._nspawn is not None
        pid = self._nspawn.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            status = Path(f"/proc/{child}/status").read_text().splitlines()
            if next(line.split() for line in status if line.startswith("NSpid:"))[-1] == "1":
                return int(child)
        raise AssertionError("nothing runs in it")
