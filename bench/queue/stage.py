"""A row on stage: its strict upstream and its daemon as processes, and the clients between them and the figures."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import orjson

from bench.queue.figures import Figures, judged
from bench.queue.load import Load, fetch
from bench.queue.rows import Row
from bench.queue.upstream import Spec
from llmqd.config.load import load
from llmqd.errors import ConfigError
from tests.process import LlmqdProcess

_LINES_KEPT = 5
_READY_WITHIN = 60.0
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
        port = await upstream(stack, spec, directory / "upstream.log")
        stated = f'name = "{type}"\nbase_url = "http://127.0.0.1:{port}"\napi_key = "x"\n{settings}\n'
        daemon = LlmqdProcess(directory, f"{_STORE}[queue]\n{queue}\n[[upstream]]\n{stated}")
        try:
            load(daemon.config, {})
        except ConfigError as error:
            raise Unsupported("; ".join(fault.partition(": ")[2] for fault in error.faults)) from error
        await daemon.start(ready=False)
        stack.push_async_callback(_stopped, daemon)
        await daemon.told("READY=1", within=_READY_WITHIN)
        yield Stage(port, daemon)


async def upstream(stack: AsyncExitStack, spec: Spec, log: Path) -> int:
    """Starts a strict upstream that ends with `stack`; its port."""
    with log.open("wb") as errors:
        return await _serving(stack, errors, "bench.queue.upstream", orjson.dumps(spec).decode())


async def bare_rate(row: Row, seconds: float = 10.0) -> float:
    """Calls a minute through the bare forwarder, between the same clients and the same upstream without limits.

    So much this machine has for any proxy in Python.
    """
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmqd-bench-")))
        behind = await upstream(stack, replace(row.spec, kind=None), directory / "upstream.log")
        with (directory / "forwarder.log").open("wb") as errors:
            port = await _serving(stack, errors, "bench.forwarder", f"http://127.0.0.1:{behind}")
        load_ = Load(port, row.calls)
        await load_.run(row.clients, seconds)
        return load_.statuses[200] / seconds * 60


async def _serving(stack: AsyncExitStack, errors: BinaryIO, module: str, argument: str) -> int:
    """Runs a module of the bench that says its port on its first line."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, argument, stdin=pipe, stdout=pipe, stderr=errors
    )
    stack.push_async_callback(_ended, process)
    assert process.stdout is not None
    return int(await process.stdout.readline())


async def _ended(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()


async def _stopped(daemon: LlmqdProcess) -> None:
    if daemon.running:
        await daemon.kill()
