"""A real Redis for tests: a server of its own on a free port, that can be stopped, killed and started anew."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PATIENCE = 20.0


class NoRedis(Exception):
    """There is none on this machine; the text says what to install."""


class RedisServer:
    """A server whose data lie in `directory`; nothing is kept over a restart."""

    def __init__(self, directory: Path, *more: str) -> None:
        self._directory = directory
        self.more = more
        """What stands behind the arguments."""
        self.arguments: list[str] | None = None
        """What stands in place of all others but `more`, such as a file of settings."""
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it answers."""
        usual = [
            "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory),
            "--save", "", "--appendonly", "no", "--daemonize", "no",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ["redis-server", *(usual if self.arguments is None else self.arguments), *self.more],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.02)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_PATIENCE)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def cli(self, *arguments: str) -> str:
        """What redis-cli says."""
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), *arguments], capture_output=True, timeout=_PATIENCE, check=True
        )
        return done.stdout.decode()


@contextmanager
def server(directory: Path, *more: str) -> Iterator[RedisServer]:
    """A running server. Raises NoRedis."""
    if shutil.which("redis-server") is None:
        raise NoRedis("there is no Redis here: apt-get install redis-server")
    running = RedisServer(directory, *more)
    running.start()
    try:
        yield running
    finally:
        running.kill()
