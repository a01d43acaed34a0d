"""A listener that stays open while the daemon is restarted: what a socket unit of systemd does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fake_upstream import FakeUpstream
from tests.under_test import call, upstream_toml

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[]}'
AS_SYSTEMD_DOES = """
import os, sys

os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-m", "llmqd", "serve", "--config", sys.argv[2]])
"""


@asynccontextmanager
async def daemon(directory: Path, listener: socket.socket) -> AsyncIterator[asyncio.subprocess.Process]:
    """The daemon with a socket handed over; it is stopped cleanly at the end."""
    number = listener.fileno()
    with (directory / "llmqd.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            AS_SYSTEMD_DOES,
            str(number),
            str(directory / "llmqd.toml"),
            env={"PATH": os.environ["PATH"]},
            pass_fds=[number],
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0, (directory / "llmqd.log").read_text()


async def test_a_connection_made_while_the_daemon_is_away_waits_and_is_served(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as taken:
            # An address of the configuration that could not be had: it is not asked for.
            elsewhere = f"127.0.0.1:{taken.getsockname()[1]}"
            (tmp_path / "llmqd.toml").write_text(
                f'[server]\nlisten = ["{elsewhere}"]\nstate_directory = "{tmp_path}/state"\n'
                + upstream_toml("openai", upstream.url)
            )
            port = listener.getsockname()[1]
            async with daemon(tmp_path, listener):
                assert (await call(port, "POST", CHAT, BODY)).status == 200
            early = asyncio.create_task(call(port, "POST", CHAT, BODY))
            await asyncio.sleep(0.1)
            assert not early.done()
            async with daemon(tmp_path, listener):
                assert (await early).status == 200
    assert len(upstream.requests) == 2
