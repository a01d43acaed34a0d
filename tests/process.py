"""The daemon as a process of its own, as systemd would start it: waits for READY, sends signals, reads its ledger."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path


class LlmqdProcess:
    """One state directory and configuration, under which the daemon can be started, killed, started again."""

    def __init__(self, directory: Path, toml: str, environ: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.config = directory / "llmqd.toml"
        self.log = directory / "llmqd.log"
        self.messages: list[str] = []
        """What was said to systemd, one field a line."""
        self.environ = dict(environ or {})
        self.port = _free_port()
        self.write(toml)
        self._process: asyncio.subprocess.Process | None = None
        self._notify: socket.socket | None = None

    def arguments(self) -> list[str]:
        """What stands behind `llmqd serve`."""
        return ["--config", str(self.config)]

    def command(self) -> list[str]:
        """What is run."""
        return [sys.executable, "-m", "llmqd", "serve", *self.arguments()]

    def write(self, toml: str, server: str = "") -> None:
        """Another configuration, for the next start or a reload."""
        self.config.write_text(
            f'[server]\nlisten = ["127.0.0.1:{self.port}"]\nstate_directory = "{self.directory}/state"\n'
            f"{server}\n{toml}"
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, *, ready: bool = True) -> None:
        """Starts the daemon and, unless it is expected to fail, waits until it says READY."""
        path = self.directory / "notify.sock"
        path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._notify.bind(str(path))
        self.messages.clear()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command(),
                env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(path)} | self.environ,
                stdout=log,
                stderr=log,
            )
        if ready:
            await self.told("READY=1")

    async def told(self, field: str, within: float = 20.0) -> str:
        """Waits until systemd has been told a field that begins like this, and gives it; earlier ones count."""
        assert self._notify is not None
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(within):
            while True:
                for message in self.messages:
                    if message.startswith(field):
                        return message
                waiting = asyncio.ensure_future(loop.sock_recv(self._notify, 65536))
                died = asyncio.ensure_future(self._process.wait() if self._process else asyncio.sleep(0))
                await asyncio.wait((waiting, died), return_when=asyncio.FIRST_COMPLETED)
                died.cancel()
                if not waiting.done():
                    waiting.cancel()
                    raise AssertionError(f"the daemon ended before it said {field}:\n{self.log.read_text()}")
                self.messages += waiting.result().decode().splitlines()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to this daemon."""
        os.kill(self.pid, number)

    async def wait(self, within: float = 30.0) -> int:
        """Waits for its end; the exit code, negative for a signal."""
        assert self._process is not None
        async with asyncio.timeout(within):
            code = await self._process.wait()
        if self._notify is not None:
            self._notify.close()
            self._notify = None
        return code

    async def stop(self) -> int:
        """A clean stop, also of one that was stopped by SIGSTOP."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        return await self.wait()

    async def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        assert await self.wait() == -signal.SIGKILL

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Asks the database itself."""
        with closing(sqlite3.connect(f"file:{self.directory}/state/llmqd.db?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def logged(self, pattern: str) -> bool:
        """Whether the log has a line like this."""
        return re.search(pattern, self.log.read_text()) is not None


@asynccontextmanager
async def llmqd(directory: Path, toml: str, environ: Mapping[str, str] | None = None) -> AsyncIterator[LlmqdProcess]:
    """A running daemon; whatever the test did with it, it is gone afterwards."""
    process = LlmqdProcess(directory, toml, environ)
    await process.start()
    try:
        yield process
    finally:
        if process.running:
            await process.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
