"""A row on stage: its strict upstream and its daemon as processes, and the clients between them and the figures."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.queue.figures import Figures, judged
from bench.queue.load import Load, fetch
from bench.queue.rows import Row
from bench.queue.upstream import Spec
from llmqd.config.load import load
from llmqd.errors import ConfigError
from tests.process import LlmqdProcess

_LINES_KEPT = 5
_STORE = '[store]\nbatch_every = "2s"\nsync_every = "5s"\n[log]\nlevel = "warning"\n'
"""Several daemons on one disk: their ledgers are not what is measured."""


class Unsupported(Exception):
    """The daemon's configuration is refused: it does not have what this row needs."""


@dataclass(slots=True)
class Stage:
    """An upstream and a daemon before it, both running."""

    upstream_port: int
    daemon: LlmqdProcess

    async def play(self, row: Row) -> Figures:
        """Load from the first call to the last, then the figures."""
        load_ = Load(self.daemon.port, row.calls)
        await load_.run(row.clients, row.seconds)
        counted = await fetch(self.upstream_port, "/figures")
        notes = [*load_.errors, *self.complaints()]
        return judged(row, counted, load_.refused, load_.failed, notes, load_.ended)

    def complaints(self) -> list[str]:
        """What the daemon and the upstream said that they should not have to say."""
        dead = [] if self.daemon.running else ["the daemon died"]
        return dead + (self.daemon.directory / "upstream.log").read_text().splitlines()[-_LINES_KEPT:]


@asynccontextmanager
async def staged(spec: Spec, settings: str, type: str = "openai", queue: str = "") -> AsyncIterator[Stage]:
    """Starts an upstream and a daemon that knows it by `settings`; `queue` stands in its [queue]. Both end with the
    context. Raises Unsupported."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmqd-bench-")))
        with (directory / "upstream.log").open("wb") as log:
            pipe = asyncio.subprocess.PIPE
            upstream = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bench.queue.upstream",
                orjson.dumps(spec).decode(),
                stdin=pipe,
                stdout=pipe,
                stderr=log,
            )
        stack.push_async_callback(_ended, upstream)
        assert upstream.stdout is not None
        port = int(await upstream.stdout.readline())
        stated = f'name = "{type}"\nbase_url = "http://127.0.0.1:{port}"\napi_key = "x"\n{settings}\n'
        daemon = LlmqdProcess(directory, f"{_STORE}[queue]\n{queue}\n[[upstream]]\n{stated}")
        try:
            load(daemon.config, {})
        except ConfigError as error:
            raise Unsupported("; ".join(fault.partition(": ")[2] for fault in error.faults)) from error
        await daemon.start()
        stack.push_async_callback(_stopped, daemon)
        yield Stage(port, daemon)


async def _ended(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()


async def _stopped(daemon: LlmqdProcess) -> None:
    if daemon.running:
        await daemon.kill()
